package brokerproducer

import "github.com/sluice-kafka/sluice/internal/flow"

type itemKind uint8

const (
	itemRun        itemKind = iota // a run for session; the loop owns it now
	itemBatch                      // a batch for session that an earlier session handed back
	itemEnd                        // the partition producer sends nothing more to session
	itemAnswer                     // req has ended: answered, or failed
	itemBridgeFree                 // the network goroutine is free for the next request
	itemAdded                      // session's partition is a part of the open transaction
	itemConnLost                   // the connection was lost with nothing open, under acks 0
	itemStop                       // no session has been open for a while
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
