package main

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/net/html"
)

func perfJSON(t *testing.T, args ...string) (*perfReport, result) {
	t.Helper()
	r := execute(t.Context(), nil, append([]string{"perf", "-json"}, args...)...)
	report := &perfReport{}
	if err := json.Unmarshal([]byte(r.stdout), report); err != nil {
		t.Fatalf("%v; stdout %q, stderr %q", err, r.stdout, r.stderr)
	}
	return report, r
}

func TestPerfCompareTakesTurns(t *testing.T) {
	page := filepath.Join(t.TempDir(), "out.html")
	report, r := perfJSON(t, "-compare", "sarama, franz-go", "-records", "3k", "-rounds", "2", "-keys", "10", "-report", page)
	if r.status != statusDone || report.Rounds != 2 || report.Interrupted || len(report.Clients) != 3 {
		t.Fatalf("status %d, stderr %q, %+v", r.status, r.stderr, report)
	}
	for i, name := range perfClients {
		c := report.Clients[i]
		if c.Client != name || c.Records != 6000 || c.Failed != 0 || c.Rate <= 0 || c.Lowest > c.Rate || c.Highest < c.Rate || c.Megabytes <= 0 {
			t.Errorf("%+v", c)
		}
		if l := c.Latency; !(0 < l.P50 && l.P50 <= l.P95 && l.P95 <= l.P99 && l.P99 <= l.P999 && l.P999 <= l.Max) || l.Average <= 0 {
			t.Errorf("%s: %+v", name, l)
		}
		for other, ratio := range c.Ratios {
			if back := report.Clients[slices.Index(perfClients, other)].Ratios[name]; math.Abs(ratio*back-1) > 1e-9 {
				t.Errorf("%s ÷ %s is %v, the other way round %v", name, other, ratio, back)
			}
		}
		if len(c.Ratios) != 2 || len(c.Samples) < 2 || c.Samples[0].Round != 1 || c.Samples[len(c.Samples)-1].Round != 2 {
			t.Errorf("%s: ratios %v, samples %+v", name, c.Ratios, c.Samples)
		}
		records, all := 0.0, 0.0
		for _, s := range c.Samples {
			records += s.Rate * s.Seconds
		}
		for _, s := range c.Distribution {
			all += s.Share
		}
		if math.Abs(records-6000) > 1 || math.Abs(all-1) > 1e-6 {
			t.Errorf("%s: %v records in the samples, shares of %v", name, records, all)
		}
	}
	for _, want := range []setting{{"Producer.RequiredAcks", "all"}, {"Producer.Compression", "lz4"}, {"Net.SASL.Enable", "false"}} {
		if !slices.Contains(report.Settings, want) {
			t.Errorf("no %v in %v", want, report.Settings)
		}
	}
	for _, want := range []setting{{"keys", "10"}, {"warm-up records", "300"}, {"records a round", "3,000"}} {
		if !slices.Contains(report.Load, want) {
			t.Errorf("no %v in %v", want, report.Load)
		}
	}
	checkPage(t, page, report)
}

// checkPage parses a page, and looks for what it must have.
func checkPage(t *testing.T, name string, report *perfReport) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]*html.Node{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		found[n.Data] = append(found[n.Data], n)
		for _, a := range n.Attr {
			if a.Key == "src" || a.Key == "href" || strings.Contains(a.Val, "url(") || strings.Contains(a.Val, "ZgotmplZ") {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
		}
	}
	if len(found["script"])+len(found["link"])+len(found["img"])+len(found["iframe"]) > 0 || strings.Contains(string(text), "@import") {
		t.Error("the page needs something besides")
	}
	if !strings.Contains(string(text), "prefers-color-scheme: dark") {
		t.Error("no dark colours")
	}
	if len(found["svg"]) != 2 {
		t.Fatalf("%d charts", len(found["svg"]))
	}
	for _, svg := range found["svg"] {
		lines := 0
		for n := range svg.Descendants() {
			if n.Data == "path" && strings.HasPrefix(attribute(n, "d"), "M") && strings.HasPrefix(attribute(n, "class"), "line") {
				lines++
			}
		}
		if lines != len(report.Clients) || strings.Contains(nodeText(svg), "NaN") || strings.Contains(nodeText(svg), "Inf") {
			t.Errorf("%d lines for %d clients", lines, len(report.Clients))
		}
	}
	all := nodeText(doc)
	for _, c := range report.Clients {
		for _, want := range []string{c.Client, thousands(int64(c.Rate)), thousands(c.Records)} {
			if !strings.Contains(all, want) {
				t.Errorf("no %q", want)
			}
		}
	}
	for _, s := range append(report.Load, report.Settings...) {
		if !strings.Contains(all, s.Name) || !strings.Contains(all, s.Value) {
			t.Errorf("no %v", s)
		}
	}
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func nodeText(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

func TestPerfTableHasRatios(t *testing.T) {
	r := execute(t.Context(), nil, strings.Fields("perf -client franz-go -compare sluice -records 2k -rounds 1 -warmup 0")...)
	for _, want := range []string{"round 1, franz-go: 2000 records sent, ", "round 1, sluice: 2000 records sent, ", "\n  ÷ sluice ", "\nrecords/s ", "\n  p99.9 "} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	if r.status != statusDone || r.stderr != "" {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
}

// TestPerfOnePage has one client, whose name of a file must not become a part of the page.
func TestPerfOnePage(t *testing.T) {
	dir := t.TempDir()
	payload, page := filepath.Join(dir, "<b>&lines"), filepath.Join(dir, "out.html")
	if err := os.WriteFile(payload, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	report, r := perfJSON(t, "-records", "2k", "-payload-file", payload, "-report", page)
	if r.status != statusDone || !strings.Contains(r.stderr, "the report is in "+page) {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
	checkPage(t, page, report)
}

func TestPerfReportThatCannotBeWritten(t *testing.T) {
	r := execute(t.Context(), nil, "perf", "-records", "1k", "-report", filepath.Join(t.TempDir(), "missing", "out.html"))
	if r.status != statusFailed || r.stdout != "" || !strings.Contains(r.stderr, "no such file or directory") {
		t.Errorf("status %d, stdout %q, stderr %q", r.status, r.stdout, r.stderr)
	}
}

func TestPerfCompareInterrupted(t *testing.T) {
	cluster, addrs := startBroker(t, "t", 1)
	ctx, interrupt := context.WithCancel(t.Context())
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		interrupt()
		return nil, nil, false
	})
	page := filepath.Join(t.TempDir(), "out.html")
	r := execute(ctx, nil, "perf", "-json", "-brokers", addrs, "-topic", "t", "-records", "1M", "-rate", "1000", "-compare", "sarama", "-report", page)
	report := &perfReport{}
	if err := json.Unmarshal([]byte(r.stdout), report); err != nil || r.status != statusFailed || !report.Interrupted {
		t.Errorf("%v; status %d, stdout %q, stderr %q", err, r.status, r.stdout, r.stderr)
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "; interrupted") || strings.Contains(string(text), "NaN") {
		t.Errorf("%v, page %s", err, text)
	}
}

// TestPerfWarmupAndKeys looks at what is written.
func TestPerfWarmupAndKeys(t *testing.T) {
	write := func(seed string) (keys map[string]bool, all string) {
		cluster, addrs := startBroker(t, "t", 1)
		report, r := perfJSON(t, "-brokers", addrs, "-topic", "t", "-records", "200", "-warmup", "50", "-keys", "7", "-size", "20", "-seed", seed)
		if r.status != statusDone || report.Clients[0].Records != 200 {
			t.Errorf("status %d, %+v", r.status, report.Clients)
		}
		keys = map[string]bool{}
		for _, rec := range records(t, cluster, "t")[0] {
			keys[string(rec.Key)] = true
			all += string(rec.Key) + string(rec.Value) + "\n"
		}
		return keys, all
	}
	keys, first := write("1")
	if len(keys) != 7 || !keys["key-0"] || strings.Count(first, "\n") != 250 {
		t.Errorf("%d keys, %d records", len(keys), strings.Count(first, "\n"))
	}
	if _, again := write("1"); again != first {
		t.Error("the same seed gives other records")
	}
	if _, other := write("2"); other == first {
		t.Error("another seed gives the same records")
	}
}

func TestPerfTransactionsOfAllClients(t *testing.T) {
	_, addrs := startBroker(t, "t", 1)
	report, r := perfJSON(t, "-brokers", addrs, "-topic", "t", "-compare", "sarama,franz-go", "-records", "1k", "-rounds", "1", "-transactional-id", "perf", "-transaction-duration", "5ms")
	if r.status != statusDone || len(report.Clients) != 3 {
		t.Fatalf("status %d, stderr %q", r.status, r.stderr)
	}
	for _, c := range report.Clients {
		if c.Records != 1000 || c.Commits == nil || c.Commits.Committed == 0 || c.Commits.NotCommitted != 0 {
			t.Errorf("%+v", c)
		}
	}
}

// TestShownSettingsKeepSecrets has something secret in each place that logs in.
func TestShownSettingsKeepSecrets(t *testing.T) {
	s := newSettings()
	s.Conf.Net.SASL.Enable, s.Conf.Net.SASL.Mechanism = true, sarama.SASLTypePlaintext
	for _, secret := range []*string{&s.Conf.Net.SASL.User, &s.Conf.Net.SASL.Password, &s.Conf.Net.SASL.AuthIdentity, &s.Conf.Net.SASL.GSSAPI.Password} {
		*secret = "secret"
	}
	s.Options.BufferMemory = 12345
	list := s.reported()
	for _, v := range list {
		if strings.Contains(v.Value, "secret") {
			t.Errorf("%v", v)
		}
	}
	for _, want := range []setting{{"Net.SASL.Mechanism", "PLAIN"}, {"BufferMemory", "12345"}, {"Producer.Flush.Frequency", "5ms"}, {"Version", s.Conf.Version.String()}} {
		if !slices.Contains(list, want) {
			t.Errorf("no %v in %v", want, list)
		}
	}
}

func TestRateSamples(t *testing.T) {
	zero := time.Now()
	at := func(ms int, records uint64) sample {
		return sample{at: zero.Add(time.Duration(ms) * time.Millisecond), records: records}
	}
	begin := func(ms int) sample { s := at(ms, 0); s.begins = true; return s }
	got := rateSamples([]sample{begin(0), at(100, 10), at(200, 30), at(220, 34), begin(500), at(510, 5)}, zero)
	want := []rateSample{{1, 0.1, 0.1, 100, 0}, {1, 0.22, 0.12, 200, 0}, {2, 0.51, 0.01, 500, 0}}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, w := range want {
		g := got[i]
		if g.Round != w.Round || math.Abs(g.At-w.At) > 1e-9 || math.Abs(g.Seconds-w.Seconds) > 1e-9 || math.Abs(g.Rate-w.Rate) > 1e-6 {
			t.Errorf("%+v, want %+v", g, w)
		}
	}
	if merged := mergeSamples(got, 10); len(merged) != 2 || merged[0].Round != 1 || math.Abs(merged[0].Rate-34/0.22) > 1e-6 {
		t.Errorf("merged %+v", merged)
	}
}

func TestNiceTicks(t *testing.T) {
	for _, tt := range []struct {
		end  float64
		n    int
		want []float64
	}{
		{1, 4, []float64{0, 0.5, 1}},
		{23.4, 8, []float64{0, 5, 10, 15, 20}},
		{0.3, 4, []float64{0, 0.1, 0.2, 0.3}},
		{1_830_000, 4, []float64{0, 500_000, 1_000_000, 1_500_000}},
	} {
		if got := niceTicks(tt.end, tt.n); !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.end, got, tt.want)
		}
	}
}

func TestDistribution(t *testing.T) {
	if distribution(&histogram{}) != nil {
		t.Error("an empty histogram has shares")
	}
	var h histogram
	h.add(time.Microsecond, 1)
	h.add(9*time.Millisecond, 2)
	h.add(3*time.Second, 1)
	shares := distribution(&h)
	first, last := shares[0], shares[len(shares)-1]
	if first.Share != 0.25 || last.Share != 0.25 || first.UpTo > 0.0013 || last.UpTo < 3000 || last.UpTo > 3800 {
		t.Errorf("%+v", shares)
	}
	for i := 1; i < len(shares); i++ {
		if ratio := shares[i].UpTo / shares[i-1].UpTo; math.Abs(ratio-math.Pow(10, 0.1)) > 1e-9 {
			t.Errorf("share %d is %v times as far", i, ratio)
		}
	}
}
