//go:build !race

// With the race detector this takes five times as long, and tells nothing more.

package apitest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/certtest"
)

// Producers that log in over TLS, and such as can't, are opened and closed 500 times: goroutines, descriptors, the heap and the
// metric registry, which all share, are what they were before.
func TestOpenAndCloseLeavesNothing(t *testing.T) {
	ca, other := certtest.NewCA(t, "test CA"), certtest.NewCA(t, "other CA")
	refused := func(l *logins, allowed int) { l.refuse(sarama.ErrSASLAuthenticationFailed, accessDenied, allowed) }
	for _, test := range []struct {
		name    string
		trusted *x509.CertPool
		prepare func(*logins)
		want    func(error) bool
	}{
		{"all well", ca.Pool(), (*logins).take, func(err error) bool { return err == nil }},
		{"wrong password", ca.Pool(), func(l *logins) { refused(l, 0) }, isRefused},
		// The constructor logs in for its look-up, then the message is refused.
		{"password withdrawn", ca.Pool(), func(l *logins) { refused(l, 1) }, isRefused},
		{"unknown authority", other.Pool(), (*logins).take, func(err error) bool {
			_, ok := errors.AsType[*tls.CertificateVerificationError](err)
			return ok
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ours := goleak.IgnoreCurrent()
			registry := metrics.NewRegistry()
			metrics.GetOrRegisterCounter("of the application", registry)
			run := func(rounds int) {
				// A cluster of its own each time: kfake keeps something of each connection until it is closed.
				c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"),
					kfake.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1", "localhost").TLS()}}))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				l := countLogins(c)
				for range rounds {
					test.prepare(l)
					if err := openAndClose(c, registry, test.trusted); !test.want(err) {
						t.Fatal(err)
					}
				}
			}
			run(20) // what is made once for all
			goleak.VerifyNone(t, ours)
			files, heap := openFiles(), heapInUse()
			run(500)
			goleak.VerifyNone(t, ours)
			if now := openFiles(); now > files {
				t.Errorf("%d descriptors are open, %d before", now, files)
			}
			if now := heapInUse(); now > heap+500<<10 { // a leak of 1 KiB a round
				t.Errorf("the heap has grown from %d to %d KiB", heap>>10, now>>10)
			} else {
				t.Logf("heap: %d KiB before, %d KiB after", heap>>10, now>>10)
			}
			registry.Each(func(name string, _ any) {
				if name != "of the application" {
					t.Errorf("the registry still has %q", name)
				}
			})
		})
	}
}

func isRefused(err error) bool { return errors.Is(err, sarama.ErrSASLAuthenticationFailed) }

// openAndClose makes a producer, has it send a message, and closes it. It returns the first error.
func openAndClose(c *kfake.Cluster, registry metrics.Registry, trusted *x509.CertPool) error {
	conf := testConfig()
	conf.MetricRegistry = registry
	conf.Metadata.Retry.Max = 0
	conf.Net.TLS.Enable = true
	conf.Net.TLS.Config = &tls.Config{RootCAs: trusted}
	conf.Net.SASL.Enable = true
	conf.Net.SASL.User, conf.Net.SASL.Password = "user", "secret"
	p, err := sluice.New(c.ListenAddrs(), conf)
	if err != nil {
		return err
	}
	_, _, err = p.SendMessage(message(0, 0))
	return errors.Join(err, p.Close())
}

// openFiles counts the process's descriptors. It is 0 where the system does not tell.
func openFiles() int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(files)
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what the first has finalized
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
