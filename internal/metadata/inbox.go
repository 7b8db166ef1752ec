package metadata

import "sync"

// inbox is the loop's mailbox: anyone appends and wakes, the loop drains. Refreshes of one topic are one entry, however
// many ask: there may be a lane for each of thousands of partitions.
type inbox struct {
	wake chan struct{} // holds one token: the loop is awake, or will be

	mu        sync.Mutex
	commands  []command
	refreshes map[string]uint64 // the last ticket of each topic
	tickets   uint64            // given out
	answered  map[string]uint64 // up to which of them, by topic, rounds have ended
}

// command is one of: a watch to begin, a leader to learn, an address to shun. Their order is kept.
type command struct {
	watch *watch
	learn *leadership
	shun  string
}

func newInbox() inbox {
	return inbox{wake: make(chan struct{}, 1), refreshes: map[string]uint64{}, answered: map[string]uint64{}}
}

func (b *inbox) post(c command) {
	b.mu.Lock()
	b.commands = append(b.commands, c)
	b.mu.Unlock()
	b.awaken()
}

func (b *inbox) refresh(topic string) (ticket uint64) {
	b.mu.Lock()
	b.tickets++
	ticket = b.tickets
	b.refreshes[topic] = ticket
	b.mu.Unlock()
	b.awaken()
	return ticket
}

// answer notes that a round for topic has ended which began after the refresh with that ticket.
func (b *inbox) answer(topic string, ticket uint64) {
	b.mu.Lock()
	b.answered[topic] = ticket
	b.mu.Unlock()
}

func (b *inbox) answeredUpTo(topic string) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answered[topic]
}

func (b *inbox) awaken() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// drain takes everything. Refreshes come after the commands: one for a topic whose Watch is among them must find it.
func (b *inbox) drain() (commands []command, refreshes map[string]uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	commands, b.commands = b.commands, nil
	if len(b.refreshes) > 0 {
		refreshes, b.refreshes = b.refreshes, map[string]uint64{}
	}
	return commands, refreshes
}
