package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerNoProduce has no produce request answered.
func answerNoProduce(cluster *kfake.Cluster) {
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, nil, true
	})
}

// asText is a record as the tests write it: "key=value" with null for what is null, and its headers.
func asText(r *kgo.Record) string {
	text := func(b []byte) string {
		if b == nil {
			return "null"
		}
		return fmt.Sprintf("%q", b)
	}
	out := text(r.Key) + "=" + text(r.Value)
	for _, h := range r.Headers {
		out += " " + h.Key + ":" + text(h.Value)
	}
	return out
}

// sent runs a command against a topic t with one partition, and returns what it holds then.
func sent(t *testing.T, stdin string, args ...string) ([]*kgo.Record, result) {
	t.Helper()
	cluster, addrs := startBroker(t, "t", 1)
	at := slices.Index(args, "ADDRS")
	args[at] = addrs
	r := execute(t.Context(), strings.NewReader(stdin), args...)
	return records(t, cluster, "t")[0], r
}

func texts(records []*kgo.Record) []string {
	out := []string{}
	for _, r := range records {
		out = append(out, asText(r))
	}
	return out
}

// Both spellings, ours and kcat's.
func TestInputForms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one, empty := file("one", "a\nb\n"), file("empty", "")
	ours := func(args ...string) []string {
		return append([]string{"produce", "-brokers", "ADDRS", "-topic", "t"}, args...)
	}
	kcat := func(args ...string) []string { return append([]string{"-P", "-b", "ADDRS", "-t", "t"}, args...) }
	tests := []struct {
		name  string
		args  []string
		stdin string
		want  []string
	}{
		{"key after a tab", ours("-key-separator", `\t`), "k\tv\tw\n", []string{`"k"="v\tw"`}},
		{"key after a byte", ours("-K", `\x01`), "k\x01v\n", []string{`"k"="v"`}},
		{"fixed key", ours("-key", "k"), "v\n", []string{`"k"="v"`}},
		{"fixed key where none is found", ours("-key", "k", "-K", ":", "-ignore-missing-key"), "v\na:b\n", []string{`"k"="v"`, `"a"="b"`}},
		{"null for empty", ours("-null-empty", "-K", ":"), ":\nk:\n:v\n", []string{`null=null`, `"k"=null`, `null="v"`}},
		{"delimiter", ours("-delimiter", `;`), "a;b\n;c", []string{`null="a"`, `null="b\n"`, `null="c"`}},
		{"long delimiter", ours("-delimiter", `\r\n`), "a\r\nb\n\r\n", []string{`null="a"`, `null="b\n"`}},
		{"zero bytes", ours("-delimiter", `\0`), "a\x00b\n\x00", []string{`null="a"`, `null="b\n"`}},
		{"whole files", ours("-whole-files", one, empty, "-"), "in\nput", []string{`null="a\nb\n"`, `null=""`, `null="in\nput"`}},
		{"headers of a line", ours("-parse-headers", "-header", "all=1", "-K", ":"), "a:1,b:\tk:v\n\tk:v\n", []string{`"k"="v" all:"1" a:"1" b:""`, `"k"="v" all:"1"`}},
		{"count", ours("-count", "2"), "a\nb\nc\n", []string{`null="a"`, `null="b"`}},
		{"JSON", ours("-json", "-header", "all=1"), `{"value":"v"}
{"key":"k","value":null,"headers":{"a":"1","b":null},"partition":0,"timestamp":"2026-01-31T10:20:30Z"}
{"key_base64":"/w==","value_base64":"AAE=","headers":[{"key":"a","value":"1"},{"key":"a","value_base64":"/w=="}]}
{"key":1,"value":{"x": 1}}
`, []string{`null="v" all:"1"`, `"k"=null all:"1" a:"1" b:null`, `"\xff"="\x00\x01" all:"1" a:"1" a:"\xff"`, `"1"="{\"x\": 1}" all:"1"`}},
		{"kcat -J", ours("-json"), `{"topic":"other","partition":0,"offset":5,"tstype":"create","ts":1700000000000,"broker":1,"headers":["a","b"],"key":"k","payload":"v"}`, []string{`"k"="v" a:"b"`}},
		{"kcat, keys", kcat("-K:", "-Hh=1", "-zgzip"), "a:b\nno key\n", []string{`"a"="b" h:"1"`, `null="no key" h:"1"`}},
		{"kcat, a file", kcat(one), "", []string{`null="a\nb\n"`}},
		{"kcat, lines of a file", kcat("-l", one), "", []string{`null="a"`, `null="b"`}},
		{"kcat, options together", kcat("-ZTqc1", "-p0", "-k", "key", "-X", "linger.ms=1", "-D", ";"), ";b", []string{`"key"=null`}},
		{"kcat, any partition", kcat("-p", "-1"), "a\n", []string{`null="a"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, r := sent(t, tt.stdin, tt.args...)
			if r.status != statusDone || !slices.Equal(texts(got), tt.want) {
				t.Errorf("status %d, %s, want %s; %s", r.status, texts(got), tt.want, r.stderr)
			}
		})
	}
}

// FuzzJSONMessage shows that no line hurts, and that a dead letter is read as the message that it was.
func FuzzJSONMessage(f *testing.F) {
	for _, line := range []string{
		`{"key":"k","value":"v","headers":{"a":"1","b":null},"partition":3,"timestamp":1700000000123}`,
		`{"key_base64":"/w==","value_base64":"","headers":[{"key":"a","value_base64":"/w=="}],"timestamp":"2026-01-31T10:20:30Z"}`,
		`{"topic":"t","offset":1,"ts":1,"headers":["a","b"],"payload":null}`, `{"value":{"x":[1,null]}}`, `{`, ``, `null`, `{"value":1,"headers":[[]]}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		fill := func(line []byte) (m message, err error) {
			err = (&format{json: true}).fill(&m, line)
			return m, err
		}
		m, err := fill(line)
		if err != nil {
			return
		}
		l := letter{m, "t", "f:1", "why"}
		text, err := json.Marshal(l.line())
		if err != nil {
			t.Fatal(err)
		}
		again, err := fill(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again.at, m.at = again.at.Truncate(time.Millisecond).UTC(), m.at.Truncate(time.Millisecond).UTC()
		if fmt.Sprintf("%#v", again) != fmt.Sprintf("%#v", m) {
			t.Errorf("%s: %#v, want %#v", text, again, m)
		}
	})
}

// FuzzUnescape shows that no text hurts, and that one without a backslash stays as it is.
func FuzzUnescape(f *testing.F) {
	for _, text := range []string{`\t`, `a\x01b`, `\`, `\x`, `\xg0`, ":"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := unescape(text)
		if !strings.Contains(text, `\`) && (err != nil || string(got) != text) || len(got) > len(text) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	})
}

func TestJSONTimestamps(t *testing.T) {
	got, r := sent(t, `{"value":"a","timestamp":1700000000123}
{"value":"b","timestamp":"2026-01-31T10:20:30Z"}
{"value":"c","ts":1700000000123}
`, "produce", "-b", "ADDRS", "-t", "t", "-json")
	if len(got) != 3 || got[0].Timestamp.UnixMilli() != 1700000000123 || got[1].Timestamp.Unix() != 1769854830 || got[2].Timestamp.UnixMilli() != 1700000000123 {
		t.Errorf("%v %s", got, r.stderr)
	}
}

// A line that is no message counts as failed, is named, and the others are sent.
func TestBadLinesAreNamed(t *testing.T) {
	tests := []struct {
		args  string
		line  string
		words string
	}{
		{"-K :", "x", `stdin:2: no key: there is no ":" in it (-ignore-missing-key`},
		{"-parse-headers", "x", "stdin:2: no headers: the line has no tab"},
		{"-parse-headers", "x\tv", `header "x" is not of the form name:value`},
		{"-json", "x", "stdin:2: not a message in JSON: invalid character 'x'"},
		{"-json", "", "the line is empty"},
		{"-json", `{"vlaue":"v"}`, `unknown field "vlaue"`},
		{"-json", "{\"value\":\"\xff\"}", `the line is not UTF-8; value_base64 takes bytes`},
		{"-json", `{"key":"k"}`, `there is no "value"; null is a tombstone`},
		{"-json", `{"value":"v"} x`, `there is more behind it`},
		{"-json", `{"value":"v"}}`, `there is more behind it`},
		{"-json", `[1]`, `not a message in JSON: it is a value of type array, not an object`},
		{"-json", `null`, `it is null, not an object`},
		{"-json", `{"value":"v","partition":"1"}`, `"partition" can't be a value of type string`},
		{"-json", `{"value":"v","payload":"w"}`, `both "value" and "payload" are there`},
		{"-json", `{"value":"v","headers":[null]}`, `"headers": it is null, not an object`},
		{"-json", `{"value":"v","value_base64":""}`, `both "value" and "value_base64" are there`},
		{"-json", `{"value_base64":"?"}`, `"value_base64": illegal base64`},
		{"-json", `{"value":"v","timestamp":"now"}`, `is neither milliseconds since 1970 nor a time`},
		{"-json", `{"value":"v","headers":1}`, `"headers" is neither an object nor an array`},
		{"-json", `{"value":"v","headers":["a"]}`, `"a" has no value`},
	}
	for _, tt := range tests {
		t.Run(tt.args+" "+tt.line, func(t *testing.T) {
			good := map[string]string{"-K :": "k:v", "-parse-headers": "\tv", "-json": `{"value":"v"}`}[tt.args]
			args := append([]string{"produce", "-brokers", "ADDRS", "-topic", "t"}, strings.Fields(tt.args)...)
			got, r := sent(t, good+"\n"+tt.line+"\n"+good+"\n", args...)
			if r.status != statusFailed || len(got) != 2 || !strings.Contains(r.stderr, tt.words) {
				t.Errorf("status %d, %s, %q, want %q", r.status, texts(got), r.stderr, tt.words)
			}
			wantReport(t, r, fmt.Sprintf("delivered 2 of 3 messages to t (1 partition), BYTES, SECONDS s, %s", "RATE messages/s"))
		})
	}
}

// What the broker refuses is written to a file that -json reads: so it can be sent again.
func TestDeadLettersCanBeSentAgain(t *testing.T) {
	cluster, addrs := startBroker(t, "t", 2)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	letters := filepath.Join(t.TempDir(), "letters")
	input := `{"key":"k","value":"<&>","headers":{"a":"1"},"partition":1,"timestamp":1700000000123}
{"value_base64":"/w==","partition":1}
{"key":"k","value":null,"partition":1}
`
	r := execute(t.Context(), strings.NewReader(input), "produce", "-brokers", addrs, "-topic", "t", "-json", "-dead-letter", letters)
	if r.status != statusFailed {
		t.Errorf("status %d, %q", r.status, r.stderr)
	}
	content, err := os.ReadFile(letters)
	if err != nil {
		t.Fatal(err)
	}
	var first map[string]any
	if err := json.Unmarshal([]byte(strings.SplitN(string(content), "\n", 2)[0]), &first); err != nil ||
		first["source"] != "stdin:1" || !strings.Contains(first["error"].(string), "authorized") {
		t.Errorf("%v %s", err, content)
	}
	again, addrs := startBroker(t, "t", 2)
	r = execute(t.Context(), strings.NewReader(string(content)), "produce", "-brokers", addrs, "-topic", "t", "-json")
	got := records(t, again, "t")[1]
	want := []string{`"k"="<&>" a:"1"`, `null="\xff"`, `"k"=null`}
	if r.status != statusDone || !slices.Equal(texts(got), want) || got[0].Timestamp.UnixMilli() != 1700000000123 {
		t.Errorf("status %d, %s, want %s; %s", r.status, texts(got), want, r.stderr)
	}
}

// The input never ends, but every message would fail alike.
func TestNotAuthorizedEndsAtOnce(t *testing.T) {
	cluster, addrs := startBroker(t, "t", 1)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	r := execute(t.Context(), nil, "list") // the usage error needs no broker
	if r.status != statusUsage {
		t.Error(r)
	}
	stdout, stderr := newLines(), newLines()
	if status := run(t.Context(), []string{"produce", "-brokers", addrs, "-topic", "t"}, endless{}, stdout, stderr); status != statusFailed ||
		!strings.Contains(stderr.String(), "stopped reading: every message would fail alike") || !strings.Contains(stderr.String(), "no right to write to the topic") {
		t.Errorf("status %d, %q", status, stderr)
	}
}

func TestTeeCopiesTheInput(t *testing.T) {
	const input = "a:1\nb:2\n"
	got, r := sent(t, input, "produce", "-brokers", "ADDRS", "-topic", "t", "-tee", "-K", ":")
	if r.status != statusDone || r.stdout != input || len(got) != 2 || !strings.Contains(r.stderr, "delivered 2 of 2 messages to t") {
		t.Errorf("status %d, stdout %q, stderr %q", r.status, r.stdout, r.stderr)
	}
}

func TestTopicsAndPartitionsThatAreNotThere(t *testing.T) {
	t.Parallel()
	_, addrs := startBroker(t, "events", 3)
	for _, tt := range []struct {
		args  []string
		words string
	}{
		{[]string{"-topic", "event"}, "there is no topic event; did you mean events? (-create 6:3 creates it"},
		{[]string{"-topic", "events", "-partition", "3"}, "there is no partition 3 of events: it has partitions 0 to 2"},
	} {
		r := execute(t.Context(), endless{}, append([]string{"produce", "-brokers", addrs}, tt.args...)...)
		if r.status != statusFailed || r.stdout != "" || !strings.Contains(r.stderr, tt.words) {
			t.Errorf("status %d, %q, want %q", r.status, r.stderr, tt.words)
		}
	}
}

func TestCreateMakesTheTopicOnce(t *testing.T) {
	cluster, addrs := startBroker(t, "events", 3)
	for i := range 2 {
		r := execute(t.Context(), strings.NewReader("a\n"), "produce", "-brokers", addrs, "-topic", "new", "-create", "6:1")
		if r.status != statusDone || strings.Contains(r.stderr, "created topic new with 6 partitions") != (i == 0) {
			t.Errorf("status %d, %q", r.status, r.stderr)
		}
	}
	if n := len(cluster.PartitionInfos("new")); n != 6 {
		t.Errorf("%d partitions", n)
	}
	r := execute(t.Context(), strings.NewReader("a\n"), "produce", "-brokers", addrs, "-topic", "other", "-create", "6:3")
	if r.status != statusFailed || !strings.Contains(r.stderr, "creating topic other: ") {
		t.Errorf("status %d, %q", r.status, r.stderr)
	}
}

func TestList(t *testing.T) {
	_, addrs := startBroker(t, "t", 2)
	t.Setenv(brokersVariable, addrs)
	r := execute(t.Context(), nil, "list")
	want := fmt.Sprintf("cluster kfake\n1 broker:\n  broker 0 at %s, rack krack (controller)\n1 topic:\n  topic t with 2 partitions\n"+
		"    partition 0, leader 0, replicas 0, in sync 0\n    partition 1, leader 0, replicas 0, in sync 0\n", addrs)
	if r.status != statusDone || r.stdout != want {
		t.Errorf("status %d, %q, want %q; %s", r.status, r.stdout, want, r.stderr)
	}
	r = execute(t.Context(), nil, "-L", "-J", "-t", "t")
	var l listing
	if err := json.Unmarshal([]byte(r.stdout), &l); err != nil || len(l.Brokers) != 1 || l.Brokers[0].Name != addrs || len(l.Topics) != 1 ||
		len(l.Topics[0].Partitions) != 2 || l.Topics[0].Partitions[1].ISRs[0].ID != 0 {
		t.Errorf("%v %s", err, r.stdout)
	}
	r = execute(t.Context(), nil, "list", "-topic", "u")
	if r.status != statusFailed || !strings.Contains(r.stderr, "there is no topic u") {
		t.Errorf("status %d, %q", r.status, r.stderr)
	}
}

// A wrong password is told at once, and tried once only.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL())
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	var mu sync.Mutex
	tries := 0
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		tries++
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	for _, args := range [][]string{{"produce", "-topic", "t"}, {"list"}} {
		tries = 0
		args = append(args, "-brokers", cluster.ListenAddrs()[0], "-config", "security.protocol=SASL_PLAINTEXT",
			"-config", "sasl.mechanism=PLAIN", "-config", "sasl.username=a", "-config", "sasl.password=wrong")
		r := execute(t.Context(), strings.NewReader("x\n"), args...)
		if r.status != statusFailed || tries != 1 || !strings.Contains(r.stderr, "with PLAIN: ") || strings.Contains(r.stderr, "wrong") {
			t.Errorf("status %d, %d tries, %q", r.status, tries, r.stderr)
		}
	}
}

// A broker that accepts connections and never answers: what is waited for is told, and the time-out ends it.
func TestBrokerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"produce", "-topic", "t"}, {"list"}} {
		r := execute(t.Context(), strings.NewReader("x\n"), append(args, "-brokers", silentListener(t), "-connect-timeout", "1500ms")...)
		lines := strings.Split(strings.TrimSuffix(r.stderr, "\n"), "\n")
		if r.status != statusFailed || len(lines) != 2 || !strings.Contains(lines[0], ", waiting for its first answer") ||
			!strings.Contains(lines[1], "gave up after 1.5s (-connect-timeout): connected to ") {
			t.Errorf("status %d, %q", r.status, r.stderr)
		}
	}
}

// The cluster answers at its bootstrap address, and names another one that only others can resolve, as in a container.
func TestWrongAdvertisedName(t *testing.T) {
	t.Parallel()
	cluster, addrs := startBroker(t, "t", 1)
	cluster.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		broker := kmsg.NewMetadataResponseBroker()
		broker.Host, broker.Port = "no-such-host.invalid", 9092
		topic, partition := kmsg.NewMetadataResponseTopic(), kmsg.NewMetadataResponseTopicPartition()
		topic.Topic = kmsg.StringPtr("t")
		topic.Partitions = append(topic.Partitions, partition)
		resp.Brokers, resp.Topics = append(resp.Brokers, broker), append(resp.Topics, topic)
		return resp, nil, true
	})
	const reason = "broker 0 (no-such-host.invalid:9092): no such host (the cluster says to connect there: see advertised.listeners)"
	for bound, told := range map[string]string{
		"-config DeliveryTimeout=3s": "waiting for " + reason,
		"-connect-timeout 2s":        "gave up after 2s (-connect-timeout), nothing was delivered: waiting for " + reason,
	} {
		args := append([]string{"produce", "-brokers", addrs, "-topic", "t"}, strings.Fields(bound)...)
		r := execute(t.Context(), strings.NewReader("x\n"), args...)
		if r.status != statusFailed || !strings.Contains(r.stderr, told) {
			t.Errorf("status %d, %q", r.status, r.stderr)
		}
	}
}

func TestNumbersAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1000": 1000, "1k": 1000, "1M": 1_000_000, "2.5k": 2500, "1_000": 1000, "1g": 1e9} {
		var n number
		if err := n.Set(text); err != nil || int64(n) != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	for text, want := range map[string]int64{"100": 100, "1KB": 1000, "1kib": 1024, "2 MB": 2_000_000, "1.5MiB": 1_572_864, "7B": 7} {
		var s size
		if err := s.Set(text); err != nil || int64(s) != want {
			t.Errorf("%q: %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "M", "1x", "1.5", "1e3M", "NaN", "99999999999G", "--1"} {
		var n number
		if err := n.Set(text); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}

// What the flag package says of a value is said in words, by the flag's name.
func TestWrongValuesOfFlags(t *testing.T) {
	for want, args := range map[string][]string{
		`-rate "x" is not a number such as 500, 10k or 1M`:          {"produce", "-rate", "x"},
		`-connect-timeout "5" is not a duration such as 5s or 20ms`: {"produce", "-connect-timeout", "5"},
		`-records "1X" is not a number such as 500, 10k or 1M`:      {"perf", "-records", "1X"},
		`-rounds "x" is not a number (`:                             {"perf", "-rounds", "x"},
		`-rounds "99999999999999999999" is too large`:               {"perf", "-rounds", "99999999999999999999"},
		`-idempotent "x" is neither true nor false`:                 {"produce", "-idempotent=x"},
		`-partition "x" is not a number (`:                          {"produce", "-partition", "x"},
	} {
		if r := execute(t.Context(), nil, args...); r.status != statusUsage || !strings.Contains(r.stderr, want) {
			t.Errorf("%v: status %d, %q, want %q", args, r.status, r.stderr, want)
		}
	}
	f, err := parsePerf([]string{"-rate", "1.5k"}, nil)
	if err != nil || f.rate != 1500 {
		t.Errorf("%v, %v", f, err)
	}
}

// Also a line that is too long is kept, and what was kept is read again though it is longer in JSON.
func TestDeadLettersOfLongLines(t *testing.T) {
	_, addrs := startBroker(t, "t", 1)
	letters := filepath.Join(t.TempDir(), "letters")
	long := strings.Repeat("\x00", 1500)
	r := execute(t.Context(), strings.NewReader("short\n"+long+"\n"), "produce", "-brokers", addrs, "-topic", "t", "-config", "max.request.size=1000", "-dead-letter", letters)
	if r.status != statusFailed || !strings.Contains(r.stdout, "delivered 1 of 2 ") {
		t.Errorf("status %d, %q, %q", r.status, r.stdout, r.stderr)
	}
	r = execute(t.Context(), nil, "produce", "-brokers", addrs, "-topic", "t", "-config", "max.request.size=1600", "-json", letters)
	if r.status != statusDone || !strings.Contains(r.stdout, "delivered 1 of 1 message to t (1 partition), 1.5 kB") {
		t.Errorf("status %d, %q, %q", r.status, r.stdout, r.stderr)
	}
}

// Lines of several partitions, in batches of which some fail and some are divided: each failure names its own line.
func TestDeadLettersNameTheirLines(t *testing.T) {
	cluster, addrs := startBroker(t, "t", 3)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{1}, Err: kerr.MessageTooLarge, Count: 2})
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{1}, Err: kerr.InvalidRecord, Count: -1})
	var input strings.Builder
	const lines = 3000
	for i := range lines {
		fmt.Fprintf(&input, "%d\n", i+1)
	}
	letters := filepath.Join(t.TempDir(), "letters")
	r := execute(t.Context(), strings.NewReader(input.String()), "produce", "-brokers", addrs, "-topic", "t", "-dead-letter", letters,
		"-config", "Producer.Partitioner=round-robin")
	if r.status != statusFailed || !strings.Contains(r.lastLine(), "delivered 2000 of 3000 messages to t (2 partitions)") {
		t.Errorf("status %d, %q, %q", r.status, r.lastLine(), r.stderr)
	}
	content, err := os.ReadFile(letters)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(content)) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil || l["source"] != fmt.Sprintf("stdin:%s", l["value"]) || l["partition"] != nil || l["timestamp"] != nil {
			t.Fatalf("%v: %s", err, line)
		}
		n++
	}
	if n != lines/3 {
		t.Errorf("%d letters", n)
	}
}

// A topic that goes as the first line comes is waited for once, not by each of a thousand lines.
func TestTopicGoesBeforeTheFirstLine(t *testing.T) {
	cluster, addrs := startBroker(t, "t", 1)
	input := readerFunc(func(p []byte) (int, error) {
		if cluster.TopicInfo("t") == nil {
			return 0, io.EOF
		}
		if err := cluster.DeleteTopic("t"); err != nil {
			return 0, err
		}
		return copy(p, strings.Repeat("line\n", 10_000)), nil
	})
	r := execute(t.Context(), input, "produce", "-brokers", addrs, "-topic", "t", "-config", "Metadata.Full=false", "-config", "delivery.timeout.ms=300",
		"-config", "linger.ms=0", "-config", "request.timeout.ms=200")
	wantReport(t, r, "delivered 0 of 10000 messages to t (0 partitions), 0 B, SECONDS s, RATE messages/s")
	if r.status != statusFailed || !strings.Contains(r.stderr, "stdin:3: ") || !strings.Contains(r.stderr, "and 9997 more: ") {
		t.Errorf("status %d, %q", r.status, r.stderr)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
