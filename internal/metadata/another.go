package metadata

import "time"

// When another broker is asked than the one that the connection leads to, because that one's metadata may be old.

// help is whether an answer was of use to those that wait for a topic.
type help int

const (
	yes       help = iota
	no             // an error, a partition without a leader, an answer older than what is known
	unchanged      // what is known already: either it is true, or the broker has not heard of the change
)

// helped counts the useless answers in a row, and tells whether another broker should be asked next. That is so after
// each of the first three, then after every sixteenth, since each costs a dial, and a topic may exist nowhere. A single
// unchanged answer is no reason.
func (w *watchedTopic) helped(h help) (another bool) {
	if h == yes {
		w.useless = 0
		return false
	}
	w.useless++
	return w.useless%16 == 0 || w.useless <= 3 && (h == no || w.useless > 1)
}

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

// asksAboutItself tells whether the connection leads to the leader that a partition of the topic asks about, and no answer
// was useless yet. A broker that was deposed and does not know it has old metadata, too: it would name itself, and the few
// retries of a batch would be over before another broker is asked.
func (l *loop) asksAboutItself(w *watchedTopic) bool {
	t := l.s.Topic(w.topic)
	if t == nil || w.useless > 0 {
		return false
	}
	asked := l.client.connTo.brokerID(l.s.current.Load().brokers)
	for partition := range w.asking {
		if p, ok := t.Partition(partition); ok && p.Leader >= 0 && p.Leader == asked {
			return true
		}
	}
	return false
}
