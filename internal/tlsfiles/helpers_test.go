package tlsfiles

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/IBM/sarama"
	"go.uber.org/goleak"

	"github.com/sluice-kafka/sluice/internal/certtest"
)

// logs are the lines that sarama.Logger got.
var logs lines

func TestMain(m *testing.M) {
	sarama.Logger = &logs
	goleak.VerifyTestMain(m)
}

type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Print(v ...any)            { l.add(fmt.Sprint(v...)) }
func (l *lines) Println(v ...any)          { l.add(fmt.Sprintln(v...)) }
func (l *lines) Printf(f string, v ...any) { l.add(fmt.Sprintf(f, v...)) }

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

// take returns the lines since the last time.
func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// dir is a folder with files of certificates.
type dir struct {
	*testing.T
	path string
}

func newDir(t *testing.T) dir { return dir{t, t.TempDir()} }

func (d dir) join(name string) string { return filepath.Join(d.path, name) }

func (d dir) write(name string, parts ...[]byte) string {
	return certtest.Write(d, d.join(name), parts...)
}

// pair writes a certificate and its key.
func (d dir) pair(p *certtest.Pair) {
	d.write("client.pem", p.CertPEM())
	d.write("client.key", p.KeyPEM(d.T))
}

// paths are those of authorities and a pair, in PEM.
func (d dir) paths() Paths {
	return Paths{CA: d.join("ca.pem"), Cert: d.join("client.pem"), Key: d.join("client.key")}
}

func mustRead(t *testing.T, paths Paths) *Files {
	t.Helper()
	f, err := Read(paths)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Whose connections they are.
const (
	ours    = "ours"     // package wire's
	saramas = "sarama's" // and those of others
)

// client is a configuration as a client makes it for its connection to a host.
func client(conf *tls.Config, whose, host string) *tls.Config {
	conf = conf.Clone()
	if conf.ServerName == "" {
		conf.ServerName = host
	}
	if whose == ours {
		Use(conf)
	}
	return conf
}

// connect does a handshake with a server. It returns the name in the client's certificate, and what the client and the server got: an
// error, or nil.
func connect(t *testing.T, client, server *tls.Config) (shown string, clientErr, serverErr error) {
	t.Helper()
	here, there := connected(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer there.Close()
		conn := tls.Server(there, server)
		if serverErr = conn.Handshake(); serverErr == nil {
			if certs := conn.ConnectionState().PeerCertificates; len(certs) > 0 {
				shown = certs[0].Subject.CommonName
			}
			_, serverErr = conn.Write([]byte("x"))
		}
	}()
	conn := tls.Client(here, client)
	if clientErr = conn.Handshake(); clientErr == nil {
		_, clientErr = io.ReadFull(conn, make([]byte, 1)) // what the server thinks of the client's certificate
	}
	here.Close()
	<-done
	return shown, clientErr, serverErr
}

// connected returns both ends of a TCP connection: over a net.Pipe two alerts would wait for each other.
func connected(t *testing.T) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if here, err = net.Dial("tcp", l.Addr().String()); err == nil {
		there, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	return here, there
}

func serverOf(p *certtest.Pair) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.TLS()}}
}

// mutual wants a certificate of ca.
func mutual(p *certtest.Pair, ca *certtest.CA) *tls.Config {
	conf := serverOf(p)
	conf.ClientAuth, conf.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	return conf
}

func wantLines(t *testing.T, want ...string) {
	t.Helper()
	got := logs.take()
	if len(got) != len(want) {
		t.Errorf("%d lines in the log, want %d: %q", len(got), len(want), got)
		return
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("log: %q, want %q", got[i], want[i])
		}
	}
}
