package flow

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Doing keeps what goes on at the moment, and since when. A message whose delivery timeout ends while nothing has failed gets
// its error from there. It may be used concurrently. A nil Doing keeps nothing.
type Doing struct {
	mu   sync.Mutex
	list []*Activity // in the order of Begin
}

// Activity is one thing that goes on. Its methods are for the goroutine that does it.
type Activity struct {
	of     *Doing
	key    string
	what   string
	detail func() error
	since  time.Time
}

// Begin notes that something begins: what, such as "dialling broker x". The key is for Now. detail, unless it is nil or
// returns nil, knows better what goes on; it must not block, and must not use this Doing.
func (d *Doing) Begin(key, what string, detail func() error) *Activity {
	if d == nil {
		return nil
	}
	a := &Activity{of: d, key: key, what: what, detail: detail, since: time.Now()}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, a)
	return a
}

// Next notes the next step of an activity.
func (a *Activity) Next(what string, detail func() error) {
	if a == nil {
		return
	}
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	a.what, a.detail, a.since = what, detail, time.Now()
}

// End notes that an activity has ended.
func (a *Activity) End() {
	if a == nil {
		return
	}
	d := a.of
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.list, a); i >= 0 {
		d.list = slices.Delete(d.list, i, i+1) // which clears the place at the end
	}
}

// Now is what has gone on for longest under a key, as an error: "dialling broker x for 3s". It is nil if nothing does.
func (d *Doing) Now(key string) error {
	what, detail, since := d.first(key)
	if what == "" {
		return nil
	}
	if detail != nil {
		if err := detail(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s for %v", what, Ago(since))
}

func (d *Doing) first(key string) (what string, detail func() error, since time.Time) {
	if d == nil {
		return "", nil, time.Time{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.list {
		if a.key == key {
			return a.what, a.detail, a.since
		}
	}
	return "", nil, time.Time{}
}

// Ago is the time since t, as short as people want to read it.
func Ago(t time.Time) time.Duration { return Short(time.Since(t)) }

// Short is a time rounded as people want to read it.
func Short(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}
