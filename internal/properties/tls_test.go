package properties

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"

	"github.com/sluice-kafka/sluice/internal/certtest"
)

// jks makes a Java keystore of an authority, or of a pair.
func jks(t *testing.T, ca *certtest.CA, pair *certtest.Pair, password, keyPassword string) []byte {
	t.Helper()
	store := keystore.New()
	if ca != nil {
		if err := store.SetTrustedCertificateEntry("ca", keystore.TrustedCertificateEntry{
			CreationTime: time.Now(), Certificate: keystore.Certificate{Type: "X509", Content: ca.Cert.Raw},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if pair != nil {
		der, err := x509.MarshalPKCS8PrivateKey(pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.SetPrivateKeyEntry("me", keystore.PrivateKeyEntry{
			CreationTime: time.Now(), PrivateKey: der, CertificateChain: []keystore.Certificate{{Type: "X509", Content: pair.Cert.Raw}},
		}, []byte(keyPassword)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := store.Store(&out, []byte(password)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// handshake with a broker at host returns the client's error, and whom the broker saw.
func handshake(conf *tls.Config, host string, broker *tls.Config) (shown string, err error) {
	conf = conf.Clone()
	conf.ServerName = host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	here, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return "", err
	}
	there, err := listener.Accept()
	if err != nil {
		return "", err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer there.Close()
		conn := tls.Server(there, broker)
		if conn.Handshake() == nil {
			if certs := conn.ConnectionState().PeerCertificates; len(certs) > 0 {
				shown = certs[0].Subject.CommonName
			}
		}
	}()
	client := tls.Client(here, conf)
	if err = client.Handshake(); err == nil {
		io.Copy(io.Discard, client) // until the broker has seen the client's certificate
	}
	here.Close()
	<-done
	return shown, err
}

func TestTLS(t *testing.T) {
	ca, other := certtest.NewCA(t, "test CA"), certtest.NewCA(t, "other CA")
	server, client := ca.Server(t, "broker.test").TLS(), ca.Client(t, "orders")
	dir := t.TempDir()
	file := func(name string, parts ...[]byte) string {
		return certtest.Write(t, filepath.Join(dir, name), parts...)
	}
	line := func(text []byte) string { return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", " ") }
	caFile, cert, key := file("ca.pem", ca.PEM()), file("cert.pem", client.CertPEM()), file("key.pem", client.KeyPEM(t))
	trusts := map[string]string{"ssl.ca.location": caFile}
	with := func(more ...string) map[string]string {
		all := maps.Clone(trusts)
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	for _, test := range []struct {
		name   string
		values map[string]string
		host   string // broker.test
		fails  bool
		shown  string
	}{
		{name: "the system's authorities", values: map[string]string{}, fails: true},
		{name: "the system's authorities (librdkafka)", values: map[string]string{"ssl.ca.location": "probe"}, fails: true},
		{name: "PEM", values: trusts},
		{name: "PEM, wrong host", values: trusts, host: "other.test", fails: true},
		{name: "PEM of another authority", values: map[string]string{"ssl.ca.location": file("other.pem", other.PEM())}, fails: true},
		{name: "PEM truststore", values: map[string]string{"ssl.truststore.location": caFile, "ssl.truststore.type": "PEM"}},
		{name: "PKCS12 truststore", values: map[string]string{"ssl.truststore.location": file("ca.p12", ca.Truststore(t, "changeit")), "ssl.truststore.password": "changeit"}},
		{name: "JKS truststore", values: map[string]string{"ssl.truststore.location": file("ca.jks", jks(t, ca, nil, "changeit", "")), "ssl.truststore.password": "changeit", "ssl.truststore.type": "jks"}},
		{name: "JKS truststore, no password", values: map[string]string{"ssl.truststore.location": file("ca.jks", jks(t, ca, nil, "changeit", ""))}},
		{name: "JKS truststore, wrong host", values: map[string]string{"ssl.truststore.location": file("ca.jks", jks(t, ca, nil, "changeit", ""))}, host: "other.test", fails: true},
		{name: "text", values: map[string]string{"ssl.truststore.certificates": string(ca.PEM())}},
		{name: "text in a line", values: map[string]string{"ssl.ca.pem": line(ca.PEM())}},
		{name: "any host", values: with("ssl.endpoint.identification.algorithm", ""), host: "other.test"},
		{name: "any host (librdkafka)", values: with("ssl.endpoint.identification.algorithm", "none"), host: "other.test"},
		{name: "any host, other authority", values: map[string]string{"ssl.ca.location": file("other.pem", other.PEM()), "ssl.endpoint.identification.algorithm": ""}, fails: true},
		{name: "no verification", values: map[string]string{"enable.ssl.certificate.verification": "false"}, host: "other.test"},
		{name: "https said", values: with("ssl.endpoint.identification.algorithm", "HTTPS"), host: "other.test", fails: true},

		{name: "certificate and key", values: with("ssl.certificate.location", cert, "ssl.key.location", key), shown: "orders"},
		{name: "one file", values: with("ssl.certificate.location", file("both.pem", client.CertPEM(), client.KeyPEM(t))), shown: "orders"},
		{name: "PEM keystore", values: with("ssl.keystore.location", file("both.pem", client.KeyPEM(t), client.CertPEM()), "ssl.keystore.type", "PEM"), shown: "orders"},
		{name: "PKCS12 keystore", values: with("ssl.keystore.location", file("me.p12", client.Keystore(t, "changeit")), "ssl.keystore.password", "changeit"), shown: "orders"},
		{name: "JKS keystore", values: with("ssl.keystore.location", file("me.jks", jks(t, nil, client, "changeit", "changeit")), "ssl.keystore.password", "changeit"), shown: "orders"},
		{name: "JKS keystore, key password", values: with("ssl.keystore.location", file("me2.jks", jks(t, nil, client, "changeit", "ofthekey")), "ssl.keystore.password", "changeit", "ssl.key.password", "ofthekey"), shown: "orders"},
		{name: "texts", values: with("ssl.keystore.certificate.chain", line(client.CertPEM()), "ssl.keystore.key", line(client.KeyPEM(t))), shown: "orders"},
		{name: "text and file", values: with("ssl.certificate.pem", string(client.CertPEM()), "ssl.key.location", key), shown: "orders"},
		{name: "pair, no verification", values: map[string]string{"enable.ssl.certificate.verification": "false", "ssl.certificate.location": cert, "ssl.key.location": key}, shown: "orders"},
		{name: "pair, any host", values: with("ssl.endpoint.identification.algorithm", "", "ssl.certificate.location", cert, "ssl.key.location", key), host: "other.test", shown: "orders"},
		{name: "JKS and PEM", values: map[string]string{"ssl.truststore.location": file("ca.jks", jks(t, ca, nil, "changeit", "")), "ssl.certificate.location": cert, "ssl.key.location": key}, shown: "orders"},
	} {
		t.Run(test.name, func(t *testing.T) {
			values := maps.Clone(test.values)
			values["security.protocol"] = "SSL"
			conf := mustFinish(t, values).Conf.Net.TLS.Config
			host := test.host
			if host == "" {
				host = "broker.test"
			}
			broker := &tls.Config{Certificates: []tls.Certificate{server}}
			if test.shown != "" {
				broker.ClientAuth, broker.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
			}
			shown, err := handshake(conf, host, broker)
			if (err != nil) != test.fails || shown != test.shown {
				t.Errorf("%v, the broker saw %q", err, shown)
			}
			if _, ok := errors.AsType[*tls.CertificateVerificationError](err); test.fails && !ok {
				t.Errorf("%T %v", err, err)
			}
		})
	}
}

func TestTLSRules(t *testing.T) {
	for _, test := range []struct {
		values      map[string]string
		least, most uint16
		suites      int
	}{
		{map[string]string{}, tls.VersionTLS12, 0, 0},
		{map[string]string{"ssl.enabled.protocols": "TLSv1.3, TLSv1.2"}, tls.VersionTLS12, tls.VersionTLS13, 0},
		{map[string]string{"ssl.enabled.protocols": "TLSv1.3"}, tls.VersionTLS13, tls.VersionTLS13, 0},
		{map[string]string{"ssl.enabled.protocols": "TLSv1.2", "ssl.protocol": "TLSv1.3"}, tls.VersionTLS12, tls.VersionTLS12, 0},
		{map[string]string{"ssl.cipher.suites": "TLS_AES_128_GCM_SHA256"}, tls.VersionTLS13, 0, 0},
		{map[string]string{"ssl.cipher.suites": "TLS_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, tls.VersionTLS12, 0, 1},
		{map[string]string{"ssl.cipher.suites": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, tls.VersionTLS12, tls.VersionTLS12, 1},
		{map[string]string{"ssl.cipher.suites": "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"}, tls.VersionTLS12, 0, 2},
	} {
		test.values["security.protocol"] = "ssl"
		conf := mustFinish(t, test.values).Conf.Net.TLS.Config
		if conf.MinVersion != test.least || conf.MaxVersion != test.most || len(conf.CipherSuites) != test.suites {
			t.Errorf("%v: %x to %x, %d suites", test.values, conf.MinVersion, conf.MaxVersion, len(conf.CipherSuites))
		}
	}
	known := map[string]bool{}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		known[suite.Name] = true
	}
	for openssl, name := range opensslSuites {
		if !known[name] {
			t.Errorf("%s: Go has no %s", openssl, name)
		}
	}
}

func TestTLSRefused(t *testing.T) {
	ca, client := certtest.NewCA(t, "test CA"), certtest.NewCA(t, "test CA").Client(t, "orders")
	dir := t.TempDir()
	file := func(name string, parts ...[]byte) string {
		return certtest.Write(t, filepath.Join(dir, name), parts...)
	}
	caFile, cert, key := file("ca.pem", ca.PEM()), file("cert.pem", client.CertPEM()), file("key.pem", client.KeyPEM(t))
	for _, test := range []struct {
		values map[string]string
		want   string
	}{
		{map[string]string{"ssl.ca.location": "gone"}, "ssl.ca.location: open gone"},
		{map[string]string{"ssl.ca.location": file("empty", nil)}, "is empty"},
		{map[string]string{"ssl.ca.location": file("text", []byte("hello"))}, "neither PEM nor PKCS12"},
		{map[string]string{"ssl.ca.location": dir}, "is not a regular file"},
		{map[string]string{"ssl.ca.location": key}, "no certificate in it"},
		{map[string]string{"ssl.ca.location": file("cut.pem", ca.PEM()[:200])}, "damaged or cut short"},
		{map[string]string{"ssl.ca.location": caFile, "ssl.truststore.location": caFile}, "ssl.ca.location and ssl.truststore.location say the same thing"},
		{map[string]string{"ssl.truststore.location": caFile, "ssl.truststore.type": "JKS"}, "ssl.truststore.type=JKS, but ssl.truststore.location="},
		{map[string]string{"ssl.truststore.location": file("ca.jks", jks(t, ca, nil, "changeit", "")), "ssl.truststore.type": "PEM"}, "is something else"},
		{map[string]string{"ssl.truststore.location": file("ca.jks", jks(t, ca, nil, "changeit", "")), "ssl.truststore.password": "wrongone"}, "ssl.truststore.location="},
		{map[string]string{"ssl.truststore.location": file("ca.p12", ca.Truststore(t, "changeit")), "ssl.truststore.password": "wrongone"}, "ssl.truststore.location="},
		{map[string]string{"ssl.truststore.location": file("me.jks", jks(t, nil, client, "changeit", "changeit"))}, "no certificate of an authority"},
		{map[string]string{"ssl.truststore.type": "BCFKS"}, `"BCFKS" is not one of JKS, PKCS12, PEM`},
		{map[string]string{"ssl.key.location": key}, "ssl.key.location is set without ssl.certificate.location"},
		{map[string]string{"ssl.certificate.location": cert}, "ssl.certificate.location="},
		{map[string]string{"ssl.keystore.certificate.chain": string(client.CertPEM())}, "without ssl.keystore.key"},
		{map[string]string{"ssl.certificate.location": cert, "ssl.key.location": file("other.key", ca.Client(t, "x").KeyPEM(t))}, "does not match"},
		{map[string]string{"ssl.certificate.location": cert, "ssl.key.location": "testdata/key-aes256.pem"}, "ssl.key.password is not set"},
		{map[string]string{"ssl.certificate.location": cert, "ssl.key.location": "testdata/key-aes256.pem", "ssl.key.password": "wrong"}, "the encrypted key"},
		{map[string]string{"ssl.certificate.location": cert, "ssl.key.location": "testdata/key-old.pem", "ssl.key.password": "opensesame"}, "in an old way"},
		{map[string]string{"ssl.keystore.location": file("me.p12", client.Keystore(t, "changeit")), "ssl.keystore.password": "changeit", "ssl.key.password": "other"}, "has one password"},
		{map[string]string{"ssl.keystore.location": file("ca.jks", jks(t, ca, nil, "changeit", "")), "ssl.keystore.password": "changeit"}, "it has 0 keys"},
		{map[string]string{"ssl.enabled.protocols": "SSLv3"}, `"SSLv3" is not one of`},
		{map[string]string{"ssl.enabled.protocols": "TLSv1.1,TLSv1.3"}, "leaves out a version"},
		{map[string]string{"ssl.cipher.suites": "TLS_NOT_THERE"}, `there is no suite "TLS_NOT_THERE"`},
		{map[string]string{"ssl.cipher.suites": "TLS_AES_128_GCM_SHA256", "ssl.enabled.protocols": "TLSv1.2"}, "leave no version of TLS"},
		{map[string]string{"ssl.crl.location": "x"}, "revoked certificates are not looked for"},
		{map[string]string{"ssl.engine.factory.class": "x"}, "program of Java's"},
		{map[string]string{"security.protocol": "PLAINTEXT", "ssl.ca.location": caFile}, "security.protocol has no SSL"},
		{map[string]string{"security.protocol": "SASL_PLAINTEXT", "ssl.key.pem": "x"}, "ssl.key.pem is set, but security.protocol has no SSL"},
	} {
		if test.values["security.protocol"] == "" {
			test.values["security.protocol"] = "SSL"
		}
		_, err := finished(test.values)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "wrongone") {
			t.Errorf("%v: %v, want %q", test.values, err, test.want)
		}
		if strings.Contains(test.want, "open gone") && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v does not wrap its cause", err)
		}
	}
}

// The keys are OpenSSL's.
func TestEncryptedKeys(t *testing.T) {
	for _, path := range []string{"testdata/key-aes256.pem", "testdata/key-3des.pem"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		der, err := decryptPKCS8(block.Bytes, "opensesame")
		if err != nil {
			t.Fatal(path, err)
		}
		key, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			t.Fatal(path, err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1)}
		cert, err := x509.CreateCertificate(rand.Reader, template, template, key.(crypto.Signer).Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		certFile := certtest.Write(t, filepath.Join(t.TempDir(), "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
		conf := mustFinish(t, map[string]string{"security.protocol": "SSL", "ssl.certificate.location": certFile, "ssl.key.location": path,
			"ssl.key.password": "opensesame"}).Conf.Net.TLS.Config
		if len(conf.Certificates) != 1 {
			t.Errorf("%s: %d certificates", path, len(conf.Certificates))
		}
	}
}

func FuzzDecryptPKCS8(f *testing.F) {
	for _, path := range []string{"testdata/key-aes256.pem", "testdata/key-3des.pem", "testdata/key-old.pem"} {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		block, _ := pem.Decode(text)
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if len(der) < 1000 {
			decryptPKCS8(der, "opensesame") // nothing but an error
		}
	})
}
