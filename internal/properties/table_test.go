package properties

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

var update = flag.Bool("update", false, "write docs/settings.md anew")

func TestDocs(t *testing.T) {
	var want bytes.Buffer
	if err := WriteMarkdown(&want); err != nil {
		t.Fatal(err)
	}
	const path = "../../docs/settings.md"
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the table says (%v): go test ./internal/properties -run TestDocs -update", path, err)
	}
}

func TestTextHasEveryName(t *testing.T) {
	var text bytes.Buffer
	if err := WriteText(&text); err != nil {
		t.Fatal(err)
	}
	words := strings.FieldsFunc(text.String(), func(r rune) bool { return strings.ContainsRune(" ,\n=", r) })
	for name := range byName() {
		if !slices.Contains(words, name) {
			t.Errorf("%s is not in the list", name)
		}
	}
	for line := range strings.Lines(text.String()) {
		if len(line) > 200 {
			t.Errorf("a line of %d: %s", len(line), line)
		}
	}
}

// Every setting of both clients is known, and their aliases are one setting here.
func TestNamesOfTheClients(t *testing.T) {
	for _, file := range []string{"testdata/java.txt", "testdata/librdkafka.txt"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			names := strings.Fields(line)
			if names[0] == "#" {
				continue
			}
			row := Lookup(names[0])
			if row == nil {
				t.Errorf("%s: there is no setting %s", file, names[0])
				continue
			}
			if len(names) > 1 && Lookup(names[1]) != row {
				t.Errorf("%s: %s and %s are two settings", file, names[0], names[1])
			}
			if strings.Contains(file, "java") && row.Of == Librdkafka || strings.Contains(file, "librdkafka") && row.Of == Java && row.Name == names[0] {
				t.Errorf("%s: %s is said to be of %s", file, names[0], row.Of)
			}
		}
	}
}

func TestRows(t *testing.T) {
	for _, row := range Table {
		if row.Name != strings.ToLower(row.Name) || row.Of == "" || row.Fate == "" {
			t.Errorf("%s: of %q, %q", row.Name, row.Of, row.Fate)
		}
		if (len(row.To) > 0) != (row.Fate == Sets) {
			t.Errorf("%s: %s, and goes to %q", row.Name, row.Fate, row.To)
		}
		if row.Fate != Sets && row.Note == "" {
			t.Errorf("%s: no reason", row.Name)
		}
		if row.Note != "" && !strings.HasSuffix(row.Note, ".") {
			t.Errorf("%s: the note is no sentence: %s", row.Name, row.Note)
		}
		if row.Fate == Refused && row.check("surely not a value of it") == nil {
			t.Errorf("%s: nothing is refused", row.Name)
		}
		if row.Fate == Refused && row.check(row.Default) != nil {
			t.Errorf("%s: the default is refused", row.Name)
		}
		for _, to := range row.To {
			if strings.HasPrefix(to, "With") || strings.HasPrefix(to, "addrs") {
				continue
			}
			if !hasField(to) {
				t.Errorf("%s: sarama.Config has no %s", row.Name, to)
			}
		}
	}
}

// hasField also knows fields that no text can be put into.
func hasField(path string) bool {
	t := reflect.TypeFor[sarama.Config]()
	for part := range strings.SplitSeq(path, ".") {
		f, ok := t.FieldByName(part)
		if !ok {
			return false
		}
		t = f.Type
	}
	return true
}

// A default changes nothing.
func TestDefaults(t *testing.T) {
	options := map[string]string{ // of the root package, which tests them
		"WithBufferMemory": "33554432", "WithDeliveryTimeout": "120000", "WithConnectionsMaxIdle": "540000", "WithMaxInFlightPerPartition": "5",
		"WithMetricsPush": "true",
	}
	for _, row := range Table {
		if row.Default == "" || row.Fate != Sets {
			continue
		}
		if want, ok := options[row.To[0]]; ok {
			if row.Default != want {
				t.Errorf("%s: %s, want %s", row.Name, row.Default, want)
			}
			continue
		}
		if row.set == nil && row.check == nil || row.Name == "sasl.mechanism" { // which counts with SASL only
			continue
		}
		s := newSettings()
		if err := s.Set(row.Name, row.Default); err != nil {
			t.Errorf("%s: %v", row.Name, err)
			continue
		}
		if row.Name == "request.timeout.ms" {
			s.Conf.Net.ReadTimeout = newConfig().Net.ReadTimeout // of the note
		}
		want := newConfig()
		s.Conf.MetricRegistry, want.MetricRegistry = nil, nil
		clearFuncs(s.Conf)
		clearFuncs(want)
		if !reflect.DeepEqual(s.Conf, want) {
			t.Errorf("%s=%s changes the configuration", row.Name, row.Default)
		}
	}
}

func clearFuncs(c *sarama.Config) {
	c.Producer.Partitioner, c.Producer.Retry.BackoffFunc, c.Net.Proxy.Dialer = nil, nil, nil
	c.Consumer.Group.Rebalance.GroupStrategies = nil
}

// Each field of sarama.Config that is about producers is in the table, or among those that are not, and not in both.
func TestFieldsOfSarama(t *testing.T) {
	reached := map[string]bool{}
	for _, row := range Table {
		for _, to := range row.To {
			reached[to] = true
		}
	}
	for _, f := range Unreachable {
		if reached[f.Path] || !hasField(f.Path) {
			t.Errorf("%s is said to be out of reach", f.Path)
		}
		reached[f.Path] = true
	}
	reached["Net.SASL.GSSAPI"] = true
	var walk func(reflect.Type, string)
	walk = func(typ reflect.Type, prefix string) {
		for f := range typ.Fields() {
			path := prefix + f.Name
			switch {
			case !f.IsExported() || path == "Admin" || path == "Consumer":
			case f.Type.Kind() == reflect.Struct && !isValue(f.Type):
				walk(f.Type, path+".")
			case !reached[path]:
				t.Errorf("%s: no setting leads to it, and Unreachable does not say why", path)
			}
		}
	}
	walk(reflect.TypeFor[sarama.Config](), "")
}
