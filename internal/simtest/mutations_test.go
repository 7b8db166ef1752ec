package simtest

import (
	"cmp"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var mutate = flag.Bool("mutations", false, "make deliberate mistakes, one at a time, and show that each is caught")

// mutation is a deliberate mistake: a piece of source and what it is replaced by. A piece that is not found, or more
// than once, is an error, so that the table follows the source.
type mutation struct {
	name     string
	file     string // in the module
	old, new string
	seeds    string // how many it may take; most take a few
	test     string // the test that notices it, where the simulator can't
	in       string // its package; empty: internal/apitest
	sim      string // of the simulator's tests: the one that notices it
}

// allMutations are those of both tests.
func allMutations() []mutation {
	for i := range mutations {
		mutations[i].sim = "^TestSim$"
	}
	for i := range txnMutations {
		txnMutations[i].sim = "^TestTxn$"
	}
	return slices.Concat(mutations, txnMutations)
}

var mutations = []mutation{
	{
		name: "the sequence is not kept on resend", file: "brokerproducer/network.go",
		old: "if b.Numbered {\n\t\t\tb.justNumbered = false\n\t\t\tcontinue\n\t\t}",
		new: "b.justNumbered = false",
	}, {
		name: "the partition moves before its session has ended", file: "brokerproducer/close.go",
		old: "if !s.ending || s.unacked > 0 || !s.registered {",
		new: "if !s.ending || !s.registered {",
	}, {
		name: "batches come back out of order", file: "brokerproducer/session.go",
		old: "result.Batches = append(result.Batches, s.flight...)\n\tresult.Batches = append(result.Batches, s.ready...)",
		new: "result.Batches = append(result.Batches, s.ready...)\n\tresult.Batches = append(result.Batches, s.flight...)",
	}, {
		name: "what was recalled goes behind what waited", file: "brokerproducer/answered.go",
		old: "slices.Insert(s.ready, 0, b)",
		new: "append(slices.Clip(s.ready), b)",
	}, {
		name: "what came back goes behind what waited", file: "dispatch/rules.go",
		old:   "r.records = append(result.Records, r.records...)",
		new:   "r.records = append(r.records, result.Records...)",
		seeds: "4000",
	}, {
		name: "the topic goes on sending to a session that ends", file: "dispatch/rules.go",
		old: "r.state = stateEnding\n\tr.stopDirect()",
		new: "r.state = stateEnding",
	}, {
		name: "an outcome twice", file: "dispatch/giveup.go",
		old: "r.failRecords(r.records[:records], cause)\n",
		new: "r.failRecords(r.records[:records], cause)\n\t\tr.failRecords(r.records[:records], cause)\n",
	}, {
		name: "a bump for an older failure", file: "internal/txn/manager.go",
		old: "if m.Current() != from || !from.Known() {\n\t\treturn false\n\t}\n\tif from.Epoch",
		new: "if !from.Known() {\n\t\treturn false\n\t}\n\tif from.Epoch",
	}, {
		name: "no bump for a broken sequence", file: "dispatch/sequence.go",
		old: "} else {\n\t\tr.bump(r.sequence.Identity)",
		new: "} else {\n\t\t_ = r.bump",
	}, {
		name: "more is sent before the first acknowledgement", file: "brokerproducer/session.go",
		old: "if !s.confirmed {",
		new: "if false {",
	}, {
		name: "a refusal clears that a batch may be written", file: "brokerproducer/verdict.go",
		old: "v.unsure = v.unsure || Unsure(a.code, a.acks)",
		new: "v.unsure = Unsure(a.code, a.acks)",
	}, {
		name: "a batch in flight that expires counts as not written", file: "brokerproducer/expire.go",
		old: "b.Unsure = b.Unsure || state != notWritten\n",
		new: "\n",
	}, {
		name: "a lost connection counts as not written", file: "brokerproducer/verdict.go",
		old: "if !a.decided {\n\t\t\tv.failed, v.unsure = v.failed+1, true",
		new: "if !a.decided {\n\t\t\tv.failed = v.failed + 1",
	}, {
		name: "what failed in the append counts as not written", file: "brokerproducer/answers.go",
		old: "sarama.ErrKafkaStorageError: {Refresh, always},",
		new: "sarama.ErrKafkaStorageError: {Refresh, never},",
	}, {
		name: "what may be written is renumbered under another producer id", file: "brokerproducer/verdict.go",
		old: "case a.unsure && (afterBreak || a.oldest):\n\t\treturn a.giveUp(v)",
		new: "case a.unsure && (afterBreak || a.oldest):\n\t\tif MeaningOf(a.code) != LostIdentity {\n\t\t\treturn a.giveUp(v)\n\t\t}\n" +
			"\t\tv.failed, v.unsure, v.sequence = v.failed+1, false, SequenceBroken\n\t\treturn a.retry(v, AfterBackoff)",
	}, {
		name: "numbers begin again under the producer id that was lost", file: "dispatch/sequence.go",
		old: "r.renew(r.sequence.Identity)",
		new: "_ = r.renew",
	}, {
		name: "a duplicate is a failure", file: "brokerproducer/answers.go",
		old: "sarama.ErrDuplicateSequenceNumber: {Duplicate, never},",
		new: "sarama.ErrDuplicateSequenceNumber: {Fatal, never},",
	}, {
		name: "unsure batches behind a broken sequence are renumbered at once", file: "dispatch/sequence.go",
		old: "if b.Numbered && b.Unsure {",
		new: "if false {",
	}, {
		name: "the second half of a split is lost", file: "brokerproducer/answered.go",
		old: "for _, half := range []*produceset.Batch{first, second} {",
		new: "_ = second\n\tfor _, half := range []*produceset.Batch{first} {",
	}, {
		name: "an unsure batch loses its bad records", file: "brokerproducer/verdict.go",
		old: "a.culprits < a.records && !a.unsure && !a.decided {",
		new: "a.culprits < a.records && !a.decided {\n\t\t\tv.unsure = false",
	}, {
		name: "an unsure batch is split", file: "brokerproducer/verdict.go",
		old: "if a.records > 1 && !a.unsure && !a.decided {",
		new: "if a.records > 1 && !a.decided {",
	}, {
		name: "a flush does not wake who lingers", file: "internal/flow/shared.go",
		old: "s.urgent.Add(1)\n\ts.WakeLingering()",
		new: "s.urgent.Add(1)",
	}, {
		name: "Close leaves Input open", file: "dispatch/control.go",
		old: "close(d.Input)\n\t\t\tclose(d.InputBatch)",
		new: "close(d.InputBatch)",
	}, {
		name: "a batch fails because an earlier one was not written", file: "brokerproducer/verdict.go",
		old: "\t}\n\tv.do = resend\n\tv.next",
		new: "\tdefault:\n\t\treturn a.giveUp(v)\n\t}\n\tv.do = resend\n\tv.next",
	}, {
		name: "no look-up beside the back-off", file: "dispatch/rules.go",
		old: "\t\tr.askForLeader()\n",
		new: "\t\t_ = r.refresh\n",
	}, {
		name: "a broker that lags is asked again and again", file: "internal/metadata/another.go",
		old: "return w.useless%16 == 0 || w.useless <= 3 && (h == useless || w.useless > 1)",
		new: "return false",
	}, {
		name: "a deposed leader is asked who leads", file: "internal/metadata/another.go",
		old:  "l.client.failedAt[leader.Addr] = now\n\t\t\tl.client.askAnother()",
		new:  "_ = now",
		test: "TestADeposedLeaderIsNotAskedAboutItself",
	}, {
		name: "an epoch that went back is never believed", file: "internal/metadata/epochs.go",
		old: "return o.answers >= olderAnswers && (o.two || !several)",
		new: "return false",
	}, {
		// Believed at once, an old answer costs some requests that are refused, and delays. The simulator has no bound for these.
		name: "an epoch that went back is believed at once", file: "internal/metadata/epochs.go",
		old:  "return o.answers >= olderAnswers && (o.two || !several)",
		new:  "return true",
		test: "TestBelieveAnEpochThatWentBack", in: "internal/metadata",
	}, {
		name: "a request that timed out at the broker counts as not written", file: "brokerproducer/answers.go",
		old: "sarama.ErrRequestTimedOut:              {Retry, always},",
		new: "sarama.ErrRequestTimedOut: {Retry, never},",
	}, {
		name: "a batch that too few replicas have counts as not written", file: "brokerproducer/answers.go",
		old: "sarama.ErrNotEnoughReplicasAfterAppend: {Retry, always},",
		new: "sarama.ErrNotEnoughReplicasAfterAppend: {Retry, never},",
	}, {
		name: "a leader that moved away behind the append has written nothing", file: "brokerproducer/answers.go",
		old: "sarama.ErrNotLeaderForPartition:   {Refresh, acksAll},",
		new: "sarama.ErrNotLeaderForPartition: {Refresh, never},",
	}, {
		name: "a topic that is gone behind the append has got nothing", file: "brokerproducer/answers.go",
		old: "sarama.ErrUnknownTopicOrPartition: {Refresh, acksAll},",
		new: "sarama.ErrUnknownTopicOrPartition: {Refresh, never},",
	}, {
		name: "an unknown error comes before the append", file: "brokerproducer/answers.go",
		old: "sarama.ErrUnknown: {RetryFew, always},",
		new: "sarama.ErrUnknown: {RetryFew, never},",
	}, {
		name: "the network's own answer says what the broker did", file: "brokerproducer/answers.go",
		old: "sarama.ErrNetworkException: {Refresh, always},",
		new: "sarama.ErrNetworkException: {Refresh, never},",
	}, {
		name: "what the answer leaves out is not written", file: "brokerproducer/verdict.go",
		old: "case unmentioned:\n\t\tv.failed, v.unsure = v.failed+1, true",
		new: "case unmentioned:\n\t\tv.failed++",
	}, {
		name: "the epoch is raised where another producer id is wanted", file: "brokerproducer/answers.go",
		old: "sarama.ErrInvalidProducerIDMapping: {LostIdentity, never},",
		new: "sarama.ErrInvalidProducerIDMapping: {LostSequence, never},",
	}, {
		name: "the epoch is raised where no raised epoch is taken", file: "brokerproducer/answers.go",
		old: "sarama.ErrInvalidProducerEpoch:     {LostIdentity, never},",
		new: "sarama.ErrInvalidProducerEpoch: {LostSequence, never},",
	}, {
		name: "what is not written is not renumbered", file: "brokerproducer/verdict.go",
		old: "v.failed++\n\t\tv.sequence = SequenceBroken\n\t\treturn a.retry(v, AfterBackoff)",
		new: "return a.giveUp(v)",
	}, {
		name: "a broker's limit for requests is forgotten with the session", file: "brokerproducer/close.go",
		old:  "l.pool.release(l.Producer, l.sizes)",
		new:  "l.pool.release(l.Producer, sizes{})",
		test: "TestBatchAboveTheBrokersLimitIsSplit", // acks 0 and large requests seldom meet
	}, {
		name: "a close on a large request says nothing", file: "brokerproducer/sizes.go",
		old: "return size >= suspectBytes && (kind == timedOut || kind == closedByPeer && size > s.acked)",
		new: "return size >= suspectBytes && kind == timedOut",
	}, {
		name: "what is too large for the broker is sent for ever", file: "brokerproducer/verdict.go",
		old: "case a.size == batchIsRefused && (v.unsure || a.records < 2):",
		new: "case false:",
	}, {
		name: "a forgotten partition begins at sequence 0", file: "dispatch/forget.go",
		old:  "pp.rules.sequence, pp.rules.sequenceState = t.kept[i].sequence, t.kept[i].state",
		new:  "_ = pp",
		test: "TestForgottenTopicGoesOn",
	}, {
		name: "a topic is started anew before it has ended", file: "dispatch/forget.go",
		old:  "if d.idle.leaving[t.name] {",
		new:  "if false {",
		test: "TestSentWhileForgotten",
	}, {
		name: "a batch that expires is in flight for ever, for Stats", file: "brokerproducer/stats.go",
		old: "b.claim.counted, b.claim.decided = false, true",
		new: "b.claim.decided = true",
	}, {
		name: "a batch that comes back is still in flight, for Stats", file: "brokerproducer/stats.go",
		old: "of.Add(b.counts(), b.claim.counted)\n",
		new: "of.Add(b.counts(), false)\n",
	}, {
		name: "records that are refused count as failed alone", file: "dispatch/dispatcher.go",
		old:  "of.Accepted(int64(n), int64(rec.Size))",
		new:  "_ = of",
		test: "TestGauges", // at the end nothing is buffered anyway
	}, {
		name: "a late answer counts once more", file: "brokerproducer/answered.go",
		old: "if !b.decided {\n\t\t\t\tacked.Add(b.counts())\n\t\t\t}",
		new: "acked.Add(b.counts())",
	}, {
		name: "what an idle Appender has open lingers for ever", file: "appender_batches.go",
		old:  "\tbefore := a.p.shared.Now() - int64(o.lingerFor)\n",
		new:  "\tif o.open > 0 {\n\t\treturn\n\t}\n\tbefore := a.p.shared.Now() - int64(o.lingerFor)\n",
		test: "TestAppenderLinger",
	}, {
		name: "Close of the producer leaves open batches of Appenders", file: "async_producer.go",
		old: "p.shared.BeginClose()\n\tp.appenders.each((*Appender).sealAll)",
		new: "p.shared.BeginClose()",
	}, {
		name: "Flush of the producer leaves open batches of Appenders", file: "async_producer.go",
		old:  "p.appenders.each((*Appender).sealAll)\n\tselect {",
		new:  "select {",
		test: "TestFlushSealsOpenBatches",
	}, {
		name: "who waits for memory has no open batch sealed", file: "appender_batches.go",
		old:  "if a.p.shared.Budget.Waiting() {\n\t\t\t\ta.sealAll()",
		new:  "if false {\n\t\t\t\ta.sealAll()",
		test: "TestAppenderFreesMemory",
	}, {
		name: "an Appender's batch lingers that began while others waited for memory", file: "appender_batches.go",
		old:  "if o.a.p.shared.Budget.Waiting() {",
		new:  "if false {",
		test: "TestAppenderBeginsWhileOthersWait",
	}, {
		name: "an Appender waits with the memory of a batch that has no record", file: "appender_batches.go",
		old:  "\t\t\tneed += b.charge\n\t\t\tb.dropEmpty(budget)\n\t\t}\n\t\ta.mu.Unlock()\n\t\terr = a.p.charge(a.ctx, need)\n\t\ta.mu.Lock()\n",
		new:  "\t\t\tdefer budget.Release(b.charge)\n\t\t\tneed += b.charge\n\t\t\tb.Release()\n\t\t}\n\t\ta.mu.Unlock()\n\t\terr = a.p.charge(a.ctx, need)\n\t\ta.mu.Lock()\n",
		test: "TestAppendersShareLittleMemory",
	}, {
		name: "an Appender's batch spans Begin and Commit", file: "appender_batches.go",
		old:  "return !open || number != b.txn",
		new:  "_, _ = number, open\n\treturn false",
		test: "TestAppenderBatchOfAnEarlierTransaction", in: ".",
	}, {
		name: "Transact commits without what Appenders have open", file: "transactions.go",
		old:  "err = p.commit(ctx)\n",
		new:  "err = p.txns.Commit(ctx)\n",
		test: "TestTransactCommitsOpenBatches",
	}, {
		name: "AbortTxn sends what Appenders have open", file: "appender_batches.go",
		old:  "return number != c.txn",
		new:  "_ = number\n\treturn false",
		test: "TestAppenderTransactions",
	}, {
		name: "the second part of an Appender's batch has no outcome", file: "produceset/bytes.go",
		old:  "divided := rec.Completion.Divide(part, last)\n\t\tone.Msg",
		new:  "divided := rec.Completion.Divide(part, last)\n\t\tif last {\n\t\t\tdivided.Completion.Done = func(*sarama.ProducerMessage, error) {}\n\t\t}\n\t\tone.Msg",
		test: "TestAppenderBatchIsDivided",
	}, {
		name: "a part of an Appender's batch has the message of the whole", file: "produceset/bytes.go",
		old:  "one.Msg, one.Completion = divided.Msg, divided.Completion",
		new:  "one.Completion = divided.Completion", // so its report has no offset
		test: "TestAppenderBatchIsDivided",
	}, {
		name: "an Appender's batch is used again before its report", file: "appender_batches.go",
		old: "\ta := c.a\n\tdefer func() {\n\t\tpartition := c.batch.Partition\n\t\tc.batch.Release()\n",
		new: "\ta := c.a\n\tc.batch.Release()\n\tdefer func() {\n\t\tpartition := c.batch.Partition\n",
	}, {
		name: "the memory of an Appender's empty batch is not given back", file: "appender_batches.go",
		old:  "\tbudget.Release(b.charge)\n\tb.Release()\n\treturn true",
		new:  "\tb.Release()\n\treturn true",
		test: "TestAppendersShareLittleMemory",
	}, {
		name: "an Appender's Flush waits for what Writers append meanwhile", file: "appender_batches.go",
		old:  "\tfor o.flushes[0].settled != nil && o.flushes[0].unsettled == 0 {",
		new:  "\tfor o.flushes[0].settled != nil && o.flushes[0].unsettled == 0 && o.flushes[len(o.flushes)-1].unsettled == 0 {",
		test: "TestAppenderFlushWhileOthersWrite",
	}, {
		name: "interceptors run for a message and an Appender's record at the same time", file: "dispatch/charge.go",
		old:  "\tdeps.Intercepting.Lock()\n\tdefer deps.Intercepting.Unlock()\n",
		new:  "",
		test: "TestAppenderInterceptorsOneAtATime",
	},
}

// TestMutations makes each mistake in an overlay of the source, and runs the simulator over it.
func TestMutations(t *testing.T) {
	if !*mutate {
		t.Skip("-mutations makes deliberate mistakes and takes minutes")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range allMutations() {
		t.Run(m.name, func(t *testing.T) { m.run(t, root) })
	}
}

// TestMutationsApply keeps the table in step with the source, at no cost.
func TestMutationsApply(t *testing.T) {
	for _, m := range allMutations() {
		m.apply(t, "../..")
	}
}

// apply returns the file with the mistake in it.
func (m *mutation) apply(t *testing.T, root string) string {
	source, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s: %s holds %d times, not once:\n%s", m.name, m.file, n, m.old)
	}
	return strings.Replace(string(source), m.old, m.new, 1)
}

func (m *mutation) run(t *testing.T, root string) {
	path := filepath.Join(root, m.file)
	dir := t.TempDir()
	mutant := filepath.Join(dir, filepath.Base(path))
	write(t, mutant, []byte(m.apply(t, root)))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "overlay.json"), overlay)

	seeds := m.seeds
	if seeds == "" {
		seeds = "600"
	}
	args := []string{"test", "-overlay", filepath.Join(dir, "overlay.json"), "-count=1", "-failfast", "-timeout=5m"}
	if m.test != "" {
		args = append(args, "./"+cmp.Or(m.in, "internal/apitest"), "-run=^"+m.test+"$")
	} else {
		args = append(args, "./internal/simtest", "-run="+m.sim, "-mutant", "-seeds="+seeds)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		t.Errorf("%s: nobody noticed", m.name)
	case strings.Contains(string(out), "[build failed]"):
		t.Errorf("the mutation does not build:\n%s", out)
	case strings.Contains(string(out), "test timed out"):
		t.Errorf("the simulator ran out of time, which tells nothing:\n%s", out)
	default:
		t.Logf("caught: %s", caught(string(out)))
	}
}

var firstSign = regexp.MustCompile(`(?m)^.*(✗|panic:|fatal error:|deadlock|--- FAIL: Test\w+/|_test\.go:\d+:).*$`)

// caught is the line of the output that tells what was noticed first.
func caught(out string) string {
	for _, line := range firstSign.FindAllString(out, -1) {
		if strings.Contains(line, "✗") || strings.Contains(line, "panic:") || strings.Contains(line, "deadlock") {
			return strings.TrimSpace(line)
		}
	}
	return strings.TrimSpace(firstSign.FindString(out))
}

func write(t *testing.T, path string, data []byte) {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
