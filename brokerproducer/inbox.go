package brokerproducer

import (
	"sync"

	"github.com/sluice-kafka/sluice/internal/flow"
)

type itemKind uint8

const (
	itemRun      itemKind = iota // n records of gen
	itemBatch                    // a batch of gen that came back from an earlier generation
	itemEnd                      // gen's lane sends nothing more
	itemAnswer                   // req is answered, or failed
	itemFree                     // the network goroutine took the set: the bridge is free
	itemConnLost                 // the connection was lost with nothing open, under acks 0
	itemStop                     // no lane is left
)

type item struct {
	kind  itemKind
	n     int
	gen   *Generation
	batch *Batch
	req   *request
	err   error
}

// inbox is the loop's mailbox: like flow.Mailbox, with the records of all runs side by side, so that a run costs no
// slice of its own and whoever puts it keeps his.
type inbox struct {
	mu    sync.Mutex
	items []item
	recs  []flow.Record
	wake  chan struct{}
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

func (b *inbox) put(it item, recs ...flow.Record) {
	b.mu.Lock()
	wasEmpty := len(b.items) == 0
	if last := len(b.items) - 1; it.kind == itemRun && last >= 0 && b.items[last].kind == itemRun && b.items[last].gen == it.gen {
		b.items[last].n += it.n
	} else {
		b.items = append(b.items, it)
	}
	b.recs = append(b.recs, recs...)
	b.mu.Unlock()
	if wasEmpty {
		b.kick()
	}
}

func (b *inbox) kick() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take hands everything over and keeps the spare slices to collect the next.
func (b *inbox) take(items []item, recs []flow.Record) ([]item, []flow.Record) {
	items, recs = flow.Spare(items), flow.Spare(recs)
	b.mu.Lock()
	items, b.items = b.items, items
	recs, b.recs = b.recs, recs
	b.mu.Unlock()
	return items, recs
}
