package apitest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// firstCause is a difference that users gain from.
const firstCause = "with sarama a message that is sent after the failure takes its cause's place"

// What calls have to do with each other, beyond the table of states.
func TestTxnContractSequences(t *testing.T) {
	for _, line := range []struct {
		name string
		last func(*txnTest) error
		want expected
		log  []string // committed at last, after another transaction with message 9, if the status allows it
	}{
		{"a message before the transaction", func(x *txnTest) error {
			x.is("the message", x.send(message(0, 0)), sarama.ErrTransactionNotReady)
			begun(x)
			x.must(x.send(message(0, 1)))
			return x.p.CommitTxn()
		}, same(nil, ready), []string{"1", "9"}},
		{"a message after the failure", func(x *txnTest) error {
			begun(x)
			x.mustFail(x.send(tooLarge()))
			x.is("the message", x.send(message(0, 0)), sarama.ErrTransactionNotReady)
			return x.p.CommitTxn()
		}, same(errTooLarge, abortable).but(sarama.ErrTransactionNotReady, abortable, firstCause), []string{"9"}},
		{"a message after a commit without an answer", func(x *txnTest) error {
			begun(x)
			x.must(x.send(message(0, 0)))
			x.shim.LoseNext(kmsg.EndTxn, 1000)
			x.commitInVain(kmsg.EndTxn)
			x.shim.LoseNoMore(kmsg.EndTxn)
			x.is("the message", x.send(message(0, 1)), sarama.ErrTransactionNotReady)
			return x.p.CommitTxn()
		}, same(nil, ready).but(sarama.ErrTransactionNotReady, abortable, strayMessage), []string{"0", "9"}},
		{"two commits", func(x *txnTest) error {
			begun(x)
			x.must(x.send(message(0, 0)))
			x.must(x.p.CommitTxn())
			return x.p.CommitTxn()
		}, same(sarama.ErrTransitionNotAllowed, ready), []string{"0", "9"}},
		{"two aborts", func(x *txnTest) error {
			begun(x)
			x.mustFail(x.send(tooLarge()))
			x.must(x.p.AbortTxn())
			return x.p.AbortTxn()
		}, same(sarama.ErrTransitionNotAllowed, ready), []string{"9"}},
		{"two commits of what failed", func(x *txnTest) error {
			begun(x)
			x.mustFail(x.send(tooLarge()))
			x.is("CommitTxn", x.p.CommitTxn(), errTooLarge)
			return x.p.CommitTxn()
		}, same(errTooLarge, abortable), []string{"9"}},
		{"offsets refused, and added again", func(x *txnTest) error {
			begun(x)
			x.must(x.p.AddOffsetsToTxn(offsets(1), "g"))
			x.fail(kerr.IllegalGeneration, 1, kmsg.TxnOffsetCommit)
			x.is("CommitTxn", x.p.CommitTxn(), sarama.ErrIllegalGeneration)
			x.must(x.p.AbortTxn())
			begun(x)
			x.must(x.p.AddOffsetsToTxn(offsets(2), "g"))
			defer func() {
				if offset, _ := committedOffset(x, x.c); offset != 2 {
					x.Errorf("offset %d", offset)
				}
			}()
			return x.p.CommitTxn()
		}, same(nil, ready), []string{"9"}},
		{"fenced at the commit", func(x *txnTest) error {
			begun(x)
			x.must(x.send(message(0, 0)))
			x.takeOver()
			return x.p.CommitTxn()
		}, same(sarama.ErrProducerFenced, fatal), nil},
		{"fenced with offsets only", func(x *txnTest) error {
			begun(x)
			x.must(x.p.AddOffsetsToTxn(offsets(1), "g"))
			x.takeOver()
			return x.p.CommitTxn()
		}, same(sarama.ErrProducerFenced, fatal), nil},
		{"fenced with nothing", func(x *txnTest) error {
			begun(x)
			x.takeOver()
			x.must(x.p.CommitTxn())
			begun(x)
			x.mustFail(x.send(message(0, 0)))
			return x.p.AbortTxn()
		}, same(sarama.ErrProducerFenced, fatal), nil},
		{"fenced at the abort", func(x *txnTest) error {
			begun(x)
			x.must(x.send(message(0, 0)))
			x.takeOver()
			return x.p.AbortTxn()
		}, same(sarama.ErrProducerFenced, fatal), nil},
		{"a member of the group that is not there", func(x *txnTest) error {
			begun(x)
			group := sarama.NewConsumerGroupMetadata("g")
			group.MemberID, group.GenerationID = "nobody", 7
			x.must(x.p.AddOffsetsToTxnWithGroupMetadata(offsets(1), group))
			return x.p.CommitTxn()
		}, same(sarama.ErrIllegalGeneration, abortable), []string{"9"}},
	} {
		t.Run(line.name, func(t *testing.T) {
			atEachTxn(t, func(x *txnTest, _ bool) {
				want := line.want.of(x.door)
				x.is("the last call", line.last(x), want.err)
				if got := x.p.TxnStatus(); got != want.status {
					x.Fatalf("status %v, want %v", got, want.status)
				}
				if want.status == fatal {
					if got := committed(x, x.c); len(got) > 0 {
						x.Errorf("committed %v", got)
					}
					return
				}
				if want.status == abortable {
					if err := x.p.AbortTxn(); err != nil {
						if line.want.differs != "" && x.door.name == saramasOwn.name {
							return // it can't be aborted any more, either
						}
						x.Fatal(err)
					}
				}
				begun(x)
				x.must(x.send(message(0, 9)))
				x.must(x.p.CommitTxn())
				if got := committed(x, x.c); !slices.Equal(got, line.log) {
					x.Errorf("committed %v, want %v", got, line.log)
				}
			})
		})
	}
}

// Version 2 asks no coordinator before it sends. The partition's leader tells a fenced producer from one whose transaction was
// aborted for its time no better than by INVALID_PRODUCER_EPOCH: AbortTxn finds out which it is.
func TestTxnContractFencedLeader(t *testing.T) {
	atEachTxn(t, func(x *txnTest, version2 bool) {
		want, status := error(sarama.ErrProducerFenced), fatal
		if version2 && x.door.name != saramasOwn.name {
			want, status = sarama.ErrInvalidProducerEpoch, abortable
		}
		begun(x)
		x.takeOver()
		x.is("the message", x.send(message(0, 0)), want)
		x.is("CommitTxn", x.p.CommitTxn(), want)
		if got := x.p.TxnStatus(); got != status {
			x.Errorf("status %v, want %v", got, status)
		}
		x.is("AbortTxn", x.p.AbortTxn(), sarama.ErrProducerFenced)
		x.is("CommitTxn", x.p.CommitTxn(), sarama.ErrProducerFenced)
		if got := x.p.TxnStatus(); got != fatal {
			x.Errorf("status %v", got)
		}
	})
}

// A transaction that took longer than Transaction.Timeout: the coordinator has aborted it, and raised the epoch. Version 1 can't
// tell that from another producer. Version 2 can (KAFKA-20785), and the producer goes on.
func TestTxnContractExpired(t *testing.T) {
	for _, version := range txnVersions {
		for _, d := range []door{saramasOwn, saramaDoor, ownDoor} {
			t.Run(version.name+"/"+d.name, func(t *testing.T) {
				conf := txnContractConfig()
				conf.Producer.Transaction.Timeout = 300 * time.Millisecond // the message is sent within it
				x := newTxnTest(t, d, false, conf, version.opts...)
				want, status := sarama.ErrProducerFenced, fatal
				if version.name == "version 2" && d.name != saramasOwn.name {
					want, status = sarama.ErrInvalidTxnState, abortable
				}
				begun(x)
				x.must(x.send(message(0, 0)))
				for p := x.c.PartitionInfo("t", 0); p.LastStableOffset < p.HighWatermark; p = x.c.PartitionInfo("t", 0) {
					time.Sleep(time.Millisecond)
				}
				x.is("CommitTxn", x.p.CommitTxn(), want)
				if got := x.p.TxnStatus(); got != status {
					t.Errorf("status %v, want %v", got, status)
				}
				if got := committed(t, x.c); len(got) > 0 {
					t.Errorf("committed %v", got)
				}
				if status == abortable {
					x.must(x.p.AbortTxn())
					begun(x)
					x.must(x.p.CommitTxn())
				}
			})
		}
	}
}

// CommitTxn and AbortTxn wait for the outcome of every message that was sent before.
func TestTxnContractPending(t *testing.T) {
	for _, commit := range []bool{true, false} {
		t.Run(fmt.Sprintf("commit %v", commit), func(t *testing.T) {
			for _, version := range txnVersions {
				for _, d := range []door{saramasOwn, saramaDoor, ownDoor} {
					t.Run(version.name+"/"+d.name, func(t *testing.T) {
						x := newTxnTest(t, d, true, txnContractConfig(), version.opts...)
						const n = 100
						var want []string
						var reader sync.WaitGroup
						reader.Go(func() {
							for range n { // Close would take what is left
								receive(t, x.async.Successes())
							}
						})
						begun(x)
						held := holdProduce(t, x.c, nil)
						for i := range n {
							x.async.Input() <- message(0, i)
							if commit {
								want = append(want, strconv.Itoa(i))
							}
						}
						receive(t, held.arrived)
						ended := make(chan error, 1)
						go func() {
							if commit {
								ended <- x.p.CommitTxn()
							} else {
								ended <- x.p.AbortTxn()
							}
						}()
						select {
						case err := <-ended:
							t.Fatalf("it did not wait: %v", err)
						default:
						}
						held.open()
						x.must(receive(t, ended))
						if got := committed(t, x.c); !slices.Equal(got, want) {
							t.Errorf("committed %v", got)
						}
						reader.Wait()
						x.close()
					})
				}
			}
		})
	}
}

// An error of Transact's function is its own, even one that would be fatal if it were the producer's: the transaction is aborted.
// If the producer has ended meanwhile, the error says so, too.
func TestTransactErrorsOfTheFunction(t *testing.T) {
	for _, version := range txnVersions {
		t.Run(version.name, func(t *testing.T) {
			x := newTxnTest(t, ownDoor, false, txnContractConfig(), version.opts...)
			p := x.p.(*sluice.Producer)
			mine := sarama.ErrClusterAuthorizationFailed // of another client, say
			err := p.Transact(t.Context(), func(sluice.Tx) error {
				x.must(x.send(message(0, 0)))
				return mine
			})
			if err != mine || p.TxnStatus() != ready {
				t.Errorf("%v, status %v", err, p.TxnStatus())
			}
			if got := committed(t, x.c); len(got) > 0 {
				t.Errorf("committed %v", got)
			}
			own := errors.New("the function's own")
			err = p.Transact(t.Context(), func(sluice.Tx) error {
				x.must(x.send(message(0, 0)))
				x.takeOver()
				return own
			})
			if !errors.Is(err, own) || !sluice.IsTxnFatal(err) || p.TxnStatus() != fatal {
				t.Errorf("%v, status %v", err, p.TxnStatus())
			}
		})
	}
}

// A function that returns the error of a message of its transaction: what failed is aborted, and may be tried again, whatever
// became of the message.
func TestTransactFailedMessageOfTheFunction(t *testing.T) {
	for _, version := range txnVersions {
		for _, code := range []*kerr.Error{kerr.RequestTimedOut, kerr.InvalidRecord} {
			t.Run(version.name+", "+code.Message, func(t *testing.T) {
				x := newTxnTest(t, ownDoor, false, txnContractConfig(), version.opts...)
				fault := x.fail(code, -1, kmsg.Produce)
				var met error
				transact := func() error {
					return x.own().Transact(t.Context(), func(sluice.Tx) error {
						met = x.send(message(0, 0))
						return met
					})
				}
				err := transact()
				if !errors.Is(err, sarama.KError(code.Code)) || !sluice.IsTxnAbortable(err) || errors.Is(err, sluice.ErrOutcomeUnknown) {
					t.Errorf("%v: abortable %v", err, sluice.IsTxnAbortable(err))
				}
				if unknown := code == kerr.RequestTimedOut; errors.Is(met, sluice.ErrOutcomeUnknown) != unknown {
					t.Errorf("the message: %v", met)
				}
				if got := x.p.TxnStatus(); got != ready {
					t.Errorf("status %v", got)
				}
				fault.Remove()
				x.must(transact())
				if got := committed(t, x.c); !slices.Equal(got, []string{"0"}) {
					t.Errorf("committed %v", got)
				}
			})
		}
	}
}
