package metadata

import "sync"

// requests is the loop's mailbox: anyone appends and wakes the loop, which drains it. All refreshes of a topic are one
// entry, since each of thousands of partitions may ask for one.
type requests struct {
	wake chan struct{} // holds one token: the loop is awake, or will be

	mu           sync.Mutex
	commands     []command
	refreshes    map[string]refresh // by topic
	refreshCount uint64             // the newest refresh number of all
	answered     map[string]uint64  // by topic: the refresh number up to which look-ups have ended
}

// refresh is what all refreshes of a topic ask for together.
type refresh struct {
	number uint64 // the newest
	create bool   // a message waits for the topic: see RefreshOrCreate
}

// command is one of four: a topic to watch, one to watch no longer, a leader to update, a broker's address to mark as unresponsive. The loop
// keeps their order.
type command struct {
	watch            *watchedTopic
	unwatch          string
	updateLeader     *newLeader
	markUnresponsive string
}

func newRequests() requests {
	return requests{wake: make(chan struct{}, 1), refreshes: map[string]refresh{}, answered: map[string]uint64{}}
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
func (r *requests) drain() (commands []command, refreshes map[string]refresh) {
	r.mu.Lock()
	defer r.mu.Unlock()
	commands, r.commands = r.commands, nil
	if len(r.refreshes) > 0 {
		refreshes, r.refreshes = r.refreshes, map[string]refresh{}
	}
	return commands, refreshes
}
