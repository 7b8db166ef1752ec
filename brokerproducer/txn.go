package brokerproducer

// What a transactional producer adds to the loop.

// joinTxn tells whether a session may send a batch of the open transaction. Its partition must be a part of the transaction, and
// nothing of an earlier one may be in flight: such a batch has its outcome, and waits for its answer only, but its numbers are
// of the epoch that is over.
func (l *loop) joinTxn(s *Session) bool {
	if len(s.flight) > 0 && s.identity != l.Identity() {
		return false
	}
	number, _ := l.Txn.Open()
	if s.joined == number {
		return true
	}
	added := func() { l.mailbox.Put(item{kind: itemAdded, session: s}) }
	if s.joining == number {
		added = nil // it is told already
	}
	s.joining = number
	if l.Txn.Add(s.Topic, s.Partition, added) {
		s.joined = number
		return true
	}
	return false
}

// writing tells the open transaction that a batch is about to be written. It is told before the batch can end as one that may have
// been: else AbortTxn could find that nothing was written, and the batch would go into the next transaction.
func (p *Producer) writing() {
	if p.Txn != nil {
		p.Txn.Writing()
	}
}
