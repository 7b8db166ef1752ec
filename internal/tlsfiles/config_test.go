package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluice-kafka/sluice/internal/certtest"
)

// A broker's certificate is taken or refused as by crypto/tls with RootCAs, and for the same reason, over connections of
// package wire and of others. The one difference: others can't dial IP addresses without TLSFiles.ServerName.
func TestBrokersAreVerified(t *testing.T) {
	ca, other := certtest.NewCA(t, "test CA"), certtest.NewCA(t, "other CA")
	between := ca.Intermediate(t, "between")
	unchained := between.Server(t, "broker.test")
	unchained.Chain = nil
	issue := func(r certtest.Request) *certtest.Pair {
		r.Name = "broker.test"
		if r.Hosts == nil {
			r.Hosts = []string{"broker.test"}
		}
		return ca.Issue(t, r)
	}
	forServers := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	now := time.Now()
	for _, test := range []struct {
		name       string
		host       string
		server     *certtest.Pair
		serverName string
		ok         bool
		wantName   bool // others can't verify it
	}{
		{name: "host name", host: "broker.test", server: ca.Server(t, "broker.test"), ok: true},
		{name: "wrong host name", host: "other.test", server: ca.Server(t, "broker.test")},
		{name: "trailing dot", host: "broker.test.", server: ca.Server(t, "broker.test"), ok: true},
		{name: "wildcard", host: "b1.broker.test", server: ca.Server(t, "*.broker.test"), ok: true},
		{name: "IPv4", host: "10.0.0.1", server: ca.Server(t, "10.0.0.1"), ok: true, wantName: true},
		{name: "wrong IPv4", host: "10.0.0.2", server: ca.Server(t, "10.0.0.1", "broker.test"), wantName: true},
		{name: "IPv4 in a certificate of names", host: "10.0.0.1", server: ca.Server(t, "broker.test"), wantName: true},
		{name: "IPv6", host: "fe80::1", server: ca.Server(t, "fe80::1"), ok: true, wantName: true},
		{name: "wrong IPv6", host: "fe80::2", server: ca.Server(t, "fe80::1"), wantName: true},
		{name: "no host", host: "", server: ca.Server(t, "broker.test", "10.0.0.1"), wantName: true},
		{name: "ServerName", host: "other.test", server: ca.Server(t, "broker.test"), serverName: "broker.test", ok: true},
		{name: "wrong ServerName", host: "broker.test", server: ca.Server(t, "broker.test"), serverName: "other.test"},
		{name: "IP as ServerName", host: "10.0.0.2", server: ca.Server(t, "10.0.0.1"), serverName: "10.0.0.1", ok: true},
		{name: "wrong IP as ServerName", host: "10.0.0.1", server: ca.Server(t, "10.0.0.1"), serverName: "10.0.0.2"},
		{name: "expired", host: "broker.test", server: issue(certtest.Request{Usage: forServers, NotAfter: now.Add(-time.Hour)})},
		{name: "not valid yet", host: "broker.test", server: issue(certtest.Request{Usage: forServers, NotBefore: now.Add(time.Hour)})},
		{name: "for clients only", host: "broker.test", server: issue(certtest.Request{Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})},
		{name: "name as CN alone", host: "broker.test", server: issue(certtest.Request{Usage: forServers, Hosts: []string{}})},
		{name: "unknown authority", host: "broker.test", server: other.Server(t, "broker.test")},
		{name: "authority of the same name", host: "broker.test", server: certtest.NewCA(t, "test CA").Server(t, "broker.test")},
		{name: "self-signed", host: "broker.test", server: certtest.SelfSigned(t, certtest.Request{Hosts: []string{"broker.test"}, Usage: forServers})},
		{name: "chain", host: "broker.test", server: between.Server(t, "broker.test"), ok: true},
		{name: "chain cut", host: "broker.test", server: unchained},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDir(t)
			conf := mustRead(t, Paths{CA: d.write("ca.pem", ca.PEM()), ServerName: test.serverName}).Config()
			plain := client(&tls.Config{RootCAs: ca.Pool(), ServerName: test.serverName}, saramas, test.host)
			_, want, _ := connect(t, plain, serverOf(test.server))
			if (want == nil) != test.ok {
				t.Fatalf("crypto/tls: %v", want)
			}
			for _, whose := range []string{ours, saramas} {
				_, err, _ := connect(t, client(conf, whose, test.host), serverOf(test.server))
				switch {
				case test.wantName && whose == saramas:
					if !errors.Is(err, errNoServerName) {
						t.Errorf("%s: %v", whose, err)
					}
				case reason(err) != reason(want):
					t.Errorf("%s: %v\ncrypto/tls: %v", whose, err, want)
				}
				var failed *tls.CertificateVerificationError
				if err != nil && test.host != "" && !(test.wantName && whose == saramas) && !errors.As(err, &failed) {
					t.Errorf("%s: %T", whose, err)
				}
			}
		})
	}
}

// reason is an error's text without the time, which it may name.
func reason(err error) string {
	if err == nil {
		return "none"
	}
	before, _, _ := strings.Cut(err.Error(), ": current time ")
	return before
}

// Without a CA file the system's authorities count, and crypto/tls verifies.
func TestSystemAuthorities(t *testing.T) {
	ca := certtest.NewCA(t, "test CA")
	conf := mustRead(t, Paths{}).Config()
	if conf.InsecureSkipVerify || conf.VerifyConnection != nil {
		t.Error("crypto/tls does not verify")
	}
	for _, whose := range []string{ours, saramas} {
		_, err, _ := connect(t, client(conf, whose, "10.0.0.1"), serverOf(ca.Server(t, "10.0.0.1")))
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
			t.Errorf("%s: %v", whose, err)
		}
	}
	if Use(&tls.Config{}) != nil {
		t.Error("a configuration of others is taken for one of files")
	}
}

// Who verifies more by VerifyConnection does not lose the rest over our connections.
func TestVerifyConnectionOfTheUser(t *testing.T) {
	d := newDir(t)
	conf := mustRead(t, Paths{CA: d.write("ca.pem", certtest.NewCA(t, "test CA").PEM())}).Config()
	conf.VerifyConnection = func(tls.ConnectionState) error { return nil }
	_, err, _ := connect(t, client(conf, ours, "broker.test"), serverOf(certtest.NewCA(t, "other CA").Server(t, "broker.test")))
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Error(err)
	}
}

func TestClientCertificates(t *testing.T) {
	ca, other := certtest.NewCA(t, "test CA"), certtest.NewCA(t, "other CA")
	server := ca.Server(t, "broker.test")
	d := newDir(t)
	d.write("ca.pem", ca.PEM())
	for _, test := range []struct {
		name     string
		client   *certtest.Pair
		accepted *certtest.CA // nil: the broker asks for none
		ok       bool
	}{
		{"for clients only", ca.Client(t, "orders"), ca, true},
		{"chain", ca.Intermediate(t, "between").Client(t, "orders"), ca, true},
		{"for servers only", ca.Issue(t, certtest.Request{Name: "orders", Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), ca, false},
		{"expired", ca.Issue(t, certtest.Request{Name: "orders", NotAfter: time.Now().Add(-time.Hour)}), ca, false},
		{"of an authority that the broker does not know", other.Client(t, "orders"), ca, false},
		{"not asked for", ca.Client(t, "orders"), nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			d.pair(test.client)
			conf := mustRead(t, d.paths()).Config()
			broker, want := serverOf(server), ""
			if test.accepted != nil {
				broker, want = mutual(server, test.accepted), "orders"
			}
			for _, whose := range []string{ours, saramas} {
				logs.take()
				shown, err, serverErr := connect(t, client(conf, whose, "broker.test"), broker)
				if test.ok && (err != nil || shown != want) || !test.ok && (err == nil || serverErr == nil) {
					t.Errorf("%s: %v; the broker got %q, %v", whose, err, shown, serverErr)
				}
				if test.client.Cert.Issuer.CommonName == "other CA" {
					wantLines(t, "the certificate of "+d.join("client.pem")+" is not sent, the broker would refuse it")
				} else {
					wantLines(t)
				}
			}
		})
	}
}

// Fields that a user may change keep what they are, in Clones too.
func TestConfigurationMayBeChanged(t *testing.T) {
	d := newDir(t)
	ca := certtest.NewCA(t, "test CA")
	conf := mustRead(t, Paths{CA: d.write("ca.pem", ca.PEM())}).Config()
	if conf.MinVersion != tls.VersionTLS12 {
		t.Errorf("version %x", conf.MinVersion)
	}
	conf.MinVersion = tls.VersionTLS13
	broker := serverOf(ca.Server(t, "broker.test"))
	broker.MaxVersion = tls.VersionTLS12
	for _, whose := range []string{ours, saramas} {
		_, err, _ := connect(t, client(conf.Clone(), whose, "broker.test"), broker)
		if err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("%s: %v", whose, err)
		}
	}
}
