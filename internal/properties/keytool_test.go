package properties

import (
	"crypto/tls"
	"os/exec"
	"path/filepath"
	"testing"
)

// Stores as Java's own keytool makes them.
func TestStoresOfKeytool(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts Java some times")
	}
	if _, err := exec.LookPath("keytool"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	keytool := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("keytool", append(args, "-storepass", "changeit", "-noprompt")...).CombinedOutput(); err != nil {
			t.Fatalf("keytool %v: %v\n%s", args, err, out)
		}
	}
	keytool("-genkeypair", "-alias", "me", "-keyalg", "EC", "-dname", "CN=broker.test", "-ext", "san=dns:broker.test", "-ext", "bc=ca:true",
		"-storetype", "JKS", "-keystore", at("me.jks"), "-keypass", "ofthekey")
	keytool("-genkeypair", "-alias", "me", "-keyalg", "RSA", "-dname", "CN=broker.test", "-ext", "san=dns:broker.test", "-ext", "bc=ca:true",
		"-storetype", "PKCS12", "-keystore", at("me.p12"))
	for _, kind := range []struct{ name, store, keyPassword string }{{"JKS", "me.jks", "ofthekey"}, {"PKCS12", "me.p12", ""}} {
		keytool("-exportcert", "-alias", "me", "-keystore", at(kind.store), "-file", at("me.der"))
		keytool("-importcert", "-alias", "ca", "-file", at("me.der"), "-storetype", kind.name, "-keystore", at("trust-"+kind.store))
		values := map[string]string{
			"security.protocol": "SSL", "ssl.keystore.location": at(kind.store), "ssl.keystore.password": "changeit", "ssl.keystore.type": kind.name,
			"ssl.truststore.location": at("trust-" + kind.store), "ssl.truststore.password": "changeit", "ssl.truststore.type": kind.name,
		}
		if kind.keyPassword != "" {
			values["ssl.key.password"] = kind.keyPassword
		}
		s := mustFinish(t, values)
		pair, err := s.readPair()
		if err != nil {
			t.Fatal(err)
		}
		broker := &tls.Config{Certificates: []tls.Certificate{*pair.cert}, ClientAuth: tls.RequireAnyClientCert}
		if shown, err := handshake(s.Conf.Net.TLS.Config, "broker.test", broker); err != nil || shown != "broker.test" {
			t.Errorf("%s: %v, the broker saw %q", kind.name, err, shown)
		}
	}
}
