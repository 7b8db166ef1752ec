package dispatch

import "context"

// controlEvent is what the dispatcher is asked to do beside taking messages in. It is not one of them: it passes while
// the dispatcher waits for memory.
type controlEvent struct {
	kind  controlKind
	taken chan struct{} // closed when the dispatcher has come to it
	done  chan struct{} // closed when it has come about
}

type controlKind uint8

const (
	controlFence  controlKind = iota // seal a fence behind all that the inputs hold
	controlClose                     // the same, and refuse what comes later
	controlTakeIn                    // admit what the inputs hold, at once
	controlBlock                     // fill the inputs with nils
	controlLeave                     // stop the stages, end
)

// Fence seals a fence behind everything accepted so far, what both inputs hold included, and returns the channel that
// is closed when it is passed. It waits for the dispatcher until ctx ends. Any goroutine may call it.
func (d *Dispatcher) Fence(ctx context.Context) <-chan struct{} { return d.ask(ctx, controlFence) }

// BeginClose is a fence behind which every message is refused with sarama.ErrShuttingDown.
func (d *Dispatcher) BeginClose() <-chan struct{} { return d.ask(context.Background(), controlClose) }

// Block makes Input block for ever, as a channel that nobody reads. What late senders have put there is refused. Reports
// that are told of that may send in their turn: since BeginClose they get inputs of their own, where they are refused too.
// So no report may run that began before that.
func (d *Dispatcher) Block() { d.ask(context.Background(), controlBlock) }

// Leave ends the dispatcher, the topics and the lanes. The channel is closed when they have ended. It is called after Block,
// when no message is without an outcome.
func (d *Dispatcher) Leave() <-chan struct{} { return d.ask(context.Background(), controlLeave) }

// ask waits until the dispatcher has come to it. The channel is closed when what was asked for has come about; if the
// dispatcher has left, it has.
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

// handleControl answers fences, and returns true when the dispatcher is to end.
func (d *Dispatcher) handleControl() (leave bool) {
	for _, ev := range d.control.Take(nil) {
		switch ev.kind {
		case controlTakeIn:
			d.forcing = true
			d.takeIn()
			d.reportAsks.Store(false)
			close(ev.done)
		case controlFence:
			d.takeIn()
			d.env.Fences.SealInto(ev.done)
		case controlClose:
			d.takeIn()
			d.refusing = true
			d.suspectReports() // as the common inputs will be blocked: see Block
			d.env.Fences.SealInto(ev.done)
		case controlBlock:
			d.block()
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
	d.fencing, d.forcing = false, false
	return leave
}

// takeIn admits what both inputs and the mailbox hold at this moment.
func (d *Dispatcher) takeIn() {
	if d.leaving {
		return // they hold nothing but our own nils, which must stay there
	}
	d.fencing = true
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

// block makes both inputs block their senders for ever: their buffers end up full of nils, so that nothing that was sent
// lies in them. What a late sender put there meanwhile is refused.
func (d *Dispatcher) block() {
	d.leaving = true
	d.direct.Close()
	d.admitDirect(d.direct.Take(nil))
	d.input, d.inputBatch = nil, nil
	// Both are full before anything is refused: that may have to wait for memory, while senders do not.
	msgs, batches := fill(d.Input), fill(d.InputBatch)
	d.admit(msgs)
	for _, batch := range batches {
		d.admit(batch)
	}
}

// end tells the stages to end, and answers what is still asked.
func (d *Dispatcher) end() {
	for _, t := range d.topics {
		t.events.Put(topicEvent{stop: true})
	}
	d.control.Close()
	for _, ev := range d.control.Take(nil) {
		d.env.Fences.SealInto(ev.done)
		close(ev.taken)
	}
}

// fill empties a channel that others may be sending to and fills its buffer with zero values, in one go without
// anything of theirs between. It returns what it took out.
func fill[T any](ch chan T) (taken []T) {
	var zero T
	for {
		for more := true; more; {
			select {
			case v := <-ch:
				taken = append(taken, v)
			default:
				more = false
			}
		}
		n := 0
		for more := true; more && n < cap(ch); {
			select {
			case ch <- zero:
				n++
			default:
				more = false
			}
		}
		if n == cap(ch) {
			return taken
		}
	}
}
