package apitest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// collected passes each report on. The channel has room for all.
func collected() (sluice.Option, <-chan sluice.DeliveryReport) {
	reports := make(chan sluice.DeliveryReport, 10000)
	return sluice.WithDeliveryReport(func(r sluice.DeliveryReport) { reports <- r }), reports
}

// Every message has one outcome: in the report, and in each channel that Return.* asks for.
func TestDeliveryReport(t *testing.T) {
	for _, returns := range []struct{ successes, errors bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		t.Run(fmt.Sprintf("%+v", returns), func(t *testing.T) {
			c := newTopicCluster(t, 2, 2)
			conf := testConfig()
			conf.Producer.Return.Successes = returns.successes
			conf.Producer.Return.Errors = returns.errors
			opt, reports := collected()
			p := newAsync(t, c, conf, opt)
			const n = 1000
			go send(p, messages(n, 2)...)
			if returns.successes {
				successes(t, p, n)
			}
			send(p, &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(strings.Repeat("x", 2<<20))})
			if returns.errors {
				wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrMessageSizeTooLarge))
			}

			good, next := 0, map[int32]int64{}
			bad := 0
			for good+bad < n+1 {
				r := receive(t, reports)
				if r.Topic != "t" || len(r.Messages) == 0 {
					t.Fatalf("report %+v", r)
				}
				if r.Err != nil {
					bad += len(r.Messages)
					wantError(t, r.Err, causes(sarama.ErrMessageSizeTooLarge))
					if r.Partition != -1 || r.BaseOffset != -1 {
						t.Errorf("partition %d base offset %d of a message that was never partitioned", r.Partition, r.BaseOffset)
					}
					continue
				}
				if r.BaseOffset != next[r.Partition] {
					t.Fatalf("partition %d: base offset %d in place of %d", r.Partition, r.BaseOffset, next[r.Partition])
				}
				for i, msg := range r.Messages {
					if msg.Offset != r.BaseOffset+int64(i) || msg.Partition != r.Partition {
						t.Fatalf("message %d of the report: partition %d offset %d", i, msg.Partition, msg.Offset)
					}
				}
				next[r.Partition] += int64(len(r.Messages))
				good += len(r.Messages)
			}
			if good != n || bad != 1 {
				t.Errorf("%d good and %d bad", good, bad)
			}
			_ = p.Close()
			if len(reports) > 0 {
				t.Errorf("%d reports more", len(reports))
			}
		})
	}
}

// What was reported may be sent again, with the report's own slice.
func TestReportSendsAgain(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.Return.Successes = false
	const rounds = 50
	done := make(chan struct{})
	var p *sluice.Producer
	ready := make(chan struct{})
	calls := 0 // the reports goroutine's
	p = newAsync(t, c, conf, sluice.WithDeliveryReport(func(r sluice.DeliveryReport) {
		<-ready
		if r.Err != nil {
			t.Error(r.Err)
		}
		calls += len(r.Messages)
		switch {
		case calls < rounds:
			p.InputBatch() <- r.Messages
		case calls == rounds:
			close(done)
		}
	}))
	close(ready)
	send(p, message(0, 0))
	wait(t, done, "the last round")
	readTopic(t, c, "t", rounds)
}

// Reports and channels leave out what was sent with Produce, and offsets are right all the same.
func TestReportLeavesCallbacksOut(t *testing.T) {
	c := newTopicCluster(t, 1, 1)
	conf := testConfig()
	conf.Producer.Flush.Messages = 4
	opt, reports := collected()
	p := newAsync(t, c, conf, opt)
	called := make(chan *sarama.ProducerMessage, 2)
	done := func(msg *sarama.ProducerMessage, err error) {
		if err != nil {
			t.Error(err)
		}
		called <- msg
	}
	for i := range 2 {
		send(p, message(0, 2*i))
		if err := p.Produce(t.Context(), message(0, 2*i+1), done); err != nil {
			t.Fatal(err)
		}
	}
	got := append(successes(t, p, 2), receive(t, called), receive(t, called))
	offsets := map[int64]bool{}
	for _, msg := range got {
		offsets[msg.Offset] = true
	}
	if len(offsets) != 4 {
		t.Errorf("offsets %v of four messages", offsets)
	}
	reported := 0
	for reported < 2 {
		reported += len(receive(t, reports).Messages)
	}
	if _ = p.Close(); reported != 2 || len(reports) > 0 || len(called) > 0 {
		t.Errorf("%d messages reported, %d reports and %d calls more", reported, len(reports), len(called))
	}
}
