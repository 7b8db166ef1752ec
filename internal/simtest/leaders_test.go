package simtest

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// leaders is what brokers say about leaders where that is not what kfake knows: leaders that were deposed and do not know
// it, a broker whose metadata lag behind, and epochs that begin again. What makes this hard on a producer is that it stays:
// faults end with the run's, these need not. So every message has to be delivered while they last.
type leaders struct {
	*run
	mu       sync.Mutex
	shift    map[partition]int32                   // what is added to kfake's epochs
	deposed  map[atBroker]*kerr.Error              // what such a leader answers
	lagging  string                                // the address of the broker that lags; empty: none
	view     map[string]kmsg.MetadataResponseTopic // what it answers, by topic
	brokers  []kmsg.MetadataResponseBroker         // and where these leaders are
	latest   partition                             // the one that was written to last
	told     map[partition]leader                  // the highest epoch that an answer has told
	restores int                                   // of trouble's goroutine alone
}

// atBroker is a partition at one broker, by its address.
type atBroker struct {
	partition
	addr string
}

type leader struct{ id, epoch int32 }

// firstEpoch is far above what a cluster that begins again gives.
const firstEpoch = 100

func newLeaders(r *run) *leaders {
	l := &leaders{run: r, shift: map[partition]int32{}, deposed: map[atBroker]*kerr.Error{}, told: map[partition]leader{}}
	for _, topic := range r.sc.topicNames() {
		for p := range r.sc.partitions {
			l.shift[partition{topic, p}] = firstEpoch
		}
	}
	return l
}

// trouble is the schedule of these faults, beside the cluster's own. Some of it comes at once, while the first messages are
// sent, for they may be all that there are.
func (l *leaders) trouble() {
	draw := rand.New(rand.NewPCG(l.seed, 10))
	var kinds []func(*rand.Rand)
	if l.sc.depose {
		kinds = append(kinds, l.depose)
	}
	if l.sc.lag {
		kinds = append(kinds, l.lag)
	}
	if l.sc.restore {
		kinds = append(kinds, l.restore)
	}
	if len(kinds) == 0 {
		return
	}
	if l.sc.lag && draw.IntN(2) == 0 {
		l.lag(draw) // the first look-up meets it
	}
	end := time.Now().Add(l.sc.length)
	for time.Now().Before(end) {
		// From a millisecond to two seconds, short ones as often as long ones.
		pause := time.Duration(float64(time.Millisecond) * math.Pow(2000, draw.Float64()))
		if !l.wait(pause) || l.whole.Load() {
			return
		}
		pick(draw, kinds...)(draw)
	}
}

func (l *leaders) drawPartition(draw *rand.Rand) partition {
	return partition{pick(draw, l.sc.topicNames()...), draw.Int32N(l.sc.partitions)}
}

// depose gives a partition another leader, and the old one does not hear of it: its followers have left it, and it waits for
// them. What is still written there is lost, which the log can't show: so nothing is.
func (l *leaders) depose(draw *rand.Rand) {
	tp := l.drawPartition(draw)
	l.mu.Lock()
	if draw.IntN(2) == 0 && l.latest.topic != "" {
		tp = l.latest
	}
	l.mu.Unlock()
	old := l.cluster.LeaderFor(tp.topic, tp.id)
	next := draw.Int32N(int32(l.sc.brokers))
	if next == old {
		next = (next + 1) % int32(l.sc.brokers)
	}
	at := atBroker{tp, addr(old)}
	code := pick(draw, kerr.NotEnoughReplicas, kerr.RequestTimedOut)
	l.mu.Lock()
	l.deposed[at] = code
	l.mu.Unlock()
	if l.cluster.MoveTopicPartition(tp.topic, tp.id, next) != nil {
		return // it was removed
	}
	l.trace("%v moves to broker %d, and broker %d does not know", tp, next, old)
	if draw.IntN(2) == 0 {
		l.later(draw, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.deposed, at)
		})
	}
}

// answerOf is what a deposed leader answers, or nil.
func (l *leaders) answerOf(tp partition, addr string) *kerr.Error {
	l.mu.Lock()
	code := l.deposed[atBroker{tp, addr}]
	l.mu.Unlock()
	if code == nil || l.leads(tp, addr) {
		return nil
	}
	l.happens("a deposed leader answers")
	return code
}

func (l *leaders) leads(tp partition, at string) bool {
	return addr(l.cluster.LeaderFor(tp.topic, tp.id)) == at
}

// lag has a broker go on with what is known now of the leaders, and some of it missing: it has just started, or the topic
// was just created. Only one broker lags at a time.
func (l *leaders) lag(draw *rand.Rand) {
	node := draw.Int32N(int32(l.sc.brokers))
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	if l.ask(node, req, resp) != nil {
		return // it was removed
	}
	view := map[string]kmsg.MetadataResponseTopic{}
	for _, t := range resp.Topics {
		l.shiftEpochs(&t)
		slices.SortFunc(t.Partitions, func(a, b kmsg.MetadataResponseTopicPartition) int { return int(a.Partition - b.Partition) })
		unknown := draw.IntN(4) == 0
		for i := range t.Partitions {
			if draw.IntN(4) == 0 {
				t.Partitions[i].ErrorCode, t.Partitions[i].Leader = kerr.LeaderNotAvailable.Code, -1
			}
		}
		if unknown {
			t.ErrorCode, t.Partitions = kerr.UnknownTopicOrPartition.Code, nil
		}
		view[*t.Topic] = t
	}
	l.trace("broker %d lags behind from now on", node)
	l.mu.Lock()
	l.lagging, l.view, l.brokers = addr(node), view, resp.Brokers
	l.mu.Unlock()
	for range 1 + draw.IntN(3) {
		tp := l.drawPartition(draw)
		_ = l.cluster.MoveTopicPartition(tp.topic, tp.id, draw.Int32N(int32(l.sc.brokers)))
	}
	// With epochs that have gone back, one of two brokers is not believed for as long as the other says something else.
	if l.sc.restore || draw.IntN(2) == 0 {
		l.later(draw, l.catchUp)
	}
}

func (l *leaders) catchUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lagging, l.view = "", nil
}

// restore has all epochs begin again, under the same topic ids, as after the loss of the cluster's metadata. All brokers
// were started anew for that, so none lags behind.
func (l *leaders) restore(draw *rand.Rand) {
	if l.restores++; l.restores > 3 {
		return // from then on they stay back
	}
	l.trace("epochs begin again")
	l.catchUp()
	for _, topic := range l.sc.topicNames() {
		for _, info := range l.cluster.PartitionInfos(topic) {
			// The move raises the epoch to 1. Before that the answer is merely old.
			l.mu.Lock()
			l.shift[partition{topic, info.Partition}] = -info.Epoch
			l.mu.Unlock()
			_ = l.cluster.MoveTopicPartition(topic, info.Partition, draw.Int32N(int32(l.sc.brokers)))
		}
	}
}

func (l *leaders) shiftEpochs(t *kmsg.MetadataResponseTopic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range t.Partitions {
		t.Partitions[i].LeaderEpoch += l.shift[partition{*t.Topic, t.Partitions[i].Partition}]
	}
}

// tell makes of kfake's metadata what a broker says.
func (l *leaders) tell(addr string, resp *kmsg.MetadataResponse) {
	for i := range resp.Topics {
		l.shiftEpochs(&resp.Topics[i])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if addr == l.lagging && l.anotherIsLeft(resp.Brokers) {
		for i := range resp.Topics {
			t := &resp.Topics[i]
			old := l.view[*t.Topic]
			if lags(old.Partitions, t.Partitions) {
				l.happens("a broker lags behind")
			}
			t.ErrorCode, t.Partitions = old.ErrorCode, slices.Clone(old.Partitions)
		}
		resp.Brokers = l.brokers
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			tp := partition{*t.Topic, p.Partition}
			if p.Leader >= 0 && p.LeaderEpoch >= l.told[tp].epoch {
				l.told[tp] = leader{p.Leader, p.LeaderEpoch}
			}
		}
	}
}

// anotherIsLeft tells whether one of the other brokers that the lagging one knows is still there. Else nobody can know
// better: those that were added since are known to none that the producer can ask.
func (l *leaders) anotherIsLeft(now []kmsg.MetadataResponseBroker) bool {
	return slices.ContainsFunc(l.brokers, func(old kmsg.MetadataResponseBroker) bool {
		return addr(old.NodeID) != l.lagging &&
			slices.ContainsFunc(now, func(b kmsg.MetadataResponseBroker) bool { return b.NodeID == old.NodeID })
	})
}

// lags tells whether the old partitions say something else than the present ones.
func lags(old, now []kmsg.MetadataResponseTopicPartition) bool {
	leadersOf := func(partitions []kmsg.MetadataResponseTopicPartition) map[int32]leader {
		m := map[int32]leader{}
		for _, p := range partitions {
			m[p.Partition] = leader{p.Leader, p.LeaderEpoch}
		}
		return m
	}
	return !maps.Equal(leadersOf(old), leadersOf(now))
}

// hint makes of the leader that kfake names in a refusal (KIP-951) what a broker says.
func (l *leaders) hint(tp partition, p *kmsg.ProduceResponseTopicPartition) {
	if p.CurrentLeader.LeaderID < 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p.CurrentLeader.LeaderEpoch += l.shift[tp]
}

// written notes a batch that a broker has taken. Where epochs have gone back and the leader is another one than was told
// with the highest of them, the producer has believed the lower one.
func (l *leaders) written(tp partition, at string) {
	l.mu.Lock()
	told, shift := l.told[tp], l.shift[tp]
	l.latest = tp
	l.mu.Unlock()
	if shift <= 0 && told.epoch >= firstEpoch && addr(told.id) != at {
		l.happens("an epoch that went back is believed")
	}
}
