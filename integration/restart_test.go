//go:build unix

package integration

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// downs are the ways in which a broker goes away.
var downs = []struct {
	name string
	down func(*kafkatest.Cluster, testing.TB, int)
}{
	{"stop", (*kafkatest.Cluster).Stop},
	{"kill", (*kafkatest.Cluster).Kill},
}

// TestAsyncThroughARestart sends a quarter of its messages before the broker goes down, half of them from then on, and
// the rest when it is up again. Nothing fails, nothing is lost, order is kept.
func TestAsyncThroughARestart(t *testing.T) {
	c := kafka.Get(t)
	for _, test := range downs {
		t.Run(test.name, func(t *testing.T) {
			const n = 40_000
			topic := c.NewTopic(t, 1, nil)
			p := newAsync(t, c, newConfig())
			send := func(from, to int) {
				for i := from; i < to; i++ {
					p.Input() <- &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(strconv.Itoa(i))}
				}
			}
			firstDelivered := make(chan struct{})
			outcome := make(chan error, 1)
			go func() {
				var errs []error
				for i := range n {
					if i == n/4 {
						close(firstDelivered)
					}
					select {
					case m := <-p.Successes():
						if got := string(m.Value.(sarama.StringEncoder)); got != strconv.Itoa(i) && len(errs) == 0 {
							errs = append(errs, fmt.Errorf("outcome %d is that of message %s", i, got))
						}
					case err := <-p.Errors():
						errs = append(errs, err)
					}
				}
				outcome <- errors.Join(errs...)
			}()
			send(0, n/4)
			<-firstDelivered
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				send(n/4, 3*n/4)
			}()
			test.down(c, t, 0)
			c.Restart(t, 0)
			<-sent
			send(3*n/4, n)
			if err := <-outcome; err != nil {
				t.Error(err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			checkNoGap(t, readAll(t, c, topic), n)
		})
	}
}

func TestSyncThroughARestart(t *testing.T) {
	c := kafka.Get(t)
	for _, test := range downs {
		t.Run(test.name, func(t *testing.T) {
			topic := c.NewTopic(t, 1, nil)
			conf := newConfig()
			conf.Producer.Flush.Bytes, conf.Producer.Flush.Frequency = 0, 0
			p := newSync(t, c, conf)
			up := make(chan struct{}) // closed when the broker is up again
			running := make(chan struct{})
			type result struct {
				sent int
				err  error
			}
			done := make(chan result, 1)
			go func() {
				var r result
				for after := 0; after < 100; r.sent++ { // that many once it is up again
					m := &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(strconv.Itoa(r.sent))}
					if _, _, r.err = p.SendMessage(m); r.err != nil {
						break
					}
					if r.sent == 100 {
						close(running)
					}
					select {
					case <-up:
						after++
					default:
					}
				}
				done <- r
			}()
			select {
			case <-running:
			case r := <-done:
				t.Fatalf("message %d: %v", r.sent, r.err)
			}
			test.down(c, t, 0)
			c.Restart(t, 0)
			close(up)
			r := <-done
			if r.err != nil {
				t.Fatalf("message %d: %v", r.sent, r.err)
			}
			checkNoGap(t, readAll(t, c, topic), r.sent)
		})
	}
}

// checkNoGap checks that a log holds the values 0 to n-1 in order. Without idempotence a batch whose answer was lost
// stands twice: the log may step back, and then goes on from there one by one. It never leaps.
func checkNoGap(t *testing.T, records []*kgo.Record, n int) {
	t.Helper()
	next, repeated := 0, 0
	for previous := -1; len(records) > 0; records = records[1:] {
		v, err := strconv.Atoi(string(records[0].Value))
		if err != nil {
			t.Fatal(err)
		}
		if v > previous+1 {
			t.Fatalf("offset %d holds %d after %d", records[0].Offset, v, previous)
		}
		if v < next {
			repeated++
		}
		next = max(next, v+1)
		previous = v
	}
	if next != n {
		t.Errorf("the log ends with %d, want %d", next-1, n-1)
	}
	t.Logf("%d of %d messages stand twice", repeated, n)
}
