package brokerproducer

import "github.com/sluice-kafka/sluice/internal/flow"

type itemKind uint8

const (
	itemRun      itemKind = iota // a run of gen: it is the loop's now
	itemBatch                    // a batch of gen that came back from an earlier session
	itemEnd                      // gen's partition producer sends nothing more
	itemAnswer                   // req is answered, or failed
	itemFree                     // the network goroutine took the set: the bridge is free
	itemConnLost                 // the connection was lost with nothing open, under acks 0
	itemStop                     // no partition producer has been left for a while
)

// item is what the loop's mailbox takes.
type item struct {
	kind    itemKind
	session *Session
	run     []flow.Record
	batch   *Batch
	req     *request
	err     error
}
