package dispatch

import (
	"context"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// controlEvent is a request to the dispatcher. It does not go through the inputs, so that the dispatcher sees it also
// while it waits for memory.
type controlEvent struct {
	kind  controlKind
	taken chan struct{} // closed when the dispatcher has handled it
	done  chan struct{} // closed when what it asks for has happened
}

type controlKind uint8

const (
	controlBarrier     controlKind = iota // take in all that the inputs hold, then seal the flush barrier
	controlClose                          // the same, and refuse what comes later
	controlBeginTxn                       // refuse what the inputs hold, then accept messages of a transaction
	controlEndTxn                         // take in all that the inputs hold, then accept nothing, and seal the flush barrier
	controlStopInputs                     // refuse what the inputs hold, and take nothing more from them
	controlCloseInputs                    // close the inputs, and refuse what has come since
	controlLeave                          // stop the topics, and end
)

// Barrier accepts everything that the inputs hold, and seals the flush barrier. The channel is closed when every message
// accepted so far has its outcome. Barrier waits for the dispatcher, until ctx ends. Any goroutine may call it.
func (d *Dispatcher) Barrier(ctx context.Context) <-chan struct{} { return d.ask(ctx, controlBarrier) }

// BeginClose is Barrier, and refuses every later message with sarama.ErrShuttingDown.
func (d *Dispatcher) BeginClose() <-chan struct{} { return d.ask(context.Background(), controlClose) }

// BeginTxn begins to accept messages. A message whose send had ended before is refused, as is one that still waits in an
// input: it does not belong to the transaction.
func (d *Dispatcher) BeginTxn(ctx context.Context) error {
	d.ask(ctx, controlBeginTxn)
	if ctx.Err() != nil {
		return flow.ContextError(ctx)
	}
	return nil
}

// EndTxn accepts what the inputs hold, and refuses every later message until BeginTxn. The channel is closed when every message
// accepted so far has its outcome.
func (d *Dispatcher) EndTxn(ctx context.Context) <-chan struct{} { return d.ask(ctx, controlEndTxn) }

// StopInputs refuses what the inputs hold, and takes nothing more from them. So senders that never pause can't keep the
// producer from ending. Call it when the channel of BeginClose is closed.
func (d *Dispatcher) StopInputs() { d.ask(context.Background(), controlStopInputs) }

// InputFull tells, after StopInputs, whether a sender may be blocked.
func (d *Dispatcher) InputFull() bool {
	return len(d.Input) == cap(d.Input) || len(d.InputBatch) == cap(d.InputBatch)
}

// CloseInputs closes both inputs. From then on a send panics, as in sarama. What was sent since StopInputs is refused, so
// that every message that was sent has an outcome.
func (d *Dispatcher) CloseInputs() { d.ask(context.Background(), controlCloseInputs) }

// Leave ends the dispatcher, the topics and the partition producers. The channel is closed when they have ended. Call it
// after CloseInputs, when every message has an outcome.
func (d *Dispatcher) Leave() <-chan struct{} { return d.ask(context.Background(), controlLeave) }

// ask waits until the dispatcher has handled the request. The channel is closed when what it asks for has happened, and at
// once if the dispatcher has ended.
func (d *Dispatcher) ask(ctx context.Context, kind controlKind) <-chan struct{} {
	ev := controlEvent{kind: kind, taken: make(chan struct{}), done: make(chan struct{})}
	if !d.control.Put(ev) {
		close(ev.done)
		return ev.done
	}
	select {
	case <-ev.taken:
	case <-ctx.Done():
	}
	return ev.done
}

// handleControl handles requests. It returns true if the dispatcher must end.
func (d *Dispatcher) handleControl() (leave bool) {
	for _, ev := range d.control.Take(nil) {
		switch ev.kind {
		case controlBarrier:
			d.takeIn()
			d.deps.Barriers.SealInto(ev.done)
		case controlClose:
			d.takeIn()
			d.refusing = true
			d.deps.Barriers.SealInto(ev.done)
		case controlBeginTxn:
			d.refuseInputs()
			d.txnOpen = true
			close(ev.done)
		case controlEndTxn:
			d.takeIn()
			d.txnOpen = false
			d.deps.Barriers.SealInto(ev.done)
		case controlStopInputs:
			d.takeIn()
			d.input, d.inputBatch = nil, nil
			d.direct.Close()
			d.admitDirect(d.direct.Take(nil))
			close(ev.done)
		case controlCloseInputs:
			close(d.Input)
			close(d.InputBatch)
			d.takeIn()
			close(ev.done)
		case controlLeave:
			leave = true
			d.end()
			go func() {
				d.stages.Wait()
				close(ev.done)
			}()
		}
		close(ev.taken)
	}
	d.atBarrier, d.forcing = false, false
	return leave
}

// takeIn admits what both inputs and the mailbox hold now.
func (d *Dispatcher) takeIn() {
	d.atBarrier = true
	for range len(d.InputBatch) {
		d.admit(<-d.InputBatch)
	}
	for n := len(d.Input); n > 0; n -= len(d.msgs) {
		d.msgs = d.msgs[:0]
		for range min(n, maxRun) {
			d.msgs = append(d.msgs, <-d.Input)
		}
		d.admit(d.msgs)
		clear(d.msgs)
	}
	d.admitDirect(d.direct.Take(nil))
}

// refuseInputs empties the inputs while no transaction is open. Each round frees senders that were blocked; the rounds are
// bounded, as senders may never pause.
func (d *Dispatcher) refuseInputs() {
	d.txnOpen = false
	for range 100 {
		d.takeIn()
		if len(d.Input) == 0 && len(d.InputBatch) == 0 && d.direct.Empty() {
			return
		}
	}
}

// end stops the topics, and answers the last requests.
func (d *Dispatcher) end() {
	for _, t := range d.topics {
		t.events.Put(topicEvent{kind: stopTopic})
	}
	d.control.Close()
	for _, ev := range d.control.Take(nil) {
		d.deps.Barriers.SealInto(ev.done)
		close(ev.taken)
	}
}
