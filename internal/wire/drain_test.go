package wire

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestDrain returns when the last open request is answered. The connection and its window stay usable.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 2)
		if err := c.Drain(t.Context()); err != nil {
			t.Errorf("with nothing open: %v", err)
		}
		outcomes := make(chan outcome, 4)
		produceTwo := func() [2]received {
			go func() {
				for range 2 {
					mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
				}
			}()
			defer synctest.Wait()
			return [2]received{broker.next(), broker.next()}
		}
		for range 2 {
			open := produceTwo()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			mustError(t, c.Drain(ctx), context.DeadlineExceeded)
			cancel()
			drained := make(chan error, 1)
			go func() { drained <- c.Drain(t.Context()) }()
			for _, got := range open {
				synctest.Wait()
				if len(drained) > 0 {
					t.Error("drained, with a request open")
				}
				broker.reply(got.correlationID, accepted(got.body))
			}
			if err := <-drained; err != nil {
				t.Error(err)
			}
		}
		c.Close()
		for range 4 {
			if o := <-outcomes; o.err != nil {
				t.Error(o.err)
			}
		}
	})
}

// TestDrainEndsWithConnection: it waits for an answer no longer than the read timeout.
func TestDrainEndsWithConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := testConfig()
		conf.Net.ReadTimeout = 10 * time.Second
		c, broker := connect(t, conf, 1)
		outcomes := make(chan outcome, 1)
		go mustProduce(t, c, newRequest(outcomes, partition("a", 0, []byte("x"))))
		broker.next()
		synctest.Wait()
		start := time.Now()
		mustError(t, c.Drain(t.Context()), os.ErrDeadlineExceeded)
		if waited := time.Since(start); waited != 10*time.Second {
			t.Errorf("drained after %v", waited)
		}
		mustError(t, (<-outcomes).err, os.ErrDeadlineExceeded)
	})
}
