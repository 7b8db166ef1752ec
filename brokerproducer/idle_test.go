package brokerproducer

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
)

// noNetwork is a configuration whose dials all fail, so that a producer's goroutines can be watched in a bubble.
func noNetwork(conf *sarama.Config) {
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = refusingDialer{}
}

// visit opens a session and ends it at once.
func visit(pool *Pool, partition int32) *Producer {
	owner := newAutoOwner()
	s := pool.Open(1, "b1:9092", owner, unnumbered(partition))
	s.End()
	<-owner.ended
	return s.producer
}

// A broker producer stays for a while after its last session, serves the sessions that come meanwhile, and ends then.
func TestIdleProducerStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := NewPool(newConfig(t, noNetwork))
		first := visit(pool, 0)
		for range 3 {
			time.Sleep(idleTime - time.Second)
			if visit(pool, 0) != first {
				t.Error("another broker producer, before the idle time was over")
			}
		}
		time.Sleep(idleTime + time.Second)
		pool.running.Wait() // its goroutines have ended, though nobody has asked them to
		if visit(pool, 0) == first {
			t.Error("the same broker producer, after the idle time")
		}
		start := time.Now()
		pool.Wait()
		if took := time.Since(start); took > 0 {
			t.Errorf("Wait took %v", took)
		}
	})
}

// Wait ends what is idle at once, and a producer that is in use with its last session.
func TestWaitEndsIdleProducers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := NewPool(newConfig(t, noNetwork))
		start := time.Now()
		owner := newAutoOwner()
		s := pool.Open(2, "b2:9092", owner, unnumbered(0))
		visit(pool, 0)
		go func() {
			time.Sleep(time.Second)
			s.End()
		}()
		pool.Wait()
		if took := time.Since(start); took != time.Second {
			t.Errorf("Wait took %v, want the second until its session ended", took)
		}
		<-owner.ended
		if len(pool.brokers) > 0 {
			t.Error("the pool holds what has ended")
		}
	})
}

// With acks 0 nothing stays.
func TestAcksZeroIsNeverIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := NewPool(newConfig(t, func(conf *sarama.Config) {
			noNetwork(conf)
			conf.Producer.RequiredAcks = sarama.NoResponse
		}))
		visit(pool, 0)
		start := time.Now()
		pool.running.Wait()
		if took := time.Since(start); took > 0 {
			t.Errorf("it stayed for %v", took)
		}
	})
}

// Partitions come back at the very moment when the idle time is over.
func TestIdleConcurrentSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := NewPool(newConfig(t, noNetwork))
		var partitions sync.WaitGroup
		for p := range int32(4) {
			partitions.Go(func() {
				for range 50 {
					visit(pool, p)
					time.Sleep(idleTime)
				}
			})
		}
		partitions.Wait()
		pool.Wait()
		if len(pool.brokers) > 0 {
			t.Error("the pool holds what has ended")
		}
	})
}
