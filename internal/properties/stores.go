package properties

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/sluice-kafka/sluice/internal/tlsfiles"
)

// Where the authorities and the client's certificate come from.

// trust is the authorities. With a path they are from a file that tlsfiles can read again.
type trust struct {
	pool           *x509.CertPool
	path, password string
}

// identity is the client's certificate and key. With a path they are from files that tlsfiles can read again.
type identity struct {
	cert                    *tls.Certificate
	path, keyPath, password string
}

// readRoots returns nil for the system's authorities.
func (s *Settings) readRoots() (*trust, error) {
	from, err := s.single("ssl.ca.location", "ssl.truststore.location", "ssl.truststore.certificates")
	if err != nil || from == "" {
		return nil, err
	}
	if from == "ssl.ca.location" && s.values[from] == "probe" {
		return nil, nil // librdkafka looks for the system's then
	}
	t := &trust{}
	if from == "ssl.truststore.location" {
		t.password = s.values["ssl.truststore.password"]
	}
	data, err := s.content(from)
	if err == nil && from == "ssl.truststore.location" {
		err = s.checkType("ssl.truststore.type", from, data)
	}
	if err != nil {
		return nil, err
	}
	if t.pool, err = pool(data, t.password); err != nil {
		if from == "ssl.truststore.location" {
			err = s.wrongPassword("ssl.truststore.password", err)
		}
		return nil, s.inFile(from, err)
	}
	if isFile(from) && !tlsfiles.IsJKS(data) {
		t.path = s.values[from]
	}
	return t, nil
}

// pool reads authorities: PEM, PKCS12 or JKS.
func pool(data []byte, password string) (*x509.CertPool, error) {
	if tlsfiles.IsJKS(data) {
		text, err := authoritiesOf(data, password)
		if err != nil {
			return nil, err
		}
		data, password = text, ""
	}
	return tlsfiles.Roots(data, password)
}

// readPair returns nil for no certificate.
func (s *Settings) readPair() (*identity, error) {
	from, err := s.single("ssl.keystore.location", "ssl.certificate.location", "ssl.keystore.certificate.chain")
	if err != nil {
		return nil, err
	}
	keyFrom, err := s.single("ssl.keystore.location", "ssl.key.location", "ssl.keystore.key")
	switch {
	case err != nil:
		return nil, err
	case from == "" && keyFrom == "":
		return nil, nil
	case from == "":
		return nil, fmt.Errorf("%s is set without ssl.certificate.location or ssl.keystore.certificate.chain", s.name(keyFrom))
	case keyFrom == "" && from != "ssl.certificate.location":
		return nil, fmt.Errorf("%s is set without ssl.keystore.key", s.name(from))
	case keyFrom == "":
		keyFrom = from // both in one file
	}
	data, err := s.content(from)
	if err == nil && from == "ssl.keystore.location" {
		err = s.checkType("ssl.keystore.type", from, data)
	}
	if err != nil {
		return nil, err
	}
	i := &identity{}
	if from == "ssl.keystore.location" && !tlsfiles.IsPEM(data) {
		i.password = s.values["ssl.keystore.password"]
		if i.cert, err = storePair(data, i.password, s.values["ssl.key.password"]); err != nil {
			return nil, s.inFile(from, s.wrongPassword("ssl.keystore.password", err))
		}
		if !tlsfiles.IsJKS(data) {
			i.path = s.values[from]
		}
		return i, nil
	}
	key := data
	if keyFrom != from {
		if key, err = s.content(keyFrom); err != nil {
			return nil, err
		}
	}
	if i.cert, err = pemPair(data, key, s.values["ssl.key.password"]); err != nil {
		return nil, s.inFile(from, err)
	}
	if isFile(from) && isFile(keyFrom) && !bytes.Contains(key, []byte("ENCRYPTED")) {
		i.path = s.values[from]
		if keyFrom != from {
			i.keyPath = s.values[keyFrom]
		}
	}
	return i, nil
}

func isFile(name string) bool { return strings.HasSuffix(name, ".location") }

// content is the file that a setting names, or its value if it is no file.
func (s *Settings) content(name string) ([]byte, error) {
	value := s.values[name]
	if !isFile(name) {
		return oneLine([]byte(value)), nil
	}
	if info, err := os.Stat(value); err == nil && !info.Mode().IsRegular() { // it is read again
		return nil, fmt.Errorf("%s is not a regular file", s.shown(name))
	}
	data, err := readFile(value)
	if err != nil {
		return nil, named(s.name(name), err)
	}
	return data, nil
}

func readFile(path string) ([]byte, error) {
	data, err := tlsfiles.ReadSmall(path)
	if err == nil && len(data) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return data, err
}

func (s *Settings) inFile(name string, err error) error {
	return fmt.Errorf("%s: %w", s.shown(name), err)
}

// wrongPassword names the setting where an error means that the password of a store is not the right one.
func (s *Settings) wrongPassword(setting string, err error) error {
	if !errors.Is(err, pkcs12.ErrIncorrectPassword) && !strings.Contains(err.Error(), "invalid digest") {
		return err
	}
	if !s.has(setting) {
		return fmt.Errorf("%s is not set, and without it: %w", setting, err)
	}
	return fmt.Errorf("%s is not the file's password, or the file is damaged: %w", s.name(setting), err)
}

// checkType tells a file of another type than what was said. Java takes JKS and PKCS12 for each other.
func (s *Settings) checkType(setting, from string, data []byte) error {
	if said := s.values[setting]; said != "" && strings.EqualFold(said, "PEM") != tlsfiles.IsPEM(data) {
		return fmt.Errorf("%s, but %s is something else", s.shown(setting), s.shown(from))
	}
	return nil
}

// loadJKS reads a Java keystore. Without a password its digest is not checked, as in Java.
func loadJKS(data []byte, password string) (keystore.KeyStore, error) {
	if err := checkJKS(data); err != nil {
		return keystore.KeyStore{}, err
	}
	if body := len(data) - sha1.Size; password == "" && body > 0 {
		digest := sha1.New()
		digest.Write([]byte("Mighty Aphrodite"))
		digest.Write(data[:body])
		data = digest.Sum(slices.Clone(data[:body]))
	}
	store := keystore.New(keystore.WithOrderedAliases())
	return store, store.Load(bytes.NewReader(data), []byte(password))
}

// authoritiesOf are the trusted certificates of a JKS truststore, as PEM.
func authoritiesOf(data []byte, password string) (text []byte, err error) {
	store, err := loadJKS(data, password)
	if err != nil {
		return nil, err
	}
	for _, alias := range store.Aliases() {
		if entry, err := store.GetTrustedCertificateEntry(alias); err == nil { // else it is a key
			text = append(text, certificatePEM(entry.Certificate)...)
		}
	}
	if text == nil {
		return nil, errors.New("it has no certificate of an authority")
	}
	return text, nil
}

func certificatePEM(c keystore.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Content})
}

func keyPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// storePair reads a keystore: JKS, where the key's password is the store's if it has none of its own, or PKCS12.
func storePair(data []byte, password, keyPassword string) (*tls.Certificate, error) {
	if !tlsfiles.IsJKS(data) {
		if keyPassword != "" && keyPassword != password {
			return nil, errors.New("a PKCS12 keystore has one password: ssl.key.password must be ssl.keystore.password, or not given")
		}
		return tlsfiles.Keystore(data, password)
	}
	store, err := loadJKS(data, password)
	if err != nil {
		return nil, err
	}
	aliases := slices.DeleteFunc(store.Aliases(), func(a string) bool { return !store.IsPrivateKeyEntry(a) })
	if len(aliases) != 1 {
		return nil, fmt.Errorf("it has %d keys, not one", len(aliases))
	}
	entry, err := store.GetPrivateKeyEntry(aliases[0], []byte(cmp.Or(keyPassword, password)))
	if err != nil {
		return nil, err
	}
	var chain []byte
	for _, c := range entry.CertificateChain {
		chain = append(chain, certificatePEM(c)...)
	}
	return tlsfiles.Pair(chain, keyPEM(entry.PrivateKey))
}

// pemPair reads a certificate with its chain, and its key, which may be encrypted. Both may be of one text.
func pemPair(cert, key []byte, password string) (*tls.Certificate, error) {
	for rest := key; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return tlsfiles.Pair(cert, key)
		}
		if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, errors.New("the key is encrypted in OpenSSL's old way: write it anew as PKCS#8 (openssl pkcs8 -topk8)")
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" {
			der, err := decryptPKCS8(block.Bytes, password)
			if err != nil {
				return nil, fmt.Errorf("the encrypted key: %w", err)
			}
			return tlsfiles.Pair(cert, keyPEM(der))
		}
	}
}

// oneLine puts line breaks into a PEM text that is in one line with spaces for them, as .properties files have it and Java takes it.
func oneLine(text []byte) []byte {
	if !tlsfiles.IsPEM(text) || bytes.ContainsRune(text, '\n') {
		return text
	}
	var out []byte
	for i, part := range bytes.Split(text, []byte("-----")) {
		if i%2 == 1 { // BEGIN or END
			out = append(out, "-----"+string(part)+"-----"...)
			continue
		}
		out = append(append(append(out, '\n'), bytes.ReplaceAll(bytes.TrimSpace(part), []byte(" "), []byte("\n"))...), '\n')
	}
	return out
}
