package tlsfiles

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// Everything here is a function of the files' bytes alone. They tell whether a file is PEM or PKCS12; its name does not. What is
// exported is for those who have such bytes from elsewhere: errors say what is wrong, but not where.

// MostIterations bounds what the check of a password costs, to less than a second. keytool takes 10,000, openssl 2,048. Counts
// further in are bounded by that check: they are the owner's.
const MostIterations = 1_000_000

var (
	pemBegin = []byte("-----BEGIN ")
	jksBegin = []byte{0xfe, 0xed, 0xfe, 0xed}
)

// Roots reads authorities: PEM, or a PKCS12 truststore.
func Roots(data []byte, password string) (*x509.CertPool, error) {
	var certs []*x509.Certificate
	var err error
	if IsPEM(data) {
		certs, err = certificates(data)
	} else if err = mayBePKCS12(data); err == nil {
		certs, err = pkcs12.DecodeTrustStore(data, password)
	}
	if err != nil {
		return nil, err
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in it")
	}
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool, nil
}

// Pair reads a certificate with its chain, and its key, both PEM. Both may be of the same bytes.
func Pair(cert, key []byte) (*tls.Certificate, error) {
	if _, err := blocks(cert); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	inKey, err := blocks(key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	for _, block := range inKey {
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, errors.New("the PEM key is encrypted, which is not supported: " +
				"use a PKCS12 keystore with a password, or a key that is not encrypted (openssl pkey)")
		}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	return &pair, nil
}

// Keystore reads a certificate, its chain and its key from a PKCS12 keystore.
func Keystore(data []byte, password string) (*tls.Certificate, error) {
	if err := mayBePKCS12(data); err != nil {
		return nil, err
	}
	key, first, others, err := pkcs12.DecodeChain(data, password)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot be compared", key)
	}
	// The certificate need not come first.
	pair := &tls.Certificate{PrivateKey: key}
	var chain [][]byte
	for _, cert := range append([]*x509.Certificate{first}, others...) {
		if pair.Leaf == nil && public.Equal(cert.PublicKey) {
			pair.Leaf = cert
		} else {
			chain = append(chain, cert.Raw)
		}
	}
	if pair.Leaf == nil {
		return nil, errors.New("its key matches none of its certificates")
	}
	pair.Certificate = append([][]byte{pair.Leaf.Raw}, chain...)
	return pair, nil
}

// IsPEM tells whether there is PEM in a file.
func IsPEM(data []byte) bool { return bytes.Contains(data, pemBegin) }

// IsJKS tells a Java keystore of the older type.
func IsJKS(data []byte) bool { return bytes.HasPrefix(data, jksBegin) }

// mayBePKCS12 gives better reasons than a parser can.
func mayBePKCS12(data []byte) error {
	switch {
	case len(data) == 0:
		return errors.New("it is empty")
	case IsJKS(data):
		return errors.New("it is a Java keystore of type JKS, which is not supported: " +
			"convert it to PKCS12 (keytool -importkeystore -deststoretype PKCS12)")
	case data[0] != 0x30: // A DER sequence
		return errors.New("it is neither PEM nor PKCS12")
	}
	var pfx struct {
		Version  int
		AuthSafe asn1.RawValue
		Mac      struct {
			Digest     asn1.RawValue
			Salt       []byte
			Iterations int `asn1:"optional,default:1"`
		} `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(data, &pfx); err == nil && pfx.Mac.Iterations > MostIterations {
		return fmt.Errorf("its password is hashed %d times, which takes too long: more than %d are not supported", pfx.Mac.Iterations, MostIterations)
	}
	return nil // what else is wrong the parser finds
}

// certificates are those of a PEM text. One that cannot be read is an error: left out, it would be missed much later.
func certificates(text []byte) (certs []*x509.Certificate, err error) {
	all, err := blocks(text)
	if err != nil {
		return nil, err
	}
	for i, block := range all {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", i+1, err)
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

// blocks are the PEM blocks of a text. encoding/pem passes over what is damaged or cut short; here it is an error, since the
// file may be half written.
func blocks(text []byte) (all []*pem.Block, err error) {
	if !IsPEM(text) {
		return nil, errors.New("it is not PEM")
	}
	begins := bytes.Count(text, pemBegin)
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		all = append(all, block)
	}
	if bad := begins - len(all); bad != 0 {
		return nil, fmt.Errorf("%d of %d PEM blocks is damaged or cut short", bad, begins)
	}
	return all, nil
}
