package simtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-kafka/sluice"
)

// lasting are the faults that need not end with the others.
type lasting struct {
	depose, lag, restore bool // see leaders
	// noBumps is what brokers answer to an epoch that they have not given out themselves; nil: they take it (KIP-360).
	noBumps *kerr.Error
	// frameLimit is the largest request that brokers do not close the connection on; 0: they take all. frameTaken: they close
	// it when the whole of the request was taken from the producer.
	frameLimit int
	frameTaken bool
}

// drawLasting has a generator of its own, so that all else about most seeds is as it was before there were these faults.
func (sc *scenario) drawLasting(r *rand.Rand) {
	if sc.quiet() {
		return
	}
	var l lasting
	// With acks 0 or 1 a deposed leader acknowledges what will be lost.
	l.depose = r.IntN(3) == 0 && sc.acks == -1 && sc.brokers > 1
	if l.depose && r.IntN(2) == 0 {
		sc.refresh = 10 * time.Minute // else a refresh finds the new leader for it
	}
	l.lag = r.IntN(3) == 0 && sc.brokers > 1
	l.restore = r.IntN(4) == 0
	if r.IntN(4) == 0 && sc.idempotent {
		l.noBumps = pick(r, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping)
		if sc.faults.lostState == 0 { // without it, few epochs are raised
			sc.faults.lostState = pick(r, 2.0, 10)
		}
	}
	if sc.largeValues && r.IntN(2) == 0 || r.IntN(20) == 0 {
		sc.enlarge()
		sc.pause, sc.memory = 0, 32<<20 // much at a time
		l.frameLimit = pick(r, 256<<10, 300_000, 500_000)
		l.frameTaken = r.IntN(2) == 0
	}
	sc.lasting = l
}

// mayFail tells whether a lasting fault may keep a message from its delivery. That has to be told in good time.
func (l *lasting) mayFail(m *sent, err error) bool {
	if errors.Is(err, sluice.ErrDeliveryTimeout) {
		return false
	}
	unknown := errors.Is(err, sluice.ErrOutcomeUnknown)
	// What may be written is not renumbered under another producer id.
	if l.noBumps != nil && unknown {
		return true
	}
	// Nor is it split. Else only what can't be is too large.
	return l.frameLimit > 0 && strings.Contains(err.Error(), "socket.request.max.bytes") &&
		(l.frameTaken && unknown || len(m.value) > l.frameLimit-1000)
}

func (l lasting) String() string {
	var all []string
	add := func(is bool, what string) {
		if is {
			all = append(all, what)
		}
	}
	add(l.depose, "leaders are deposed")
	add(l.lag, "brokers lag behind")
	add(l.restore, "epochs begin again")
	if l.noBumps != nil {
		add(true, "a bumped epoch gets "+l.noBumps.Message)
	}
	add(l.frameLimit > 0, fmt.Sprintf("requests above %d bytes are closed on (taken %t)", l.frameLimit, l.frameTaken))
	return "lasting: " + strings.Join(all, ", ")
}
