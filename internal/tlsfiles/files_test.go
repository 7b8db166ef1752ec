package tlsfiles

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/sluice-kafka/sluice/internal/certtest"
)

// New connections trust the new authority alone, and show the new certificate, once LookEvery is over; the old ones are told.
func TestRotation(t *testing.T) {
	for _, whose := range []string{ours, saramas} {
		t.Run(whose, func(t *testing.T) {
			d := newDir(t)
			synctest.Test(t, func(t *testing.T) {
				d.T = t
				before, after := certtest.NewCA(t, "CA"), certtest.NewCA(t, "CA")
				d.write("ca.pem", before.PEM())
				d.pair(before.Client(t, "old"))
				conf := mustRead(t, d.paths()).Config()
				oldBroker, newBroker := mutual(before.Server(t, "broker.test"), before), mutual(after.Server(t, "broker.test"), after)
				changed := Use(conf.Clone())
				want := func(broker *tls.Config, ok bool, shown string) {
					t.Helper()
					got, err, _ := connect(t, client(conf, whose, "broker.test"), broker)
					if (err == nil) != ok || ok && got != shown {
						t.Errorf("the broker was shown %q, %v", got, err)
					}
				}
				want(oldBroker, true, "old")
				d.write("ca.pem", after.PEM())
				d.pair(after.Client(t, "new"))
				time.Sleep(LookEvery - 1)
				want(oldBroker, true, "old")
				want(newBroker, false, "")
				if isChanged(changed) {
					t.Error("looked too early")
				}
				time.Sleep(time.Nanosecond)
				want(newBroker, true, "new")
				want(oldBroker, false, "")
				if !isChanged(changed) {
					t.Error("old connections are not told")
				}
				wantLines(t, "TLSFiles have changed, new connections use them")
				if changed = Use(conf.Clone()); isChanged(changed) {
					t.Error("a new connection is out of date")
				}
				time.Sleep(LookEvery)
				if isChanged(changed) {
					t.Error("out of date, though nothing changed")
				}
				wantLines(t)
			})
		})
	}
}

// The certificate alone is renewed.
func TestRotationOfTheCertificate(t *testing.T) {
	d := newDir(t)
	synctest.Test(t, func(t *testing.T) {
		d.T = t
		ca := certtest.NewCA(t, "CA")
		d.write("ca.pem", ca.PEM())
		d.write("both.p12", ca.Client(t, "old").Keystore(t, "secret"))
		paths := Paths{CA: d.join("ca.pem"), Cert: d.join("both.p12"), CertPassword: "secret"}
		conf := mustRead(t, paths).Config()
		d.write("both.p12", ca.Client(t, "new").Keystore(t, "secret"))
		time.Sleep(LookEvery)
		if shown, err, _ := connect(t, client(conf, ours, "10.0.0.1"), mutual(ca.Server(t, "10.0.0.1"), ca)); shown != "new" {
			t.Errorf("%q, %v", shown, err)
		}
		logs.take()
	})
}

// Kubernetes puts files of a volume into a folder of their own, to which ..data leads, and has ..data lead to another one.
func TestKubernetesVolume(t *testing.T) {
	d := newDir(t)
	synctest.Test(t, func(t *testing.T) {
		d.T = t
		ca := certtest.NewCA(t, "CA")
		volume := d.path
		write := func(folder string, p *certtest.Pair) {
			if err := os.Mkdir(d.join(folder), 0o700); err != nil {
				t.Fatal(err)
			}
			in := dir{t, d.join(folder)}
			in.write("ca.pem", ca.PEM())
			in.pair(p)
			// As its AtomicWriter does it: a new link is renamed to ..data.
			if err := errors.Join(os.Symlink(folder, d.join("..data_tmp")), os.Rename(d.join("..data_tmp"), d.join("..data"))); err != nil {
				t.Fatal(err)
			}
		}
		write("..2026_01_01", ca.Client(t, "old"))
		for _, name := range []string{"ca.pem", "client.pem", "client.key"} {
			if err := os.Symlink("..data/"+name, d.join(name)); err != nil {
				t.Fatal(err)
			}
		}
		conf := mustRead(t, d.paths()).Config()
		write("..2026_02_02", ca.Client(t, "new"))
		if err := os.RemoveAll(volume + "/..2026_01_01"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(LookEvery)
		if shown, err, _ := connect(t, client(conf, ours, "broker.test"), mutual(ca.Server(t, "broker.test"), ca)); shown != "new" {
			t.Errorf("%q, %v", shown, err)
		}
		logs.take()
	})
}

// What can't be read, or makes no sense, is logged once, and the files from before stay in use until it is mended.
func TestBadFiles(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(d dir, ca *certtest.CA)
		want  string
	}{
		"certificate without its key": {func(d dir, ca *certtest.CA) { d.write("client.pem", ca.Client(d, "new").CertPEM()) },
			"CertFile DIR/client.pem with KeyFile DIR/client.key: tls: private key does not match public key"},
		"key without its certificate": {func(d dir, ca *certtest.CA) { d.write("client.key", ca.Client(d, "new").KeyPEM(d.T)) },
			"tls: private key does not match public key"},
		"empty certificate": {func(d dir, _ *certtest.CA) { d.write("client.pem") }, "CertFile DIR/client.pem: it is empty"},
		"empty key":         {func(d dir, _ *certtest.CA) { d.write("client.key") }, "KeyFile DIR/client.key: key: it is not PEM"},
		"empty authorities": {func(d dir, _ *certtest.CA) { d.write("ca.pem") }, "CAFile DIR/ca.pem: it is empty"},
		"certificate gone":  {func(d dir, _ *certtest.CA) { os.Remove(d.join("client.pem")) }, "CertFile: stat DIR/client.pem: no such file"},
		"authorities gone":  {func(d dir, _ *certtest.CA) { os.Remove(d.join("ca.pem")) }, "CAFile: stat DIR/ca.pem: no such file"},
		"folder": {func(d dir, _ *certtest.CA) { os.Remove(d.join("ca.pem")); os.Mkdir(d.join("ca.pem"), 0o700) },
			"CAFile: DIR/ca.pem is not a regular file"},
		"half a certificate": {func(d dir, ca *certtest.CA) {
			text := ca.Client(d, "new").CertPEM()
			d.write("client.pem", text[:len(text)/2])
		}, "CertFile DIR/client.pem with KeyFile DIR/client.key: certificate: 1 of 1 PEM blocks is damaged or cut short"},
		"half of the authorities": {func(d dir, ca *certtest.CA) {
			text := append(ca.PEM(), certtest.NewCA(d, "CA").PEM()...)
			d.write("ca.pem", text[:len(text)-100])
		}, "CAFile DIR/ca.pem: 1 of 2 PEM blocks is damaged or cut short"},
		"damaged authority": {func(d dir, _ *certtest.CA) {
			d.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
		}, "CAFile DIR/ca.pem: PEM block 1: x509: malformed certificate"},
		"no authority":      {func(d dir, ca *certtest.CA) { d.write("ca.pem", ca.Client(d, "x").KeyPEM(d.T)) }, "CAFile DIR/ca.pem: no certificate in it"},
		"something else":    {func(d dir, _ *certtest.CA) { d.write("ca.pem", []byte("hello")) }, "CAFile DIR/ca.pem: it is neither PEM nor PKCS12"},
		"too large":         {func(d dir, _ *certtest.CA) { d.write("ca.pem", make([]byte, 4<<20+1)) }, "CAFile: DIR/ca.pem has more than 4 MiB"},
		"wrong password":    {func(d dir, ca *certtest.CA) { d.write("ca.pem", ca.Truststore(d, "other")) }, "CAFile DIR/ca.pem: pkcs12: decryption password incorrect"},
		"keystore with key": {func(d dir, ca *certtest.CA) { d.write("client.pem", ca.Client(d, "new").Keystore(d, "secret")) }, "it is not PEM; a PKCS12 keystore has the key in it"},
		"encrypted key": {func(d dir, _ *certtest.CA) {
			d.write("client.key", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}))
		}, "KeyFile DIR/client.key: the PEM key is encrypted, which is not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDir(t)
			synctest.Test(t, func(t *testing.T) {
				d.T = t
				ca := certtest.NewCA(t, "CA")
				d.write("ca.pem", ca.PEM())
				d.pair(ca.Client(t, "old"))
				files := mustRead(t, d.paths())
				conf := files.Config()
				changed := Use(conf.Clone())
				test.spoil(d, ca)
				shows := func(want string) {
					t.Helper()
					time.Sleep(LookEvery)
					if got, err, _ := connect(t, client(conf, ours, "broker.test"), mutual(ca.Server(t, "broker.test"), ca)); got != want {
						t.Errorf("the broker was shown %q, want %q: %v", got, want, err)
					}
				}
				for range 3 {
					shows("old")
				}
				if now, bad := changed(); now || bad == nil {
					t.Errorf("connections are to be replaced: %v, or all is good: %v", now, bad)
				}
				wantLines(t, "TLSFiles have changed and are not taken, those from before stay in use: ")
				if _, err := Read(d.paths()); err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(test.want, "DIR", d.path)) {
					t.Errorf("%v, want %s", err, test.want)
				}

				os.Remove(d.join("ca.pem")) // It may be a folder
				d.write("ca.pem", ca.PEM())
				d.pair(ca.Client(t, "new"))
				shows("new")
				if now, bad := changed(); !now || bad != nil {
					t.Errorf("connections are replaced: %v, %v", now, bad)
				}
				wantLines(t, "TLSFiles have changed, new connections use them")
			})
		})
	}
}

// What was bad and is as before again is not taken for new.
func TestBackToTheOldFiles(t *testing.T) {
	d := newDir(t)
	synctest.Test(t, func(t *testing.T) {
		d.T = t
		ca := certtest.NewCA(t, "CA")
		d.write("ca.pem", ca.PEM())
		files := mustRead(t, Paths{CA: d.join("ca.pem")})
		changed := Use(files.Config())
		for range 2 {
			d.write("ca.pem", []byte("x"))
			time.Sleep(LookEvery)
			bad := isChanged(changed)
			wantLines(t, "it is neither PEM nor PKCS12")
			d.write("ca.pem", ca.PEM())
			time.Sleep(LookEvery)
			if now, why := changed(); bad || now || why != nil {
				t.Errorf("taken for new, or for bad: %v", why)
			}
			wantLines(t)
		}
	})
}

// A disk that hangs holds nobody up for more than a second, and what it brings in the end is used.
func TestDiskHangs(t *testing.T) {
	d := newDir(t)
	synctest.Test(t, func(t *testing.T) {
		d.T = t
		ca := certtest.NewCA(t, "CA")
		d.write("ca.pem", ca.PEM())
		files := mustRead(t, Paths{CA: d.join("ca.pem")})
		hang := make(chan struct{})
		read := files.read
		files.read = func() (raw, digest, error) { <-hang; return read() }
		changed := Use(files.Config())
		d.write("ca.pem", certtest.NewCA(t, "CA").PEM())
		time.Sleep(LookEvery)
		began := time.Now()
		for range 100 {
			if isChanged(changed) {
				t.Fatal("changed")
			}
		}
		time.Sleep(time.Hour)
		isChanged(changed)
		if took := time.Since(began); took != patience+time.Hour {
			t.Errorf("waited for %v", took-time.Hour)
		}
		close(hang)
		synctest.Wait()
		if !isChanged(changed) {
			t.Error("not changed")
		}
		logs.take()
	})
}

func TestFilesConcurrentSafe(t *testing.T) {
	d := newDir(t)
	synctest.Test(t, func(t *testing.T) {
		d.T = t
		ca := certtest.NewCA(t, "CA")
		broker := mutual(ca.Server(t, "broker.test"), ca)
		d.write("ca.pem", ca.PEM())
		d.pair(ca.Client(t, "client"))
		conf := mustRead(t, d.paths()).Config()
		const rounds = 20
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range rounds {
					used := client(conf, []string{ours, saramas}[i%2], "broker.test")
					if shown, err, _ := connect(t, used, broker); shown != "client" {
						t.Errorf("%q, %v", shown, err)
					}
					Use(used.Clone())()
					time.Sleep(LookEvery / 2)
				}
			})
		}
		for range rounds / 2 {
			time.Sleep(LookEvery)
			p := ca.Client(t, "client")
			d.write("client.pem", p.CertPEM())
			time.Sleep(time.Nanosecond) // Some look now
			d.write("client.key", p.KeyPEM(t))
		}
		wg.Wait()
		logs.take()
	})
}

// An error names the field and the path, and wraps its cause.
func TestMissingAtFirst(t *testing.T) {
	d := newDir(t)
	ca := certtest.NewCA(t, "CA")
	d.write("ca.pem", ca.PEM())
	d.pair(ca.Client(t, "client"))
	for field, paths := range map[string]Paths{
		"CAFile":   {CA: d.join("none")},
		"CertFile": {CA: d.join("ca.pem"), Cert: d.join("none"), Key: d.join("client.key")},
		"KeyFile":  {CA: d.join("ca.pem"), Cert: d.join("client.pem"), Key: d.join("none")},
	} {
		_, err := Read(paths)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), field+": ") || !strings.Contains(err.Error(), d.join("none")) {
			t.Errorf("%s: %v", field, err)
		}
	}
	for want, paths := range map[string]Paths{
		"KeyFile without a CertFile":      {Key: d.join("client.key")},
		"CAPassword without a CAFile":     {CAPassword: "x"},
		"CertPassword without a CertFile": {CertPassword: "x"},
	} {
		if _, err := Read(paths); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestPKCS12(t *testing.T) {
	root := certtest.NewCA(t, "root")
	pair := root.Intermediate(t, "between").Client(t, "client")
	broker := mutual(root.Server(t, "broker.test"), root)
	other := root.Client(t, "other")
	encode := func(cert *x509.Certificate, others ...*x509.Certificate) []byte {
		data, err := pkcs12.Modern.Encode(pair.Key, cert, others, "secret")
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	legacy, err := pkcs12.Legacy.Encode(pair.Key, pair.Cert, pair.Chain, "secret")
	if err != nil {
		t.Fatal(err)
	}
	type mac struct {
		Digest     []int
		Salt       []byte
		Iterations int
	}
	slow, err := asn1.Marshal(struct {
		Version  int
		AuthSafe []int
		Mac      mac
	}{3, []int{1}, mac{[]int{1}, []byte("salt"), MostIterations + 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name         string
		trust, keys  []byte
		caPass, pass string
		want         string // the error
	}{
		{name: "both", trust: root.Truststore(t, "trust"), caPass: "trust", keys: pair.Keystore(t, "secret"), pass: "secret"},
		{name: "old algorithms", trust: root.PEM(), keys: legacy, pass: "secret"},
		{name: "the certificate comes last", trust: root.PEM(), keys: encode(pair.Chain[0], pair.Cert), pass: "secret"},
		{name: "wrong password of the keystore", trust: root.PEM(), keys: pair.Keystore(t, "secret"), pass: "Secret", want: "CertFile DIR/keys: pkcs12: decryption password incorrect"},
		{name: "no password", trust: root.PEM(), keys: pair.Keystore(t, "secret"), want: "CertFile DIR/keys: pkcs12: decryption password incorrect"},
		{name: "wrong password of the truststore", trust: root.Truststore(t, "trust"), caPass: "x", want: "CAFile DIR/trust: pkcs12: decryption password incorrect"},
		{name: "key of another certificate", trust: root.PEM(), keys: encode(other.Cert), pass: "secret", want: "CertFile DIR/keys: its key matches none of its certificates"},
		{name: "truststore for a keystore", trust: root.PEM(), keys: root.Truststore(t, "secret"), pass: "secret", want: "CertFile DIR/keys: pkcs12: private key missing"},
		{name: "keystore for a truststore", trust: pair.Keystore(t, "secret"), caPass: "secret", want: "CAFile DIR/trust: pkcs12: "},
		{name: "cut short", trust: root.PEM(), keys: pair.Keystore(t, "secret")[:500], pass: "secret", want: "CertFile DIR/keys: pkcs12: error reading P12 data"},
		{name: "too many iterations", trust: root.PEM(), keys: slow, pass: "secret", want: "CertFile DIR/keys: its password is hashed 1000001 times"},
		{name: "JKS", trust: []byte("\xfe\xed\xfe\xed\x00"), want: "CAFile DIR/trust: it is a Java keystore of type JKS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDir(t)
			paths := Paths{CA: d.write("trust", test.trust), CAPassword: test.caPass}
			if test.keys != nil {
				paths.Cert, paths.CertPassword = d.write("keys", test.keys), test.pass
			}
			files, err := Read(paths)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(test.want, "DIR", d.path)) {
					t.Errorf("%v, want %s", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if shown, err, _ := connect(t, client(files.Config(), ours, "broker.test"), broker); shown != "client" {
				t.Errorf("%q, %v", shown, err)
			}
		})
	}
}

// OpenSSL's way to encrypt keys before PKCS8.
func TestEncryptedPEMKey(t *testing.T) {
	pair := certtest.NewCA(t, "CA").Client(t, "client")
	der, err := x509.MarshalECPrivateKey(pair.Key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 it is what is refused
	block, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", der, []byte("secret"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	d := newDir(t)
	_, err = Read(Paths{Cert: d.write("both.pem", pair.CertPEM(), pem.EncodeToMemory(block))})
	if err == nil || !strings.Contains(err.Error(), "CertFile "+d.join("both.pem")+": the PEM key is encrypted, which is not supported: use a PKCS12 keystore") {
		t.Error(err)
	}
}

// Nothing in a file makes the parsers panic.
func FuzzParse(f *testing.F) {
	ca := certtest.NewCA(f, "CA")
	pair := ca.Client(f, "client")
	f.Add(ca.PEM(), pair.CertPEM(), pair.KeyPEM(f))
	f.Add(ca.Truststore(f, "x"), pair.Keystore(f, "x"), []byte(nil))
	f.Add([]byte{0x30}, []byte("-----BEGIN "), []byte{0xfe, 0xed, 0xfe, 0xed})
	f.Fuzz(func(t *testing.T, ca, cert, key []byte) {
		paths := Paths{CA: "ca", CAPassword: "x", Cert: "cert", CertPassword: "x", Key: "key"}
		if len(key) == 0 {
			paths.Key, key = "", cert
		}
		read, err := paths.parse(raw{ca, cert, key})
		if (read == nil) == (err == nil) || err == nil && (read.roots == nil || read.pair == nil || read.pair.Leaf == nil) {
			t.Errorf("%+v, %v", read, err)
		}
	})
}

func isChanged(changed func() (bool, error)) bool {
	now, _ := changed()
	return now
}
