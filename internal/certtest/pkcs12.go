package certtest

import (
	"crypto/x509"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

// Keystore is the pair with its chain as a PKCS12 keystore.
func (p *Pair) Keystore(tb testing.TB, password string) []byte {
	tb.Helper()
	data, err := pkcs12.Modern.Encode(p.Key, p.Cert, p.Chain, password)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// Truststore is the authority as a PKCS12 truststore of Java.
func (ca *CA) Truststore(tb testing.TB, password string) []byte {
	tb.Helper()
	data, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{ca.Cert}, password)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}
