package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// A perfReport is what perf measured, and with which settings. It is printed as a table, as a page, or as it stands in JSON.
// Times are in milliseconds where the name says so, else in seconds.
type perfReport struct {
	Version     string       `json:"version"`
	Begin       time.Time    `json:"begin"`
	CPUs        int          `json:"cpus"`
	Interrupted bool         `json:"interrupted"`
	Rounds      int          `json:"rounds"`
	Load        []setting    `json:"load"`     // what was sent, and where
	Settings    []setting    `json:"settings"` // of sarama.Config, and the options
	Clients     []perfResult `json:"clients"`
}

type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A perfResult is one client's part.
type perfResult struct {
	Client       string             `json:"client"`
	Records      int64              `json:"records"` // acknowledged, in all rounds
	Failed       int64              `json:"failed"`
	Seconds      float64            `json:"seconds"`
	Rate         float64            `json:"records_per_second"` // the median round's, as are the MB
	Lowest       float64            `json:"lowest_records_per_second"`
	Highest      float64            `json:"highest_records_per_second"`
	Megabytes    float64            `json:"mb_per_second"`
	Ratios       map[string]float64 `json:"ratios,omitempty"` // of records_per_second to the other clients'
	Latency      latencies          `json:"latency_ms"`
	Commits      *commits           `json:"transactions,omitempty"`
	Distribution []share            `json:"latency_distribution"`
	Samples      []rateSample       `json:"throughput"`

	latencies histogram
}

type latencies struct {
	Average float64 `json:"avg"`
	P50     float64 `json:"p50"`
	P95     float64 `json:"p95"`
	P99     float64 `json:"p99"`
	P999    float64 `json:"p999"`
	Max     float64 `json:"max"`
}

type commits struct {
	Committed    int64     `json:"committed"`
	NotCommitted int64     `json:"not_committed"`
	Latency      latencies `json:"commit_ms"`
}

// A share is the part of the records whose latency is at most UpTo, and above that of the share before.
type share struct {
	UpTo  float64 `json:"up_to_ms"`
	Share float64 `json:"share"`
}

// A rateSample is the throughput of a stretch of a round. At is its end, counted from the begin of the first round.
type rateSample struct {
	Round     int     `json:"round"` // from 1
	At        float64 `json:"at"`
	Seconds   float64 `json:"seconds"`
	Rate      float64 `json:"records_per_second"`
	Megabytes float64 `json:"mb_per_second"`
}

func latenciesOf(h *histogram) latencies {
	in := func(d time.Duration) float64 { return float64(d) / 1e6 }
	return latencies{in(h.average()), in(h.quantile(0.50)), in(h.quantile(0.95)), in(h.quantile(0.99)), in(h.quantile(0.999)), in(h.max)}
}

func (f *perfFlags) report(loads []*perfLoad, begin time.Time) *perfReport {
	r := &perfReport{
		Version: version(), Begin: begin.UTC().Truncate(time.Second), CPUs: runtime.GOMAXPROCS(0), Rounds: f.rounds,
		Load: f.loadSettings(), Settings: f.settings.reported(),
	}
	var first time.Time // when the first round began
	for _, l := range loads {
		if len(l.rounds) == 0 {
			continue // its warm-up failed
		}
		if first.IsZero() {
			first = l.stats.samples[0].at
		}
		r.Interrupted = r.Interrupted || l.interrupted()
		r.Clients = append(r.Clients, l.result(first))
	}
	for i := range r.Clients {
		c := &r.Clients[i]
		for _, other := range r.Clients {
			if other.Client != c.Client && other.Rate > 0 {
				if c.Ratios == nil {
					c.Ratios = map[string]float64{}
				}
				c.Ratios[other.Client] = c.Rate / other.Rate
			}
		}
	}
	return r
}

func (l *perfLoad) result(first time.Time) perfResult {
	total := l.total()
	var rates, megabytes []float64
	for _, m := range l.rounds {
		rates, megabytes = append(rates, m.rate()), append(megabytes, m.megabytes())
	}
	c := perfResult{
		Client: l.client, Records: total.records, Failed: total.failed, Seconds: total.took.Seconds(),
		Rate: median(rates), Lowest: slices.Min(rates), Highest: slices.Max(rates), Megabytes: median(megabytes),
		Latency: latenciesOf(&total.latencies), Distribution: distribution(&total.latencies), Samples: rateSamples(l.stats.samples, first),
		latencies: total.latencies,
	}
	if l.txns != nil {
		c.Commits = &commits{int64(total.commits.count), total.notCommitted, latenciesOf(&total.commits)}
	}
	return c
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// sharesPerDecade is how finely the distribution is told.
const sharesPerDecade = 10

// distribution divides the latencies into shares of equal width on a logarithmic scale.
func distribution(h *histogram) (shares []share) {
	if h.count == 0 {
		return nil
	}
	step := func(i int) float64 { return math.Pow(10, float64(i)/sharesPerDecade) / 1e3 } // ms, from a microsecond
	at := 0
	for b, n := range h.buckets {
		if n == 0 {
			continue
		}
		for float64(upper(b))/1e6 > step(at) {
			if at++; shares != nil {
				shares = append(shares, share{UpTo: step(at)})
			}
		}
		if shares == nil {
			shares = []share{{UpTo: step(at)}}
		}
		shares[len(shares)-1].Share += float64(n) / float64(h.count)
	}
	return shares
}

// rateSamples turns what had been acknowledged by a moment into rates.
func rateSamples(samples []sample, first time.Time) (rates []rateSample) {
	round := 0
	for i, s := range samples {
		if s.begins {
			round++
			continue
		}
		before := samples[i-1]
		took := s.at.Sub(before.at)
		rate := rateSample{round, s.at.Sub(first).Seconds(), took.Seconds(),
			float64(s.records-before.records) / seconds(took), float64(s.bytes-before.bytes) / seconds(took) / 1e6}
		if n := len(rates); took < sampleInterval/2 && n > 0 && rates[n-1].Round == round {
			rates[n-1].merge(rate) // the rest of a round, and a late tick, are too short to tell a rate
		} else {
			rates = append(rates, rate)
		}
	}
	return rates
}

// merge takes in the sample that follows.
func (s *rateSample) merge(next rateSample) {
	both := s.Seconds + next.Seconds
	if both <= 0 {
		return
	}
	s.Rate = (s.Rate*s.Seconds + next.Rate*next.Seconds) / both
	s.Megabytes = (s.Megabytes*s.Seconds + next.Megabytes*next.Seconds) / both
	s.At, s.Seconds = next.At, both
}

// loadSettings are what the flags say about the load.
func (f *perfFlags) loadSettings() []setting {
	cluster, partitions := f.brokers, "as the topic has"
	if f.embedded() {
		cluster, partitions = "embedded: in this process, acknowledges and forgets", strconv.Itoa(f.partitions)
	}
	values := humanBytes(int64(f.size)) + ", random capital letters"
	if f.payloadFile != "" {
		values = "lines of " + f.payloadFile
	}
	orElse := func(text, none string, is bool) string {
		if is {
			return text
		}
		return none
	}
	list := []setting{
		{"cluster", cluster},
		{"topic", f.topic},
		{"partitions", partitions},
		{"records a round", orElse(thousands(int64(f.records)), "until Ctrl-C", f.records > 0)},
		{"rounds", strconv.Itoa(f.rounds)},
		{"warm-up records", thousands(int64(f.warmup))},
		{"values", values},
		{"keys", orElse(thousands(int64(f.keys)), "none", f.keys > 0)},
		{"seed", strconv.FormatUint(f.seed, 10)},
		{"rate", orElse(fmt.Sprintf("%v records/s at most", f.rate), "as fast as possible", f.rate > 0)},
	}
	if !f.settings.Given["Producer.Idempotent"] && !f.transactional() && slices.Contains(f.clients, "sarama") {
		list = append(list, setting{"sarama", "is not idempotent, as it then has one request open at a time"})
	}
	if f.transactional() {
		list = append(list, setting{"transactions", "of " + f.txnDuration.String()})
	}
	return list
}

// reported are the settings for a report that is passed around: nothing of what logs in, and no functions.
func (s *settings) reported() (list []setting) {
	var walk func(v reflect.Value, prefix string)
	walk = func(v reflect.Value, prefix string) {
		for i := range v.NumField() {
			field := v.Type().Field(i)
			name := prefix + field.Name
			switch {
			case !field.IsExported(), name == "Net.SASL", name == "Net.TLS", name == "Net.Proxy", name == "Consumer", name == "Admin", name == "Group":
			case field.Type == reflect.TypeFor[sarama.KafkaVersion](), isPlain(field.Type.Kind()):
				list = append(list, setting{name, fmt.Sprint(v.Field(i).Interface())})
			case field.Type.Kind() == reflect.Struct:
				walk(v.Field(i), name+".")
			case field.Type.Kind() == reflect.Func:
				if f := runtime.FuncForPC(v.Field(i).Pointer()); f != nil {
					list = append(list, setting{name, path.Base(f.Name())})
				}
			}
		}
	}
	conf := s.Config()
	walk(reflect.ValueOf(conf).Elem(), "")
	list = append(list, setting{"Net.TLS.Enable", fmt.Sprint(conf.Net.TLS.Enable)}, setting{"Net.SASL.Enable", fmt.Sprint(conf.Net.SASL.Enable)})
	if conf.Net.SASL.Enable {
		list = append(list, setting{"Net.SASL.Mechanism", string(conf.Net.SASL.Mechanism)})
	}
	options := reflect.ValueOf(s.Options)
	for i := range options.NumField() {
		if v := options.Field(i); !v.IsZero() {
			list = append(list, setting{options.Type().Field(i).Name, fmt.Sprint(v.Interface())})
		}
	}
	for i := range list {
		if list[i].Name == "Producer.RequiredAcks" {
			list[i].Value = acksName(conf.Producer.RequiredAcks)
		}
	}
	slices.SortStableFunc(list, func(a, b setting) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// isPlain tells the kinds of values that one word shows.
func isPlain(k reflect.Kind) bool {
	return k == reflect.Bool || k == reflect.String || reflect.Int <= k && k <= reflect.Int64
}

func (r *perfReport) writeJSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(r)
}

// rows are the figures, a column for each client, for the terminal and the page.
func (r *perfReport) rows() [][]string {
	head := []string{""}
	for _, c := range r.Clients {
		head = append(head, c.Client)
	}
	rows := [][]string{head}
	row := func(name string, cell func(c *perfResult) string) {
		cells := []string{name}
		for i := range r.Clients {
			cells = append(cells, cell(&r.Clients[i]))
		}
		rows = append(rows, cells)
	}
	rate := "records/s"
	if r.Rounds > 1 {
		rate = fmt.Sprintf("records/s, median of %d rounds", r.Rounds)
	}
	row(rate, func(c *perfResult) string { return thousands(int64(c.Rate)) })
	if r.Rounds > 1 {
		row("  lowest", func(c *perfResult) string { return thousands(int64(c.Lowest)) })
		row("  highest", func(c *perfResult) string { return thousands(int64(c.Highest)) })
	}
	for i, other := range r.Clients {
		if len(r.Clients) > 1 && i > 0 {
			row("  ÷ "+other.Client, func(c *perfResult) string {
				if c.Client == other.Client {
					return "1.00"
				}
				return fmt.Sprintf("%.2f", c.Ratios[other.Client])
			})
		}
	}
	row("MB/s", func(c *perfResult) string { return fmt.Sprintf("%.2f", c.Megabytes) })
	latency := func(name string, of func(l *latencies) float64) {
		row(name, func(c *perfResult) string { return fmt.Sprintf("%.2f ms", of(&c.Latency)) })
	}
	latency("latency, average", func(l *latencies) float64 { return l.Average })
	latency("  p50", func(l *latencies) float64 { return l.P50 })
	latency("  p95", func(l *latencies) float64 { return l.P95 })
	latency("  p99", func(l *latencies) float64 { return l.P99 })
	latency("  p99.9", func(l *latencies) float64 { return l.P999 })
	latency("  maximum", func(l *latencies) float64 { return l.Max })
	row("records acknowledged", func(c *perfResult) string { return thousands(c.Records) })
	row("records failed", func(c *perfResult) string { return thousands(c.Failed) })
	if slices.ContainsFunc(r.Clients, func(c perfResult) bool { return c.Commits != nil }) {
		row("transactions committed", func(c *perfResult) string { return thousands(c.Commits.Committed) })
		row("  not committed", func(c *perfResult) string { return thousands(c.Commits.NotCommitted) })
		row("  commit, p50", func(c *perfResult) string { return fmt.Sprintf("%.2f ms", c.Commits.Latency.P50) })
		row("  commit, p99", func(c *perfResult) string { return fmt.Sprintf("%.2f ms", c.Commits.Latency.P99) })
	}
	return rows
}

func (r *perfReport) table() string {
	var b strings.Builder
	b.WriteByte('\n')
	writeColumns(&b, r.rows())
	return b.String()
}
