package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSettingsFromFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	java := write("java.properties", "# Java's\nlinger.ms = 7\nbootstrap.servers=a:1\nclient.id=caf\\u00e9\n")
	second := write("second.properties", "linger.ms=8\n")
	kcat := write("kcat.conf", "linger.ms=9\nclient.id=\\u0041\n")
	wrong := write("wrong.properties", "linger.ms=x\nsasl.pasword=c4n4ry\n")
	for _, test := range []struct {
		name         string
		paths        []string
		sluice, kcat string
		linger       time.Duration
		client, want string
	}{
		{name: "nothing", linger: 5 * time.Millisecond, client: "sluice-cli"},
		{name: "-F", paths: []string{java}, sluice: second, kcat: kcat, linger: 7 * time.Millisecond, client: "café"},
		{name: "the later file wins", paths: []string{java, second}, linger: 8 * time.Millisecond, client: "café"},
		{name: "SLUICE_CONFIG", sluice: second, kcat: kcat, linger: 8 * time.Millisecond, client: "sluice-cli"},
		{name: "KCAT_CONFIG", kcat: kcat, linger: 9 * time.Millisecond, client: `\u0041`},
		{name: "wrong", paths: []string{wrong}, want: "sasl.pasword: there is no setting sasl.pasword; did you mean sasl.password?"},
		{name: "not there", sluice: filepath.Join(dir, "gone"), want: "SLUICE_CONFIG: open "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("SLUICE_CONFIG", test.sluice)
			t.Setenv("KCAT_CONFIG", test.kcat)
			s := newSettings()
			err := s.setFiles(test.paths)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "c4n4ry") {
					t.Errorf("%v, want %q", err, test.want)
				}
				return
			}
			if err != nil || s.Conf.Producer.Flush.Frequency != test.linger || s.Conf.ClientID != test.client {
				t.Errorf("%v, %v, %q", err, s.Conf.Producer.Flush.Frequency, s.Conf.ClientID)
			}
			if len(test.paths) > 0 && s.Brokers != "a:1" {
				t.Errorf("brokers %q", s.Brokers)
			}
		})
	}
}

func TestHelpConfig(t *testing.T) {
	r := execute(t.Context(), strings.NewReader(""), "help", "config")
	if r.status != statusDone || !strings.Contains(r.stdout, "linger.ms = 5\n      also    queue.buffering.max.ms\n      sets    Producer.Flush.Frequency\n") {
		t.Errorf("%+v", r)
	}
}

func TestSecretsOfTheCommandLine(t *testing.T) {
	for _, pair := range []string{"sasl.jaas.config=c4n4ry", "sasl.password=c4n4ry", "Net.SASL.Password.x=c4n4ry", "ssl.key.pem=c4n4ry", "sasl.pasword=c4n4ry"} {
		r := execute(t.Context(), strings.NewReader(""), "produce", "-config", pair)
		if r.status != statusUsage || strings.Contains(r.stdout+r.stderr, "c4n4ry") {
			t.Errorf("%s: %+v", pair, r)
		}
	}
}

// kcat takes the settings of topics with a prefix.
func TestSettingsOfTopics(t *testing.T) {
	s := newSettings()
	if err := s.set("topic.message.timeout.ms", "1500"); err != nil || s.Options.DeliveryTimeout != 1500*time.Millisecond {
		t.Error(err, s.Options.DeliveryTimeout)
	}
}
