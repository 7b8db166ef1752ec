//go:build unix

package integration

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

var kerberos = flag.Bool("kerberos", false, "run TestKerberos, where an MIT KDC is installed (Debian's krb5-kdc and krb5-admin-server)")

const realm = "SLUICE.TEST"

// TestKerberos logs in at a Kafka with GSSAPI, by a KDC of its own: with a keytab and with a password, sarama's producer beside
// ours. A wrong password fails with what the KDC says.
func TestKerberos(t *testing.T) {
	if !*kerberos {
		t.Skip("runs with -kerberos only")
	}
	kdc := startKDC(t)
	kdc.addPrincipal(t, "kafka/127.0.0.1", "")
	kdc.addPrincipal(t, writer, password)
	c := kafkatest.Start(t, 1,
		kafkatest.WithJava("-Djava.security.krb5.conf="+kdc.config),
		kafkatest.WithListener(kafkatest.Listener{
			Name: "KERBEROS", Mechanisms: []string{sarama.SASLTypeGSSAPI},
			Properties: map[string]string{
				"sasl.kerberos.service.name": "kafka",
				"gssapi.sasl.jaas.config": fmt.Sprintf("com.sun.security.auth.module.Krb5LoginModule required "+
					"useKeyTab=true storeKey=true keyTab=%q principal=%q;", kdc.keytab(t, "kafka/127.0.0.1"), "kafka/127.0.0.1@"+realm),
			},
		}))
	byKeytab := func(gss *sarama.GSSAPIConfig) {
		gss.AuthType, gss.KeyTabPath = sarama.KRB5_KEYTAB_AUTH, kdc.keytab(t, writer)
	}
	byPassword := func(password string) func(gss *sarama.GSSAPIConfig) {
		return func(gss *sarama.GSSAPIConfig) { gss.AuthType, gss.Password = sarama.KRB5_USER_AUTH, password }
	}
	for _, test := range []struct {
		name  string
		login func(*sarama.GSSAPIConfig)
		words []string // of the error; none: no error
	}{
		{"keytab", byKeytab, nil},
		{"password", byPassword(password), nil},
		{"wrong password", byPassword(wrongPassword), []string{"127.0.0.1:", "password/keytab incorrect"}},
	} {
		for name, create := range map[string]func([]string, *sarama.Config) (sarama.SyncProducer, error){
			"sluice": func(addrs []string, conf *sarama.Config) (sarama.SyncProducer, error) { return sluice.New(addrs, conf) },
			"sarama": sarama.NewSyncProducer,
		} {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				topic := c.NewTopic(t, 1, nil)
				conf := changed(sarama.NewConfig())
				conf.Net.SASL.Enable, conf.Net.SASL.Mechanism = true, sarama.SASLTypeGSSAPI
				conf.Net.SASL.GSSAPI = sarama.GSSAPIConfig{
					ServiceName: "kafka", Realm: realm, Username: writer, KerberosConfigPath: kdc.config,
					DisablePAFXFAST: true, // MIT's KDC does not offer it
				}
				test.login(&conf.Net.SASL.GSSAPI)
				err := produceBy(create, c.Addrs(t, "KERBEROS"), conf, topic)
				switch {
				case err != nil && test.words == nil:
					t.Error(err)
				case err == nil && test.words != nil:
					t.Error("no error")
				case err == nil:
					readBack(t, c, topic, 1)
				case name == "sluice":
					for _, word := range test.words {
						if !strings.Contains(err.Error(), word) {
							t.Errorf("%q does not say %q", err, word)
						}
					}
				}
				if err != nil {
					t.Log(err)
				}
			})
		}
	}
}

func produceBy(create func([]string, *sarama.Config) (sarama.SyncProducer, error), addrs []string, conf *sarama.Config, topic string) error {
	p, err := create(addrs, conf)
	if err != nil {
		return err
	}
	defer p.Close()
	_, _, err = p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("x")})
	return err
}

// kdc is a running MIT KDC, with its configuration and data in a folder of its own.
type kdc struct {
	dir    string
	config string // krb5.conf, for clients and brokers
	env    []string
}

// startKDC starts one that ends with the test. Without the programs it skips the test.
func startKDC(t *testing.T) *kdc {
	t.Helper()
	// Debian keeps them where only root looks.
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/usr/local/sbin")
	for _, program := range []string{"krb5kdc", "kadmin.local", "kdb5_util"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("no MIT KDC: ", err)
		}
	}
	dir := t.TempDir()
	port := freePort(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	k := &kdc{dir: dir, config: write("krb5.conf", fmt.Sprintf(`[libdefaults]
 default_realm = %[1]s
 dns_lookup_kdc = false
 dns_lookup_realm = false
 rdns = false
 udp_preference_limit = 1
[realms]
 %[1]s = {
  kdc = 127.0.0.1:%[2]d
 }
[domain_realm]
 127.0.0.1 = %[1]s
`, realm, port))}
	profile := write("kdc.conf", fmt.Sprintf(`[kdcdefaults]
 kdc_listen = 127.0.0.1:%[2]d
 kdc_tcp_listen = 127.0.0.1:%[2]d
[realms]
 %[1]s = {
  database_name = %[3]s/principal
  key_stash_file = %[3]s/stash
  acl_file = %[3]s/acl
  supported_enctypes = aes256-cts-hmac-sha1-96:normal
 }
[logging]
 kdc = STDERR
`, realm, port, dir))
	k.env = append(os.Environ(), "KRB5_CONFIG="+k.config, "KRB5_KDC_PROFILE="+profile)
	k.run(t, "kdb5_util", "create", "-s", "-r", realm, "-P", "master")
	k.serve(t)
	return k
}

// serve runs the KDC. The shell ends it when its input ends, which happens even if the test binary is killed.
func (k *kdc) serve(t *testing.T) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `krb5kdc -n -r "$1" & read -r end; kill $!; wait`, "sh", realm)
	cmd.Env = k.env
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(stderr, &log))
	ended := make(chan struct{})
	t.Cleanup(func() {
		stdin.Close()
		<-ended
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("the KDC's log:\n%s", log.Bytes())
		}
	})
	commencing := false
	for !commencing && lines.Scan() {
		commencing = strings.Contains(lines.Text(), "commencing operation")
	}
	go func() {
		defer close(ended)
		for lines.Scan() {
		}
	}()
	if !commencing {
		t.Fatal("the KDC does not start")
	}
}

func (k *kdc) run(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = k.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
}

// addPrincipal adds one with a password, or with a random key.
func (k *kdc) addPrincipal(t *testing.T, name, password string) {
	t.Helper()
	query := "addprinc -randkey " + name
	if password != "" {
		query = fmt.Sprintf("addprinc -pw %q %s", password, name)
	}
	k.run(t, "kadmin.local", "-r", realm, "-q", query)
}

// keytab writes a principal's key to a new file.
func (k *kdc) keytab(t *testing.T, name string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keytab")
	k.run(t, "kadmin.local", "-r", realm, "-q", fmt.Sprintf("ktadd -norandkey -k %s %s", path, name))
	return path
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
