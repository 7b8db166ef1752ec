package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
)

// What is no file, such as a setting that has the text itself, is read as files are. Errors say what is wrong, but not where.

// Roots reads authorities: PEM, or a PKCS12 truststore.
func Roots(data []byte, password string) (*x509.CertPool, error) { return parseRoots(data, password) }

// Pair reads a certificate with its chain, and its key, both PEM. Both may be of the same bytes.
func Pair(cert, key []byte) (*tls.Certificate, error) { return parsePEMPair(cert, key) }

// Keystore reads a certificate, its chain and its key from a PKCS12 keystore.
func Keystore(data []byte, password string) (*tls.Certificate, error) {
	return parseKeystore(data, password)
}
