package simtest

// txnMutations are the deliberate mistakes about transactions.
var txnMutations = []mutation{
	{
		name: "an unanswered commit is repeated as an abort", file: "internal/txn/end.go",
		old: "id.ID, id.Epoch, commit\n\t\tsent = req",
		new: "id.ID, id.Epoch, commit && t.endVersion < 0\n\t\tsent = req",
	}, {
		name: "an unanswered commit is repeated in another version", file: "internal/txn/end.go",
		old:  "\t\tr.lowest, r.highest = t.endVersion, t.endVersion\n",
		new:  "\t\t_ = t.endVersion\n",
		test: "TestRepeatedCommit", in: "internal/txn",
	}, {
		name: "an unanswered commit counts as not committed", file: "internal/txn/state.go",
		old: "\t\tm.state = stateUnanswered\n",
		new: "",
	}, {
		name: "the epoch of EndTxn's answer is not taken", file: "internal/txn/end.go",
		old: "t.current.Store(&Identity{resp.ProducerID, resp.ProducerEpoch}) // sequence",
		new: "_ = resp // sequence",
	}, {
		name: "sequence numbers go on under the epoch of EndTxn's answer", file: "brokerproducer/network.go",
		old: "*seq = txn.Sequence{Identity: b.identity}\n\t\t}\n\t\tb.SetIdentity",
		new: "*seq = txn.Sequence{Identity: b.identity, Next: seq.Next}\n\t\t}\n\t\tb.SetIdentity",
	}, {
		name: "a transaction's version is not fixed at its begin", file: "internal/txn/transactions.go",
		old: "return t.number.Load(), int16(t.version.Load())",
		new: "return t.number.Load(), t.cfg.Version()",
	}, {
		name: "another version under the same epoch", file: "internal/txn/transactions.go",
		old: "t.machine.versionChanged() //",
		new: "_ = before //",
	}, {
		name: "a batch is written before its partition is added", file: "brokerproducer/txn.go",
		old: "if l.Txn.Add(s.Topic, s.Partition, added) {",
		new: "if l.Txn.Add(s.Topic, s.Partition, added); true {",
	}, {
		name: "a partition is added twice", file: "internal/txn/additions.go",
		old: "\t\ta.added[tp] = true\n",
		new: "\t\tdelete(a.added, tp)\n",
	}, {
		name: "CommitTxn does not wait for outcomes", file: "identity.go",
		old: "case <-dispatcher.EndTxn(ctx):",
		new: "case <-dispatcher.EndTxn(ctx):\n\t\t\t\treturn nil\n\t\t\tdefault:",
	}, {
		name: "a failed message does not fail its transaction", file: "internal/txn/state.go",
		old: "\tm.failed = true\n\tm.fail(cause, isFatal)\n",
		new: "\tm.failed = true\n",
	}, {
		name: "a message of no transaction fails one", file: "internal/txn/transactions.go",
		old: "if errors.Is(err, sarama.ErrTransactionNotReady) {",
		new: "if errors.Is(err, errOldBroker) {",
	}, {
		name: "the epoch is raised within a transaction, by the producer itself", file: "internal/txn/transactions.go",
		old: "func (t *Transactions) Bump(Identity) (bumped bool) {\n",
		new: "func (t *Transactions) Bump(from Identity) (bumped bool) {\n\tt.current.Store(&Identity{from.ID, from.Epoch + 1})\n",
	}, {
		name: "the same epoch after an abort with failures", file: "internal/txn/state.go",
		old: "(m.failed || m.unsettled)",
		new: "m.unsettled",
	}, {
		name: "the same epoch after an unknown outcome", file: "internal/txn/state.go",
		old:  "return m.unknown || m.version < 2",
		new:  "return m.version < 2",
		test: "TestStates", in: "internal/txn",
	}, {
		name: "the same epoch where a request of the last transaction may still come", file: "internal/txn/state.go",
		old:   "return m.version < 2 && m.stray && m.canBump",
		new:   "return false",
		seeds: "2500",
	}, {
		name: "an empty transaction costs an EndTxn", file: "internal/txn/state.go",
		old: "\t\tcase m.started:\n\t\t\treturn stepEndTxn\n\t\t}\n\tcase stateUnanswered:",
		new: "\t\tdefault:\n\t\t\treturn stepEndTxn\n\t\t}\n\tcase stateUnanswered:",
	}, {
		name: "version 2, attempted without success: no EndTxn", file: "internal/txn/end.go",
		old: "if t.machine.version >= 2 && t.writing.Load() {",
		new: "if false {",
	}, {
		name: "an addition without an answer is none", file: "internal/txn/additions.go",
		old: "unsure: func() { a.t.added(false) },",
		new: "unsure: func() {},",
	}, {
		name: "an addition without an answer is certain", file: "internal/txn/state.go",
		old:  "m.unsettled = !certain",
		new:  "m.unsettled = false",
		test: "TestStates", in: "internal/txn",
	}, {
		name: "what is sent outside of a transaction is taken", file: "dispatch/dispatcher.go",
		old: "\tif !d.txnOpen {\n\t\treturn flow.Errorf(\"a message outside",
		new: "\tif false {\n\t\treturn flow.Errorf(\"a message outside",
	}, {
		name: "what waits in Input belongs to the transaction that begins", file: "dispatch/control.go",
		old:  "\t\t\td.refuseInputs()\n",
		new:  "",
		test: "TestMessagesOfATransaction", in: "dispatch",
	}, {
		name: "what CommitTxn finds in Input is refused", file: "dispatch/control.go",
		old: "\t\t\td.takeIn()\n\t\t\td.txnOpen = false\n",
		new: "\t\t\td.txnOpen = false\n\t\t\td.takeIn()\n",
	}, {
		name: "Close leaves the transaction open", file: "async_producer.go",
		old: "\tp.abortForClose()\n",
		new: "",
	}, {
		name: "Transact commits although its function has failed", file: "transactions.go",
		old: "\tif err == nil {\n\t\terr = p.commit(ctx)\n",
		new: "\tif err == nil || err != nil {\n\t\terr = p.commit(ctx)\n",
	}, {
		name: "Transact leaves it open where its function panicked", file: "transactions.go",
		old: "\t\tif !returned {\n",
		new: "\t\tif !returned && false {\n",
	}, {
		name: "CONCURRENT_TRANSACTIONS from a coordinator is a failed try", file: "internal/txn/ask.go",
		old: "\t\tif a == answerRetrySoon {\n\t\t\tpause",
		new: "\t\tif a > answerFatal {\n\t\t\tpause",
	}, {
		name: "CONCURRENT_TRANSACTIONS for a batch is a failed try", file: "brokerproducer/answers.go",
		old: "sarama.ErrConcurrentTransactions:          {Wait, never},",
		new: "sarama.ErrConcurrentTransactions: {Retry, never},",
	}, {
		name: "PRODUCER_FENCED is final while the last transaction still ends", file: "internal/txn/end.go",
		old:  "r.early = t.markersUntil()",
		new:  "_ = t.markersUntil",
		test: "TestEndTxnWhileTheLastStillEnds", in: "internal/txn",
	}, {
		name: "a coordinator that moved is asked again", file: "internal/txn/ask.go",
		old: "t.cfg.Coordinators.forget(r.to)",
		new: "_ = r.to",
	}, {
		name: "a group's offsets are sent without its member", file: "internal/txn/offsets.go",
		old: "req.Generation, req.MemberID = m.member.generation, m.member.id",
		new: "req.Generation, req.MemberID = -1, \"\"",
	}, {
		name: "a group's offsets are sent without the instance id", file: "internal/txn/offsets.go",
		old: "if m.member.hasInstance {",
		new: "if false {",
	}, {
		name: "offsets of version 1 are sent before their group is added", file: "internal/txn/end.go",
		old: "\t\tif version < 2 {\n\t\t\tif done, err := t.addGroup",
		new: "\t\tif false {\n\t\t\tif done, err := t.addGroup",
	}, {
		name: "offsets are left out of a commit", file: "internal/txn/state.go",
		old: "\t\tcase m.offsets:\n\t\t\treturn stepOffsets\n",
		new: "",
	}, {
		name: "a transaction that timed out ends its producer", file: "internal/txn/state.go",
		old: "case m.state != stateAborting && m.version >= 2:",
		new: "case false:",
	}, {
		name: "the status of a failed transaction is fatal", file: "internal/txn/state.go",
		old: "return sarama.ProducerTxnFlagInError | sarama.ProducerTxnFlagAbortableError",
		new: "return sarama.ProducerTxnFlagInError | sarama.ProducerTxnFlagFatalError",
	}, {
		name: "the status of an unanswered commit is ready", file: "internal/txn/state.go",
		old: "\tcase stateCommitting, stateUnanswered:\n\t\treturn sarama.ProducerTxnFlagEndTransaction | sarama.ProducerTxnFlagCommittingTransaction\n",
		new: "\tcase stateCommitting:\n\t\treturn sarama.ProducerTxnFlagEndTransaction | sarama.ProducerTxnFlagCommittingTransaction\n",
	}, {
		name: "version 2 ends as version 1 does", file: "internal/txn/end.go",
		old: "\t\tr.lowest, r.highest = 5, 5\n\t\tif !commit",
		new: "\t\tif !commit",
	}, {
		name: "version 1 writes as version 2 does", file: "internal/wire/conn.go",
		old: "if r.TransactionalID != nil && r.TxnVersion < 2 {",
		new: "if false {",
	}, {
		name: "an older producer goes on as the newest", file: "internal/txn/end.go",
		old:   "req.ProducerID, req.ProducerEpoch = id.ID, id.Epoch\n\t\treturn req\n\t}\n\tr.read = func(resp kmsg.Response) sarama.KError {\n\t\treturn sarama.KError(resp.(*kmsg.InitProducerIDResponse)",
		new:   "req.ProducerID, req.ProducerEpoch = -1, -1\n\t\treturn req\n\t}\n\tr.read = func(resp kmsg.Response) sarama.KError {\n\t\treturn sarama.KError(resp.(*kmsg.InitProducerIDResponse)",
		seeds: "2500",
	},
}
