package main

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sluice-kafka/sluice"
)

const (
	// waitShown is how long something must last until people are told that it is waited for.
	waitShown = 700 * time.Millisecond
	// drawEvery is how often the progress line is drawn anew.
	drawEvery = 250 * time.Millisecond
	// reportEvery is how often a line tells the progress where stderr is a file.
	reportEvery = 10 * time.Second
)

// A watch tells how a command gets on, and what it waits for: on the progress line of a terminal, else in lines of stderr,
// each wait once and the progress every ten seconds. Its goroutine lasts from watch to stop.
type watch struct {
	con *console

	mu       sync.Mutex
	waits    func() []sluice.Wait // what to ask for waits; nil for nothing
	progress func() []string      // what to ask for the progress; nil for nothing

	told       map[string]bool // waits that were told; the goroutine's
	done, gone chan struct{}
}

func newWatch(con *console) *watch {
	w := &watch{con: con, told: map[string]bool{}, done: make(chan struct{}), gone: make(chan struct{})}
	go w.run()
	return w
}

// every calls f each interval until the returned function is called, and then calls end.
func every(interval time.Duration, f, end func()) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f()
			case <-done:
				end()
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// phase sets what to ask from now on.
func (w *watch) phase(waits func() []sluice.Wait, progress func() []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits, w.progress = waits, progress
}

// stop ends the goroutine and takes the progress line away. It may be called again.
func (w *watch) stop() {
	select {
	case <-w.done:
	default:
		close(w.done)
	}
	<-w.gone
}

func (w *watch) run() {
	defer close(w.gone)
	defer w.con.progress()
	ticker := time.NewTicker(drawEvery)
	defer ticker.Stop()
	reported := time.Now()
	for {
		select {
		case <-w.done:
			return
		case now := <-ticker.C:
			w.mu.Lock()
			waits, progress := w.waits, w.progress
			w.mu.Unlock()
			var fields []string
			if waits != nil {
				fields = w.waiting(waits(), now)
			}
			if progress != nil {
				fields = append(fields, progress()...)
			}
			switch {
			case w.con.live():
				w.con.progress(fields...)
			case progress != nil && !w.con.terminal && now.Sub(reported) >= reportEvery:
				reported = now
				w.con.notef("%s", strings.Join(fields, ", "))
			}
		}
	}
}

// waiting is what has lasted long enough to be told. Without a progress line each is told once, and one reason once.
func (w *watch) waiting(waits []sluice.Wait, now time.Time) (fields []string) {
	waits = slices.DeleteFunc(waits, func(wait sluice.Wait) bool { return now.Sub(wait.Since) < waitShown })
	for i, wait := range waits {
		text := waitText(wait)
		if w.con.live() {
			if i > 0 {
				continue
			}
			text += fmt.Sprintf(" (%s)", spoken(now.Sub(wait.Since)))
			if reason := readable(wait.Err); reason != "" && utf8.RuneCountInString(text) > w.con.room() {
				if utf8.RuneCountInString(reason) > w.con.room() && !w.told[reason] {
					w.told[reason] = true
					w.con.notef("%s", waitText(wait)) // once in full
				}
				text = reason // which names the broker
			}
			if more := len(waits) - 1; more > 0 {
				text += fmt.Sprintf(" and %d more", more)
			}
			fields = append(fields, text)
			continue
		}
		about := text
		if wait.Err != nil {
			about = readable(wait.Err)
		}
		if !w.told[about] {
			w.told[about], w.told[text] = true, true
			w.con.notef("%s", text)
		}
	}
	return fields
}

// waitText is a wait without its time, so that it can be told once.
func waitText(w sluice.Wait) string {
	what := strings.Replace(w.What, "dialling ", "connecting to ", 1)
	if !strings.Contains(what, "(") { // a bootstrap broker has no id
		what = strings.Replace(what, "connecting to broker ", "connecting to ", 1)
	}
	if addr, ok := strings.CutSuffix(strings.TrimPrefix(what, "asking broker "), " for its versions"); ok {
		what = "connected to " + addr + ", waiting for its first answer"
	}
	reason := readable(w.Err)
	if reason == "" {
		return what
	}
	// Both name the broker.
	if found := brokerAddr.FindStringSubmatch(what); found != nil {
		reason = strings.TrimPrefix(reason, found[0]+": ")
		reason = strings.TrimPrefix(reason, found[1]+": ")
	}
	if _, addr, ok := strings.Cut(what, "connecting to "); ok {
		reason = strings.TrimPrefix(reason, addr+": ")
	}
	return what + ": " + reason
}

// advertisedHint is why a broker may not be found at the address that the cluster tells.
const advertisedHint = "the cluster says to connect there: see advertised.listeners"

// brokerAddr finds the address in "broker 2 (b:9092)".
var brokerAddr = regexp.MustCompile(`broker \d+ \((\S+)\)`)

// explainAdvertised adds the usual reason why a broker can't be reached although the cluster has answered at addrs: it says
// itself where to connect, and that is an address for others, such as a container's name.
func explainAdvertised(waits []sluice.Wait, addrs []string) []sluice.Wait {
	for i, w := range waits {
		found := brokerAddr.FindStringSubmatch(w.What)
		if w.Err == nil || found == nil || slices.Contains(addrs, found[1]) {
			continue
		}
		if _, network := errors.AsType[*net.OpError](w.Err); network {
			waits[i].Err = fmt.Errorf("%w (%s)", w.Err, advertisedHint)
		}
	}
	return waits
}

// spoken is a duration as people say it: "4 s", "2 min 10 s".
func spoken(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
}
