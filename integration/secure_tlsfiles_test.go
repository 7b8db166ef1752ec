//go:build unix

package integration

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/certtest"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// testTLSFiles has a client's certificate and the authorities that it trusts change while a producer writes 1,000 messages/s. Each
// message is written once, though nothing is tried again. The new certificate is that of another user: what the first one may is
// withdrawn once the connections are replaced.
func testTLSFiles(t *testing.T, c *secured) {
	const before, after = "tls-before", "tls-after"
	topic := c.NewTopic(t, 4, nil)
	awaitInOffice(t, c.Cluster, topic)
	rights := func(user string) (acls []kafkatest.ACL) {
		for _, operation := range []kmsg.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe} {
			acls = append(acls, kafkatest.ACL{User: "CN=" + user, Topic: topic, Operation: operation})
		}
		return acls
	}
	c.Allow(t, append(rights(before), rights(after)...)...)
	dir := t.TempDir()
	keystore := func(user string) {
		certtest.Write(t, filepath.Join(dir, "client.p12"), c.ca.Client(t, user).Keystore(t, "secret"))
	}
	keystore(before)
	files := sluice.TLSFiles{
		CAFile:   certtest.Write(t, filepath.Join(dir, "ca.pem"), c.ca.PEM()),
		CertFile: filepath.Join(dir, "client.p12"), CertPassword: "secret",
	}
	conf := changed(sluice.NewConfig())
	conf.Producer.Idempotent = false
	conf.Producer.Retry.Max = 0
	conf.Metadata.RefreshFrequency = time.Second // so that the connection of look-ups is in use
	conf.Net.TLS.Enable = true
	var err error
	if conf.Net.TLS.Config, err = files.Config(); err != nil {
		t.Fatal(err)
	}
	connections := through(conf)
	p, err := sluice.New(c.Addrs(t, mutualTLS), conf)
	if err != nil {
		t.Fatal(err)
	}
	l := startLoad("rotated", topic, p)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l.awaitSettled(ctx, t, 100)
	old, _ := connections.list()

	// Nothing is taken of a file that is half written.
	whole, err := os.ReadFile(files.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	certtest.Write(t, files.CertFile, whole[:len(whole)/2])
	if _, err := files.Config(); err == nil {
		t.Error("half a file is taken")
	}
	certtest.Write(t, files.CAFile, certtest.NewCA(t, "next CA").PEM(), c.ca.PEM())
	keystore(after)
	began := time.Now()
	for _, conn := range old {
		select {
		case <-conn.ended:
		case <-ctx.Done():
			t.Fatal("a connection is not replaced")
		}
	}
	t.Logf("%d connections were replaced after %v", len(old), time.Since(began).Round(time.Millisecond))
	c.Withdraw(t, rights(before)...)
	l.awaitSettled(ctx, t, l.last.Load()+100)
	r := l.end(ctx, t, 0)
	if a := summary(t, c.Cluster, l, r); a != (audit{}) {
		t.Errorf("%+v", a)
	}
	for _, problem := range r.problems {
		t.Error(problem)
	}
}
