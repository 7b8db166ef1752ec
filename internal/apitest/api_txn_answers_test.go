package apitest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// committed are the values that a reader of committed messages finds in topic "t", in their order. It waits for nothing but
// the cluster.
func committed(t testing.TB, c *kfake.Cluster) (values []string) {
	t.Helper()
	end := c.PartitionInfo("t", 0)
	if end.LastStableOffset != end.HighWatermark {
		t.Errorf("a transaction is open at offset %d", end.LastStableOffset)
	}
	if end.LastStableOffset == 0 {
		return nil
	}
	reader := newReader(t, c, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	ctx := impatient(t)
	for next := int64(0); next < end.LastStableOffset; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
		})
	}
	return values
}

// committedOffset is what group "g" has committed for partition 0 of "t", or -1.
func committedOffset(t testing.TB, c *kfake.Cluster) (offset int64, metadata string) {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = "g"
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic, topic.Partitions = "t", []int32{0}
	group.Topics = append(group.Topics, topic)
	req.Groups, req.RequireStable = append(req.Groups, group), true
	resp, err := req.RequestWith(impatient(t), newReader(t, c))
	if err != nil {
		t.Fatal(err)
	}
	p := resp.Groups[0].Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(p.ErrorCode))
	}
	if p.Metadata != nil {
		metadata = *p.Metadata
	}
	return p.Offset, metadata
}

// atEachTxn runs a test for sarama and ours, with both producers and both versions of transactions.
func atEachTxn(t *testing.T, test func(x *txnTest, version2 bool)) {
	t.Run("async", func(t *testing.T) { withEachTxn(t, true, test) })
	t.Run("sync", func(t *testing.T) { withEachTxn(t, false, test) })
}

// withEachTxn is atEachTxn with one of the producers, for long tables.
func withEachTxn(t *testing.T, async bool, test func(x *txnTest, version2 bool)) {
	for i, version := range txnVersions {
		for _, d := range []door{saramasOwn, saramaDoor, ownDoor} {
			t.Run(version.name+"/"+d.name, func(t *testing.T) {
				test(newTxnTest(t, d, async, txnContractConfig(), version.opts...), i == 1)
			})
		}
	}
}

// is checks a call's error as sarama's users do: they compare with ==.
func (x *txnTest) is(call string, err, want error) {
	x.Helper()
	very := x.door.bare && want != sluice.ErrOutcomeUnknown // which sarama's users don't know
	if very && err != want || !errors.Is(err, want) {
		x.Errorf("%s: %T %v, want %v", call, err, err, want)
	}
}

// What is committed is read, with the offsets; what is aborted is not.
func TestTxnContractLog(t *testing.T) {
	atEachTxn(t, func(x *txnTest, _ bool) {
		const metadata = "processed"
		for i, end := range []func() error{x.p.AbortTxn, x.p.CommitTxn, x.p.AbortTxn, x.p.CommitTxn, x.p.AbortTxn} {
			begun(x)
			x.must(x.send(message(0, 2*i)))
			x.must(x.send(message(0, 2*i+1)))
			consumed := &sarama.ConsumerMessage{Topic: "t", Offset: int64(i)}
			text := metadata
			x.must(x.p.AddMessageToTxn(&sarama.ConsumerMessage{Topic: "t", Offset: 0}, "g", nil))
			x.must(x.p.AddMessageToTxn(consumed, "g", &text))
			x.must(end())
		}
		if got, want := committed(x, x.c), []string{"2", "3", "6", "7"}; !slices.Equal(got, want) {
			x.Errorf("committed %v, want %v", got, want)
		}
		if offset, text := committedOffset(x, x.c); offset != 4 || text != metadata {
			x.Errorf("offset %d, metadata %q", offset, text)
		}
	})
}

// Offsets alone are a transaction, too, and an empty one costs no request.
func TestTxnContractOffsetsOnly(t *testing.T) {
	atEachTxn(t, func(x *txnTest, _ bool) {
		ends := counted(x.c, kmsg.EndTxn)
		for _, end := range []func() error{x.p.CommitTxn, x.p.AbortTxn} {
			begun(x)
			x.must(end())
		}
		if n := ends.Load(); n != 0 {
			x.Errorf("%d EndTxn requests for nothing", n)
		}
		begun(x)
		x.must(x.p.AddOffsetsToTxn(offsets(7), "g"))
		x.must(x.p.CommitTxn())
		begun(x)
		x.must(x.p.AddOffsetsToTxn(offsets(9), "g"))
		x.must(x.p.AbortTxn())
		if offset, _ := committedOffset(x, x.c); offset != 7 {
			x.Errorf("offset %d", offset)
		}
	})
}

// A close aborts what is open, as nobody else will before the transaction's time-out.
func TestTxnContractCloseAborts(t *testing.T) {
	atEachTxn(t, func(x *txnTest, _ bool) {
		begun(x)
		x.must(x.send(message(0, 0)))
		x.close()
		open := x.c.PartitionInfo("t", 0)
		if aborted := open.LastStableOffset == open.HighWatermark; aborted == (x.door.name == saramasOwn.name) {
			x.Errorf("aborted %v: differs, as sarama leaves it to the coordinator's time-out, for which readers wait", aborted)
		}
	})
}

// What becomes of a transaction by a code that a broker answers. The call is CommitTxn, after a message or offsets.
func TestTxnContractAnswers(t *testing.T) {
	const (
		messages = kmsg.Produce
		ending   = kmsg.EndTxn
		adding   = kmsg.AddPartitionsToTxn // version 1 only
		group    = kmsg.AddOffsetsToTxn    // version 1 only
		offsets_ = kmsg.TxnOffsetCommit
	)
	code := func(err *kerr.Error) sarama.KError { return sarama.KError(err.Code) }
	for _, line := range []struct {
		request kmsg.Key
		code    *kerr.Error
		want    expected
	}{
		{adding, kerr.TopicAuthorizationFailed, same(sarama.ErrTopicAuthorizationFailed, abortable)},
		{adding, kerr.UnknownProducerID, same(sarama.ErrUnknownProducerID, abortable)},
		{adding, kerr.ProducerFenced, same(sarama.ErrProducerFenced, fatal)},
		{adding, kerr.InvalidProducerEpoch, same(sarama.ErrInvalidProducerEpoch, fatal)},
		{adding, kerr.InvalidProducerIDMapping, same(sarama.ErrInvalidProducerIDMapping, fatal)},
		{adding, kerr.InvalidTxnState, same(sarama.ErrInvalidTxnState, fatal)},
		{adding, kerr.TransactionalIDAuthorizationFailed, same(sarama.ErrTransactionalIDAuthorizationFailed, fatal)},
		{group, kerr.GroupAuthorizationFailed, same(sarama.ErrGroupAuthorizationFailed, abortable)},
		{group, kerr.ProducerFenced, same(sarama.ErrProducerFenced, fatal)},
		{group, kerr.InvalidTxnState, same(sarama.ErrInvalidTxnState, fatal)},
		{offsets_, kerr.IllegalGeneration, same(sarama.ErrIllegalGeneration, abortable)},
		{offsets_, kerr.UnknownMemberID, same(sarama.ErrUnknownMemberId, abortable)},
		{offsets_, kerr.FencedInstanceID, same(sarama.ErrFencedInstancedId, abortable)},
		{offsets_, kerr.GroupAuthorizationFailed, same(sarama.ErrGroupAuthorizationFailed, abortable)},
		{offsets_, kerr.ProducerFenced, same(sarama.ErrProducerFenced, fatal)},
		{offsets_, kerr.InvalidProducerEpoch, same(sarama.ErrInvalidProducerEpoch, fatal)},
		{offsets_, kerr.UnsupportedForMessageFormat, same(sarama.ErrUnsupportedForMessageFormat, fatal)},
		{ending, kerr.ProducerFenced, same(sarama.ErrProducerFenced, fatal)},
		{ending, kerr.InvalidProducerEpoch, same(sarama.ErrInvalidProducerEpoch, fatal)},
		{ending, kerr.InvalidProducerIDMapping, same(sarama.ErrInvalidProducerIDMapping, fatal)},
		{ending, kerr.InvalidTxnState, same(sarama.ErrInvalidTxnState, fatal)},
		{ending, kerr.UnknownProducerID, same(sarama.ErrUnknownProducerID, abortable)},
		{ending, kerr.TransactionAbortable, same(code(kerr.TransactionAbortable), abortable).
			but(code(kerr.TransactionAbortable), fatal, "the code says that an abort is enough (KIP-1050)")},
		{offsets_, kerr.TransactionAbortable, same(code(kerr.TransactionAbortable), abortable).
			but(code(kerr.TransactionAbortable), fatal, "the code says that an abort is enough (KIP-1050)")},
		{adding, kerr.TransactionAbortable, same(code(kerr.TransactionAbortable), abortable).
			but(code(kerr.TransactionAbortable), fatal, "the code says that an abort is enough (KIP-1050)")},
		{messages, kerr.TransactionAbortable, same(code(kerr.TransactionAbortable), abortable)},
		{messages, kerr.InvalidRecord, same(code(kerr.InvalidRecord), abortable)},
		{messages, kerr.OutOfOrderSequenceNumber, same(sarama.ErrOutOfOrderSequenceNumber, abortable)},
		{messages, kerr.UnknownProducerID, same(sarama.ErrUnknownProducerID, abortable)},
		{messages, kerr.InvalidProducerEpoch, same(sarama.ErrInvalidProducerEpoch, abortable)},
		{messages, kerr.InvalidTxnState, same(sarama.ErrInvalidTxnState, abortable)},
		{messages, kerr.ProducerFenced, same(sarama.ErrProducerFenced, fatal)},
		{messages, kerr.TransactionalIDAuthorizationFailed, same(sarama.ErrTransactionalIDAuthorizationFailed, fatal)},
		{messages, kerr.ClusterAuthorizationFailed, same(sarama.ErrClusterAuthorizationFailed, fatal)},
		{messages, kerr.InvalidProducerIDMapping, same(sarama.ErrInvalidProducerIDMapping, fatal)},
	} {
		t.Run(fmt.Sprintf("%s, %s", line.request.Name(), line.code.Message), func(t *testing.T) {
			withEachTxn(t, false, func(x *txnTest, version2 bool) {
				ours := x.door.name != saramasOwn.name
				if ours && version2 && (line.request == adding || line.request == group) {
					return
				}
				begun(x)
				x.fail(line.code, 1, line.request)
				if line.request == group || line.request == offsets_ {
					x.must(x.p.AddOffsetsToTxn(offsets(1), "g"))
				} else if err := x.send(message(0, 0)); err != nil {
					x.is("the message", err, cmp.Or(line.want.of(x.door).err, err))
				}
				if ours && version2 && line.request == ending && line.code == kerr.InvalidTxnState {
					return // TestTxnContractExpired
				}
				want := line.want.of(x.door)
				x.is("CommitTxn", x.p.CommitTxn(), want.err)
				if got := x.p.TxnStatus(); got != want.status {
					x.Fatalf("status %v, want %v", got, want.status)
				}
				// What remains, and whether the producer goes on.
				err := x.p.AbortTxn()
				if want.status == fatal {
					x.is("AbortTxn", err, want.err)
					return
				}
				x.must(err)
				begun(x)
				x.must(x.send(message(0, 1)))
				x.must(x.p.CommitTxn())
				if got := committed(x, x.c); !slices.Equal(got, []string{"1"}) {
					x.Errorf("committed %v", got)
				}
			})
		})
	}
}

// What passes is tried again, as often as Transaction.Retry.Max says, and then CommitTxn succeeds.
func TestTxnContractRetries(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
		for _, code := range []*kerr.Error{
			kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.ConcurrentTransactions,
		} {
			t.Run(fmt.Sprintf("%s, %s", key.Name(), code.Message), func(t *testing.T) {
				withEachTxn(t, false, func(x *txnTest, _ bool) {
					x.fail(code, 1, key)
					begun(x)
					x.must(x.p.AddOffsetsToTxn(offsets(1), "g"))
					x.must(x.send(message(0, 0)))
					x.must(x.p.CommitTxn())
					if got := committed(x, x.c); !slices.Equal(got, []string{"0"}) {
						x.Errorf("committed %v", got)
					}
					if offset, _ := committedOffset(x, x.c); offset != 1 {
						x.Errorf("offset %d", offset)
					}
				})
			})
		}
	}
}

// The coordinator still writes the marks of the last transaction's end when the next one begins. That takes as long as it does:
// Transaction.Retry.Max does not count, and Transaction.Timeout does. sarama gives up, which its users met (IBM/sarama issue
// 2859).
func TestTxnContractLateMarkers(t *testing.T) {
	atEachTxn(t, func(x *txnTest, version2 bool) {
		begun(x)
		x.must(x.send(message(0, 0)))
		x.must(x.p.CommitTxn())
		x.fail(kerr.ConcurrentTransactions, 10, kmsg.AddPartitionsToTxn)
		if version2 {
			x.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.ConcurrentTransactions, Count: 10, When: func(kreq kmsg.Request) bool {
				return kreq.GetVersion() >= 12
			}})
		}
		begun(x)
		err := x.send(message(0, 1))
		if x.door.name == saramasOwn.name {
			if err == nil {
				x.Error("sarama waited: no difference any more")
			}
			return
		}
		x.must(err)
		x.must(x.p.CommitTxn())
		if got := committed(x, x.c); !slices.Equal(got, []string{"0", "1"}) {
			x.Errorf("committed %v", got)
		}
	})
}

// What passes elsewhere is given up after Transaction.Retry.Max. The error is the last code that the coordinator answered.
func TestTxnContractGivenUp(t *testing.T) {
	for _, line := range []struct {
		request kmsg.Key
		wrapped error // sarama's own, around the code
		want    outcome
		again   bool // CommitTxn may be called again
	}{
		{kmsg.AddPartitionsToTxn, sarama.ErrAddPartitionsToTxn, outcome{sarama.ErrOffsetsLoadInProgress, abortable}, false},
		{kmsg.AddOffsetsToTxn, nil, outcome{sarama.ErrOffsetsLoadInProgress, committing}, true},
		{kmsg.TxnOffsetCommit, sarama.ErrTxnOffsetCommit, outcome{sarama.ErrOffsetsLoadInProgress, committing}, true},
		{kmsg.EndTxn, nil, outcome{sarama.ErrOffsetsLoadInProgress, committing}, true},
	} {
		t.Run(line.request.Name(), func(t *testing.T) {
			withEachTxn(t, false, func(x *txnTest, version2 bool) {
				if !x.door.bare || version2 {
					return // New goes on; of version 2 there are fewer requests, with the same rule
				}
				begun(x)
				x.must(x.p.AddOffsetsToTxn(offsets(1), "g"))
				fault := x.fail(kerr.CoordinatorLoadInProgress, -1, line.request)
				sent := x.send(message(0, 0))
				err := x.p.CommitTxn()
				fault.Remove()
				if !errors.Is(err, line.want.err) || line.wrapped != nil && !errors.Is(err, line.wrapped) {
					x.Errorf("CommitTxn: %v, want %v and %v", err, line.want.err, line.wrapped)
				}
				if got := x.p.TxnStatus(); got != line.want.status {
					x.Errorf("status %v, want %v", got, line.want.status)
				}
				if !line.again {
					if !errors.Is(sent, line.want.err) || !errors.Is(sent, line.wrapped) {
						x.Errorf("the message: %v, want %v and %v", sent, line.want.err, line.wrapped)
					}
					x.must(x.p.AbortTxn())
					return
				}
				x.must(x.p.CommitTxn())
				if got := committed(x, x.c); !slices.Equal(got, []string{"0"}) {
					x.Errorf("committed %v", got)
				}
				if offset, _ := committedOffset(x, x.c); offset != 1 {
					x.Errorf("offset %d", offset)
				}
			})
		})
	}
}
