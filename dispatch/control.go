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
	controlBarrier     controlKind = iota // seal a flush barrier behind all that the inputs hold
	controlClose                          // the same, and refuse what comes later
	controlStopInputs                     // refuse what the inputs hold, and take nothing more from them
	controlCloseInputs                    // close them, and refuse what came meanwhile
	controlLeave                          // stop the stages, end
)

// flush barrier seals a flush barrier behind everything accepted so far, what both inputs hold included, and returns the channel that
// is closed when it is passed. It waits for the dispatcher until ctx ends. Any goroutine may call it.
func (d *Dispatcher) Barrier(ctx context.Context) <-chan struct{} { return d.ask(ctx, controlBarrier) }

// BeginClose is a flush barrier behind which every message is refused with sarama.ErrShuttingDown.
func (d *Dispatcher) BeginClose() <-chan struct{} { return d.ask(context.Background(), controlClose) }

// StopInputs refuses what the inputs hold, for the last time: from now on nothing is taken from them, so that senders
// that never pause do not keep the producer from its end. It is called after BeginClose has come about.
func (d *Dispatcher) StopInputs() { d.ask(context.Background(), controlStopInputs) }

// InputFull tells whether a sender may be blocked at an input that nothing is taken from any more.
func (d *Dispatcher) InputFull() bool {
	return len(d.Input) == cap(d.Input) || len(d.InputBatch) == cap(d.InputBatch)
}

// CloseInputs closes both inputs: a send panics from now on, as in sarama. What was put there since StopInputs is refused,
// so that every send that was possible has its outcome.
func (d *Dispatcher) CloseInputs() { d.ask(context.Background(), controlCloseInputs) }

// Leave ends the dispatcher, the topics and the partition producers. The channel is closed when they have ended. It is called after
// CloseInputs, when no message is without an outcome.
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

// handleControl answers barriers, and returns true when the dispatcher is to end.
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

// takeIn admits what both inputs and the mailbox hold at this moment.
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

// end tells the stages to end, and answers what is still asked.
func (d *Dispatcher) end() {
	for _, t := range d.topics {
		t.events.Put(topicEvent{stop: true})
	}
	d.control.Close()
	for _, ev := range d.control.Take(nil) {
		d.deps.Barriers.SealInto(ev.done)
		close(ev.taken)
	}
}
