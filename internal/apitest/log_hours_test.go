package apitest

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
)

// What the log says of a fault: enough to name it within a minute, and not much more in an hour.

// fault is what may befall a producer that sends all the time.
type fault struct {
	partitions int32         // of "t"; 0: 9
	pause      time.Duration // between two messages; 0: 100 ms
	topic      string        // empty: "t"
	unread     bool          // nobody reads Errors
	login      bool
	options    []sluice.Option
	begin      func(t *testing.T, f *faultyNet)

	want   map[string]map[string]string // records within a minute, by event, that have these attributes
	most   int                          // records in an hour
	atEnd  string                       // the event of a record of the last quarter of an hour
	atEnds map[string]string            // its attributes
}

// manyPartitions are fewer under the race detector, which takes minutes for a thousand.
var manyPartitions = map[bool]int32{false: 1000, true: 30}[raceDetector]

var faultsInTheLog = map[string]fault{
	"a broker is down": {
		partitions: manyPartitions, begin: func(_ *testing.T, f *faultyNet) { f.stop(1) },
		want: map[string]map[string]string{
			"connection lost": {"broker": "1"}, "not connected": {"broker": "1"}, "retrying": {"broker": "1", "cause": "not plugged in"},
		},
		most: 40, atEnd: "retrying", atEnds: map[string]string{"broker": "1", "partitions": fmt.Sprint(manyPartitions / 3)},
	},
	"two brokers are down": {
		begin: func(_ *testing.T, f *faultyNet) { f.stop(1, 2) },
		want:  map[string]map[string]string{"not connected": {"broker": "2"}, "retrying": {"broker": "2"}},
		most:  80, atEnd: "retrying", atEnds: map[string]string{"partitions": "3"},
	},
	"all brokers are down": {
		begin: func(_ *testing.T, f *faultyNet) { f.stop(0, 1, 2) },
		want:  map[string]map[string]string{"not connected": {"broker": "0"}, "look-up failed": {}},
		most:  130, atEnd: "not connected",
	},
	"a broker comes and goes": {
		begin: func(_ *testing.T, f *faultyNet) {
			f.running.Go(func() {
				for f.ctx.Err() == nil {
					f.stop(1)
					time.Sleep(5 * time.Second)
					f.stop()
					time.Sleep(5 * time.Second)
				}
			})
		},
		want: map[string]map[string]string{
			"connection lost": {"broker": "1"}, "retrying": {"broker": "1"}, "back to normal": {"broker": "1"},
		},
		most: 99, atEnd: "connection lost", atEnds: map[string]string{"broker": "1"},
	},
	"a slow broker": {
		begin: func(_ *testing.T, f *faultyNet) { f.slow.Store(f.v.ListenAddrs()[1]) },
		want:  map[string]map[string]string{"slow answer": {"broker": "1", "cause": "has not answered"}},
		most:  60, atEnd: "slow answer", atEnds: map[string]string{"broker": "1"},
	},
	"a wrong password": {
		login: true, begin: func(_ *testing.T, f *faultyNet) {
			f.logins.refuse(sarama.ErrSASLAuthenticationFailed, accessDenied, 0)
			f.stop(0, 1, 2)
			time.Sleep(time.Second)
			f.stop() // the connections are lost, and all can be dialled
		},
		want: map[string]map[string]string{"login failed": {"mechanism": "PLAIN", "cause": "Access denied"}},
		most: 99, atEnd: "login failed",
	},
	"a topic that is not there": {
		topic: "absent", begin: func(*testing.T, *faultyNet) {},
		want: map[string]map[string]string{"topic not found": {"topic": "absent"}},
		most: 60, atEnd: "topic not found",
	},
	"full memory": {
		options: []sluice.Option{sluice.WithBufferMemory(20_000)},
		begin:   func(t *testing.T, f *faultyNet) { swallowProduce(f.v.Cluster, 1) },
		want:    map[string]map[string]string{"memory full": {"unread": "0", "waits_for": "waiting for an answer of broker 1"}},
		most:    99, atEnd: "memory full",
	},
	"nobody reads Errors": {
		pause: time.Second, unread: true,
		begin: func(_ *testing.T, f *faultyNet) {
			f.v.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Err: kerr.InvalidRecord, Count: -1})
		},
		want: map[string]map[string]string{"outcomes unread": {"unread_at": "Errors", "cause": "validation"}},
		most: 40, atEnd: "outcomes unread",
	},
}

// faultyNet is a producer over a network that may be broken.
type faultyNet struct {
	v       *virtual
	ctx     context.Context // ends before the producer
	running sync.WaitGroup  // ends after it
	logins  *logins
	down    atomic.Pointer[[]string] // addresses
	slow    atomic.Value             // the address of a broker whose answers come late
}

// stop stops these brokers, and starts all others: connections to them end with the next request.
func (f *faultyNet) stop(nodes ...int32) {
	var addrs []string
	for _, node := range nodes {
		addrs = append(addrs, f.v.ListenAddrs()[node])
	}
	f.down.Store(&addrs)
}

func (f *faultyNet) isDown(addr string) bool {
	down := f.down.Load()
	return down != nil && strings.Contains(strings.Join(*down, " "), addr)
}

// DialContext implements proxy.ContextDialer.
func (f *faultyNet) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if f.isDown(addr) {
		return nil, errPlugged
	}
	c, err := f.v.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &faultyNetConn{Conn: c, f: f, addr: addr}, nil
}

// Dial implements proxy.Dialer.
func (f *faultyNet) Dial(network, addr string) (net.Conn, error) {
	return f.DialContext(context.Background(), network, addr)
}

type faultyNetConn struct {
	net.Conn
	f    *faultyNet
	addr string
}

func (c *faultyNetConn) Write(p []byte) (int, error) {
	if c.f.isDown(c.addr) {
		c.Close()
		return 0, errPlugged
	}
	return c.Conn.Write(p)
}

// lateBy is how late the answers of a slow broker are.
const lateBy = 7 * time.Second

func (c *faultyNetConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.f.slow.Load() == c.addr && n > 0 {
		time.Sleep(lateBy)
	}
	return n, err
}

func TestFaultsInTheLog(t *testing.T) {
	for name, fault := range faultsInTheLog {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			opts := []kfake.Opt{kfake.SeedTopics(cmp.Or(fault.partitions, 9), "t")}
			if fault.login {
				opts = withLogin(opts...)
			}
			inBubble(t, func(t *testing.T, v *virtual) { fault.happen(t, v) }, opts...)
		})
	}
}

func (fault *fault) happen(t *testing.T, v *virtual) {
	partitions := cmp.Or(fault.partitions, 9)
	for p := range partitions {
		move(t, v.Cluster, p, p%3)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &faultyNet{v: v, ctx: ctx}
	t.Cleanup(f.running.Wait)
	conf, log := v.config(), newBook()
	if fault.login {
		f.logins = countLogins(v.Cluster)
		conf = v.saslConfig()
	}
	conf.Net.Proxy.Dialer = f
	conf.Producer.Return.Successes = false
	conf.Producer.Retry.Max, conf.Producer.Retry.Backoff = 1<<20, 5*time.Second
	conf.Metadata.Retry.Backoff = 250 * time.Millisecond
	conf.Metadata.AllowAutoTopicCreation = false
	p := newAsync(t, v.Cluster, conf, append(fault.options, log.option())...)
	t.Cleanup(cancel)
	if !fault.unread {
		drainErrors(p)
	}
	f.running.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			msg := message(int32(n)%partitions, n)
			msg.Topic = cmp.Or(fault.topic, msg.Topic)
			_ = p.Produce(ctx, msg, nil)
			if fault.unread {
				send(p, message(0, n))
			}
			time.Sleep(cmp.Or(fault.pause, 100*time.Millisecond))
		}
	})
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	before := len(log.all(""))
	if fault.topic == "" {
		for _, r := range log.all("") {
			if r.Level > 0 {
				t.Errorf("before the fault: %s %v", r.Message, attrs(r))
			}
		}
	} else {
		before = 0
	}
	fault.begin(t, f)
	time.Sleep(time.Minute)
	synctest.Wait()
	for event, want := range fault.want {
		if !hasRecord(log, event, want, 0, before) {
			t.Errorf("no %q with %v within a minute", event, want)
		}
	}
	time.Sleep(59 * time.Minute)
	synctest.Wait()
	if n := len(log.all("")) - before; n > fault.most {
		t.Errorf("%d records in the hour, want %d at most", n, fault.most)
	}
	if !hasRecord(log, fault.atEnd, fault.atEnds, 15*time.Minute, before) {
		t.Errorf("no %q with %v in the last quarter of an hour", fault.atEnd, fault.atEnds)
	}
	counts := map[string]int{}
	for _, r := range log.all("")[before:] {
		counts[r.Message]++
	}
	if t.Logf("%d records: %v", len(log.all(""))-before, counts); t.Failed() {
		t.Log(log)
	}
}

// hasRecord tells whether there is a record of an event whose attributes contain these texts, among those but the first so many. It
// is not older than since, if that is not 0.
func hasRecord(log *book, event string, want map[string]string, since time.Duration, from int) bool {
	for _, r := range log.all("")[from:] {
		if r.Message != event || since > 0 && time.Since(r.Time) > since {
			continue
		}
		all, got := true, attrs(r)
		for key, text := range want {
			all = all && strings.Contains(got[key].String(), text)
		}
		if all {
			return true
		}
	}
	return false
}
