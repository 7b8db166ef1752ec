package metadata

import "sync"

// requests is the loop's mailbox: anyone appends and wakes, the loop drains. Refreshes of one topic are one entry, however
// many ask: there may be a partition producer for each of thousands of partitions.
type requests struct {
	wake chan struct{} // holds one token: the loop is awake, or will be

	mu           sync.Mutex
	commands     []command
	refreshes    map[string]uint64 // the last refresh number of each topic
	refreshCount uint64            // given out
	answered     map[string]uint64 // up to which of them, by topic, rounds have ended
}

// command is one of: a watch to begin, a leader to update the leader, an address to mark as unresponsive. Their order is kept.
type command struct {
	watch            *watch
	updateLeader     *leadership
	markUnresponsive string
}

func newRequests() requests {
	return requests{wake: make(chan struct{}, 1), refreshes: map[string]uint64{}, answered: map[string]uint64{}}
}

func (b *requests) post(c command) {
	b.mu.Lock()
	b.commands = append(b.commands, c)
	b.mu.Unlock()
	b.awaken()
}

func (b *requests) refresh(topic string) (refreshNumber uint64) {
	b.mu.Lock()
	b.refreshCount++
	refreshNumber = b.refreshCount
	b.refreshes[topic] = refreshNumber
	b.mu.Unlock()
	b.awaken()
	return refreshNumber
}

// answer notes that a round for topic has ended which began after the refresh with that refresh number.
func (b *requests) answer(topic string, refreshNumber uint64) {
	b.mu.Lock()
	b.answered[topic] = refreshNumber
	b.mu.Unlock()
}

func (b *requests) answeredUpTo(topic string) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answered[topic]
}

func (b *requests) awaken() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// drain takes everything. Refreshes come after the commands: one for a topic whose Watch is among them must find it.
func (b *requests) drain() (commands []command, refreshes map[string]uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	commands, b.commands = b.commands, nil
	if len(b.refreshes) > 0 {
		refreshes, b.refreshes = b.refreshes, map[string]uint64{}
	}
	return commands, refreshes
}
