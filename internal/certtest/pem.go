package certtest

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// PEM is the authority's certificate.
func (ca *CA) PEM() []byte { return certPEM(ca.Cert) }

// CertPEM is the certificate with its chain, the certificate first. Kafka wants CertPEM and KeyPEM in one file or setting
// (ssl.keystore.certificate.chain and ssl.keystore.key).
func (p *Pair) CertPEM() []byte {
	return certPEM(append([]*x509.Certificate{p.Cert}, p.Chain...)...)
}

// KeyPEM is the key, as PKCS8 that is not encrypted, which is what Kafka and OpenSSL read.
func (p *Pair) KeyPEM(tb testing.TB) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Write writes the parts, one after the other, to a file that only its owner reads, and returns its path. A file that is there is
// replaced in one step: a reader sees the old one or the new one.
func Write(tb testing.TB, path string, parts ...[]byte) string {
	tb.Helper()
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)) // Mode 0600
	if err != nil {
		tb.Fatal(err)
	}
	_, err = temp.Write(slices.Concat(parts...))
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func certPEM(certs ...*x509.Certificate) (text []byte) {
	for _, cert := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return text
}
