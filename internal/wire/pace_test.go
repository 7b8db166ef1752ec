package wire

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
)

// pacedDialer is a Dialer whose dials are counted, and refused unless open is set.
type pacedDialer struct {
	*Dialer
	open  atomic.Bool
	dials atomic.Int32
}

var errDialRefused = errors.New("connection refused")

func newPacedDialer(t *testing.T, mayHang func() bool) *pacedDialer {
	d := &pacedDialer{}
	conf := testConfig()
	conf.Net.Proxy.Enable = true
	conf.Net.Proxy.Dialer = withContext(func(ctx context.Context) (net.Conn, error) {
		d.dials.Add(1)
		if mayHang != nil && mayHang() {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if !d.open.Load() {
			return nil, errDialRefused
		}
		ours, theirs := net.Pipe()
		t.Cleanup(func() { theirs.Close() })
		return ours, nil
	})
	d.Dialer = NewDialer(conf, 5)
	return d
}

type withContext func(ctx context.Context) (net.Conn, error)

func (f withContext) Dial(string, string) (net.Conn, error) { return f(context.Background()) }

func (f withContext) DialContext(ctx context.Context, _, _ string) (net.Conn, error) { return f(ctx) }

// However many dial a broker that refuses, it is dialled more and more seldom. They share the dial that succeeds at last: it
// lets the others dial at once. Another address does not wait meanwhile.
func TestDialsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newPacedDialer(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const callers = 20
		connected := make(chan *Conn, callers)
		for id := range callers {
			go func() {
				for {
					c, err := d.Dial(ctx, int32(id-1), "a:1")
					if err == nil {
						connected <- c
						return
					}
				}
			}()
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		// The first time several may dial at once, each of which counts. Then there is one a pause.
		if n := d.dials.Load(); n < 9 || n > callers+13 {
			t.Errorf("%d dials in 10 s", n)
		}
		begin := time.Now()
		if _, err := d.Dial(ctx, 1, "b:1"); !errors.Is(err, errDialRefused) || time.Since(begin) > 0 {
			t.Errorf("another address after %v: %v", time.Since(begin), err)
		}
		d.open.Store(true)
		c := <-connected
		begin = time.Now()
		defer c.Close()
		for range callers - 1 {
			c := <-connected
			defer c.Close()
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("the others connected %v after the first", took)
		}
	})
}

// A single caller's dials: the pauses double to a second, with a jitter of a fifth, and begin anew after a success.
func TestDialPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newPacedDialer(t, nil)
		for range 2 {
			last := time.Now()
			for i, want := range []time.Duration{0, 50, 100, 200, 400, 800, 1000, 1000} {
				if _, err := d.Dial(t.Context(), 1, "a:1"); !errors.Is(err, errDialRefused) {
					t.Fatal(err)
				}
				want *= time.Millisecond
				if took := time.Since(last); took < want*4/5 || took > want*6/5 {
					t.Errorf("dial %d came after %v, want about %v", i, took, want)
				}
				last = time.Now()
			}
			d.open.Store(true)
			c, err := d.Dial(t.Context(), 1, "a:1")
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			d.open.Store(false)
		}
		time.Sleep(2 * failuresKept)
		for _, addr := range []string{"a:1", "b:1"} {
			_, _ = d.Dial(t.Context(), 1, addr)
		}
		time.Sleep(2 * failuresKept)
		_, _ = d.Dial(t.Context(), 1, "c:1")
		if n := len(d.pacing.brokers); n != 1 {
			t.Errorf("%d addresses are remembered, want the last", n)
		}
	})
}

// Who may ask another broker, or counts tries, gets the last dial's error while the pause lasts. A refused login is
// waited for: the next one may be taken.
func TestFailuresAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newPacedDialer(t, nil)
		for range 6 { // the pause is a second now
			_, _ = d.Dial(t.Context(), 1, "a:1")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		for range 20 {
			if _, err := d.DialNow(t.Context(), 1, "a:1"); !errors.Is(err, errDialRefused) {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took != 20*shareAfter || d.dials.Load() != 6 {
			t.Errorf("%d dials, the last of them took %v", d.dials.Load(), took)
		}
		time.Sleep(2 * time.Second)
		_, _ = d.DialNow(t.Context(), 1, "a:1")
		if n := d.dials.Load(); n != 7 {
			t.Errorf("%d dials, want one more after the pause", n)
		}
		d.pacing.dialled(ended, "c:1", time.Now().Add(-longestDialPause), context.Canceled)
		if _, err := d.DialNow(t.Context(), 1, "c:1"); !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.Canceled) {
			t.Errorf("after a dial whose caller gave up: %v", err)
		}
		d.pacing.dialled(t.Context(), "b:1", time.Now(), sarama.ErrSASLAuthenticationFailed)
		begin = time.Now()
		if _, err := d.DialNow(t.Context(), 1, "b:1"); !errors.Is(err, errDialRefused) || time.Since(begin) < 40*time.Millisecond {
			t.Errorf("after a refused login: %v after %v", err, time.Since(begin))
		}
	})
}

// A dial that its caller cuts short says nothing; one that has hung for long does. The end of the context ends the wait.
func TestCancelledDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newPacedDialer(t, func() bool { return true })
		dial := func(timeout time.Duration) (took time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			begin := time.Now()
			_, err := d.Dial(ctx, 1, "a:1")
			mustError(t, err, context.DeadlineExceeded)
			return time.Since(begin)
		}
		for range 3 {
			dial(500 * time.Millisecond)
		}
		if n := d.dials.Load(); n != 3 || len(d.pacing.brokers) > 0 {
			t.Errorf("%d dials, %d addresses are waited for", n, len(d.pacing.brokers))
		}
		dial(2 * time.Second)
		if dial(10 * time.Millisecond); d.dials.Load() != 4 {
			t.Error("dialled at once after a dial that hung")
		}
	})
}
