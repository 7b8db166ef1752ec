package metadata

import "time"

// What is done about answers that help nobody. Another broker is asked than the one that the connection leads to, because
// that one's metadata may be old. And there is a pause, whatever the configuration says.

// help is whether an answer was of use to those that wait for a topic.
type help int

const (
	helpful   help = iota
	useless        // an error, a partition without a leader, an answer older than what is known
	unchanged      // what is known already: either it is true, or the broker has not heard of the change
)

// countAnswer counts the useless answers in a row, and tells whether another broker should be asked next. That is so after
// each of the first three, then after every sixteenth, since each costs a dial, and a topic may exist nowhere. A single
// unchanged answer is no reason.
func (w *watchedTopic) countAnswer(h help) (another bool) {
	if h == helpful {
		w.useless = 0
		return false
	}
	w.useless++
	return w.useless%16 == 0 || w.useless <= 3 && (h == useless || w.useless > 1)
}

// leastPause is between look-ups that help nobody, also where Metadata.Retry.Backoff is 0. Through New they are repeated
// until the delivery timeout, and would be thousands a second.
const leastPause = 10 * time.Millisecond

// uselessLately tells whether the last few answers were useless.
func (w *watchedTopic) uselessLately() bool { return w.useless > 3 }

// troubleEvery is how often a topic's count of useless answers begins anew because of a new trouble. Where brokers refuse
// every other batch, say for a quota, that must not cost connections all the time.
const troubleEvery = 30 * time.Second

// newTrouble begins the count of useless answers anew if a partition asks that was well since it last asked. Without that a
// partition that has had no leader for long would keep another one's look-ups at a broker that lags behind.
func (w *watchedTopic) newTrouble(now time.Time) {
	for _, acked := range w.asking {
		if acked && now.Sub(w.troubleAt) >= troubleEvery {
			w.useless, w.troubleAt = 0, now
		}
	}
}

// avoidLeaders has the leaders that partitions of a topic ask about asked last. A broker that was deposed and does not
// know it has old metadata, too: it would name itself, and the few retries of a batch would be over before another
// broker is asked. A seed may be any broker under another address. Once an answer was useless, countAnswer decides.
func (l *loop) avoidLeaders(w *watchedTopic, now time.Time) {
	t, brokers := l.s.Topic(w.topic), l.s.current.Load().brokers
	if t == nil || w.useless > 0 || len(brokers) < 2 || len(w.asking) == 0 {
		return
	}
	kept := l.client.usable()
	asked := l.client.connTo.brokerID(brokers)
	for partition := range w.asking {
		p, known := t.Partition(partition)
		leader, ok := brokers[p.Leader]
		if !known || !ok {
			continue
		}
		switch {
		case !kept:
			l.client.failedAt[leader.Addr] = now
		case asked < 0 || asked == p.Leader:
			l.client.failedAt[leader.Addr] = now
			l.client.askAnother()
		}
	}
}
