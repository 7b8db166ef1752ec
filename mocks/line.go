package mocks

import "sync"

// line runs functions one after the other. add never waits: the line has a goroutine while there is something to do.
type line struct {
	mu      sync.Mutex
	todo    []func()
	running bool
}

func (l *line) add(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.todo = append(l.todo, f)
	if !l.running {
		l.running = true
		go l.run()
	}
}

func (l *line) run() {
	finished := false
	defer func() {
		if !finished { // the user's code ended this goroutine, as t.FailNow does
			go l.run()
		}
	}()
	for f := l.next(); f != nil; f = l.next() {
		f()
	}
	finished = true
}

// next returns nil when there is nothing left to do.
func (l *line) next() func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.todo) == 0 {
		l.running = false
		return nil
	}
	f := l.todo[0]
	l.todo = l.todo[1:]
	return f
}

// done returns a channel that is closed once all that was added before has run.
func (l *line) done() <-chan struct{} {
	c := make(chan struct{})
	l.add(func() { close(c) })
	return c
}
