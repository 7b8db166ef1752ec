// Package certtest makes certificates for tests: authorities, servers, clients, and the files that they are kept in. Keys are
// ECDSA P-256, since making them takes no time. Nothing here is fit for use outside tests.
package certtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"
)

// CA is an authority that issues certificates. It may be used concurrently.
type CA struct {
	Cert  *x509.Certificate
	key   crypto.Signer
	chain []*x509.Certificate // From this authority up to the root, which is left out
}

// NewCA returns a root authority. It is valid from a day ago for ten years, like all that it issues.
func NewCA(tb testing.TB, name string) *CA {
	tb.Helper()
	key := newKey(tb)
	template := authority(name)
	return &CA{Cert: sign(tb, template, template, key.Public(), key), key: key}
}

// Intermediate returns an authority below ca. What it issues carries its certificate.
func (ca *CA) Intermediate(tb testing.TB, name string) *CA {
	tb.Helper()
	key := newKey(tb)
	cert := sign(tb, authority(name), ca.Cert, key.Public(), ca.key)
	return &CA{Cert: cert, key: key, chain: append([]*x509.Certificate{cert}, ca.chain...)}
}

// Pool holds this authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// Request says what a certificate is to be. The zero value is valid, but for no host and no use.
type Request struct {
	Name                string   // The CN, and the whole of the subject: Kafka's principal is "User:CN=Name"
	Hosts               []string // DNS names and IP addresses
	Usage               []x509.ExtKeyUsage
	NotBefore, NotAfter time.Time // A day ago, and ten years later, where they are zero
}

// Server issues a certificate for a server at these DNS names and IP addresses.
func (ca *CA) Server(tb testing.TB, hosts ...string) *Pair {
	tb.Helper()
	return ca.Issue(tb, Request{Name: "server", Hosts: hosts, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

// Client issues a certificate for a client. Kafka's principal for it is "User:CN=name".
func (ca *CA) Client(tb testing.TB, name string) *Pair {
	tb.Helper()
	return ca.Issue(tb, Request{Name: name, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// Issue issues any certificate.
func (ca *CA) Issue(tb testing.TB, r Request) *Pair {
	tb.Helper()
	key := newKey(tb)
	return &Pair{Cert: sign(tb, r.template(), ca.Cert, key.Public(), ca.key), Key: key, Chain: ca.chain}
}

// SelfSigned returns a certificate that no authority has issued.
func SelfSigned(tb testing.TB, r Request) *Pair {
	tb.Helper()
	key := newKey(tb)
	template := r.template()
	return &Pair{Cert: sign(tb, template, template, key.Public(), key), Key: key}
}

// Pair is a certificate and its key.
type Pair struct {
	Cert  *x509.Certificate
	Key   crypto.Signer
	Chain []*x509.Certificate // Intermediate authorities, the issuer first
}

// TLS is the pair with its chain, as crypto/tls wants it.
func (p *Pair) TLS() tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}
	for _, above := range p.Chain {
		c.Certificate = append(c.Certificate, above.Raw)
	}
	return c
}

func (r Request) template() *x509.Certificate {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: r.Name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: r.Usage,
		NotBefore:   r.NotBefore,
		NotAfter:    r.NotAfter,
	}
	for _, host := range r.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	return t
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

func sign(tb testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		tb.Fatal(err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1)) // 0 is not allowed
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-24 * time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = template.NotBefore.AddDate(10, 0, 0)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}
