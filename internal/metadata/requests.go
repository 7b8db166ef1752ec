package metadata

import "sync"

// requests is the loop's mailbox: anyone appends and wakes the loop, which drains it. All refreshes of a topic are one
// entry, since each of thousands of partitions may ask for one.
type requests struct {
	wake chan struct{} // holds one token: the loop is awake, or will be

	mu           sync.Mutex
	commands     []command
	refreshes    map[string]refresh // by topic
	failing      map[string]failing
	refreshCount uint64            // the newest refresh number of all
	answered     map[string]uint64 // by topic: the refresh number up to which look-ups have ended
}

// refresh is what all refreshes of a topic ask for together.
type refresh struct {
	number uint64 // the newest
	create bool   // a message waits for the topic: see RefreshOrCreate
}

// command is one of four: a topic to watch, one to watch no longer, a leader to update, a broker's address to mark as
// unresponsive. The loop keeps their order.
type command struct {
	watch            *watchedTopic
	unwatch          string
	updateLeader     *newLeader
	markUnresponsive unresponsive
}

// unresponsive is a broker that left a produce request unanswered. silent: the request timed out.
type unresponsive struct {
	addr   string
	silent bool
}

// failing has the partitions of a topic whose producers ask for their leader because something failed. The value says
// whether the leader has acknowledged anything since the last time.
type failing map[int32]bool

// join adds what other has.
func (f failing) join(other failing) failing {
	if len(f) == 0 {
		return other
	}
	for partition, acked := range other {
		f[partition] = f[partition] || acked
	}
	return f
}

func newRequests() requests {
	return requests{
		wake: make(chan struct{}, 1), refreshes: map[string]refresh{}, failing: map[string]failing{}, answered: map[string]uint64{},
	}
}

func (r *requests) post(c command) {
	r.mu.Lock()
	r.commands = append(r.commands, c)
	r.mu.Unlock()
	r.awaken()
}

func (r *requests) refresh(topic string, create bool) (refreshNumber uint64) {
	r.mu.Lock()
	r.refreshCount++
	refreshNumber = r.refreshCount
	r.refreshes[topic] = refresh{number: refreshNumber, create: create || r.refreshes[topic].create}
	r.mu.Unlock()
	r.awaken()
	return refreshNumber
}

// refreshLeader is refresh, and names the partition that asks.
func (r *requests) refreshLeader(topic string, partition int32, acked, create bool) (refreshNumber uint64) {
	r.mu.Lock()
	r.failing[topic] = r.failing[topic].join(failing{partition: acked})
	r.mu.Unlock()
	return r.refresh(topic, create)
}

// answer notes that a look-up of topic has ended that began after the refresh with this number.
func (r *requests) answer(topic string, refreshNumber uint64) {
	r.mu.Lock()
	r.answered[topic] = refreshNumber
	r.mu.Unlock()
}

// forget removes what is noted of a topic.
func (r *requests) forget(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.answered, topic)
	delete(r.failing, topic)
}

func (r *requests) answeredUpTo(topic string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answered[topic]
}

func (r *requests) awaken() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// drain takes everything. The loop does the commands first: a refresh of a topic must find the topic's Watch.
func (r *requests) drain() (commands []command, refreshes map[string]refresh, failings map[string]failing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	commands, r.commands = r.commands, nil
	if len(r.refreshes) > 0 {
		refreshes, r.refreshes = r.refreshes, map[string]refresh{}
	}
	if len(r.failing) > 0 {
		failings, r.failing = r.failing, map[string]failing{}
	}
	return commands, refreshes, failings
}
