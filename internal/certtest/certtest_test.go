package certtest

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestIssuedCertificatesVerify(t *testing.T) {
	root := NewCA(t, "root")
	server := root.Intermediate(t, "between").Server(t, "broker.test", "127.0.0.1", "::1")
	for _, host := range []string{"broker.test", "127.0.0.1", "::1"} {
		between := x509.NewCertPool()
		between.AddCert(server.Chain[0])
		if _, err := server.Cert.Verify(x509.VerifyOptions{Roots: root.Pool(), Intermediates: between, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	client := root.Client(t, "orders")
	if got := client.Cert.Subject.String(); got != "CN=orders" {
		t.Errorf("subject %q", got)
	}
	if _, err := client.Cert.Verify(x509.VerifyOptions{Roots: root.Pool(), KeyUsages: client.Cert.ExtKeyUsage}); err != nil {
		t.Error(err)
	}
}

func TestFilesHoldAPair(t *testing.T) {
	pair := NewCA(t, "root").Intermediate(t, "between").Client(t, "orders")
	path := Write(t, filepath.Join(t.TempDir(), "both.pem"), pair.CertPEM(), pair.KeyPEM(t))
	read, err := tls.LoadX509KeyPair(path, path)
	if err != nil || len(read.Certificate) != 2 {
		t.Fatalf("%d certificates, %v", len(read.Certificate), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
}
