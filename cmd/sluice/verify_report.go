package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/IBM/sarama"
)

// A verifyReport is what verify found. It is printed as a table, or as it stands in JSON.
type verifyReport struct {
	Broken      bool           `json:"broken"` // a client broke a promise
	Interrupted bool           `json:"interrupted"`
	Cluster     string         `json:"cluster"` // its brokers, or "embedded"
	Topic       string         `json:"topic"`
	Kept        bool           `json:"topic_kept"` // it was there before, and is not deleted
	Partitions  int            `json:"partitions"`
	Records     int64          `json:"records"`
	Size        int            `json:"size"`
	Seconds     float64        `json:"seconds"`
	Seed        uint64         `json:"seed"`
	Faults      faultRates     `json:"faults"`
	Acks        string         `json:"acks"`
	Idempotent  bool           `json:"idempotent"`
	Others      int64          `json:"records_of_others"` // in the topic, written meanwhile
	Clients     []verifyResult `json:"clients"`
}

// A verifyResult is one client's part.
type verifyResult struct {
	Client       string           `json:"client"`
	Broken       bool             `json:"broken"`
	GivenUp      string           `json:"given_up,omitempty"` // why
	Seconds      float64          `json:"seconds"`
	Sent         int64            `json:"sent"`
	Acknowledged int64            `json:"acknowledged"`
	NotWritten   int64            `json:"failed_not_written"`
	Unknown      int64            `json:"failed_unknown"`
	Causes       map[string]int64 `json:"causes,omitempty"` // of failures
	Findings     []verifyFinding  `json:"findings"`
	Silence      float64          `json:"longest_silence_seconds"` // without an acknowledgement
	Proxy        verifyFaults     `json:"faults"`
	Partitions   []partitionAudit `json:"partitions"`
}

type verifyFinding struct {
	Kind     string   `json:"kind"`
	Count    int64    `json:"count"`
	Broken   bool     `json:"broken"`
	Allowed  string   `json:"allowed,omitempty"` // why it is no broken promise
	Examples []string `json:"examples,omitempty"`
}

type verifyFaults struct {
	Connections int64 `json:"connections"`
	Answers     int64 `json:"answers"`
	Cut         int64 `json:"cut"`
	Delayed     int64 `json:"delayed"`
	Swallowed   int64 `json:"swallowed"`
}

func (f *verifyFlags) report(trials []*trial, topic *verifyTopic, partitions int, interrupted bool, took time.Duration) *verifyReport {
	p := &f.settings.Conf.Producer
	r := &verifyReport{
		Interrupted: interrupted, Cluster: f.brokers, Topic: f.topic, Kept: !topic.created && !f.embedded(), Partitions: partitions,
		Records: int64(f.records), Size: int(f.size), Seconds: took.Seconds(), Seed: f.seed, Faults: f.rates,
		Acks: acksName(p.RequiredAcks), Idempotent: p.Idempotent, Others: topic.other,
	}
	if f.embedded() {
		r.Cluster = "embedded"
	}
	for _, t := range trials {
		c := t.result()
		r.Broken = r.Broken || c.Broken
		r.Clients = append(r.Clients, c)
	}
	return r
}

func (t *trial) result() verifyResult {
	l, n := t.ledger, &t.proxy.counts
	c := verifyResult{
		Client: t.client.name, Broken: t.audit.broken(), Seconds: t.took.Seconds(), Sent: int64(len(l.told)),
		Acknowledged: l.counts[fateAcknowledged], NotWritten: l.counts[fateRefused], Unknown: l.counts[fateUnknown],
		Causes: l.causes, Silence: l.silence.Seconds(), Partitions: t.audit.partitions,
		Proxy: verifyFaults{n.connections.Load(), n.answers.Load(), n.cut.Load(), n.delayed.Load(), n.swallowed.Load()},
	}
	if t.failed != nil {
		c.GivenUp = t.failed.Error()
	}
	for _, f := range t.audit.findings() {
		c.Findings = append(c.Findings, verifyFinding{f.kind, f.count, f.broken(), f.allowed, f.examples})
	}
	return c
}

func (r *verifyReport) print(w io.Writer, asJSON bool) error {
	if asJSON {
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	_, err := io.WriteString(w, r.text())
	return err
}

func (r *verifyReport) text() string {
	var b strings.Builder
	idempotent := "idempotent"
	if !r.Idempotent {
		idempotent = "not idempotent"
	}
	cluster := r.Cluster
	if cluster == "embedded" {
		cluster = "the embedded cluster"
	}
	for _, line := range [][2]string{
		{"cluster", cluster},
		{"topic", fmt.Sprintf("%s, partitions: %d", r.Topic, r.Partitions)},
		{"messages", fmt.Sprintf("%s of %d bytes", thousands(r.Records), r.Size)},
		{"settings", fmt.Sprintf("acks %s, %s", r.Acks, idempotent)},
		{"faults", fmt.Sprintf("%s, seed %d", r.Faults, r.Seed)},
	} {
		fmt.Fprintf(&b, "%-9s %s\n", line[0], line[1])
	}
	b.WriteByte('\n')
	writeColumns(&b, r.rows())
	b.WriteByte('\n')
	r.details(&b)
	for _, c := range r.Clients {
		fmt.Fprintf(&b, "%s: %s\n", c.Client, c.verdict(r))
	}
	return b.String()
}

func (r *verifyReport) rows() [][]string {
	head := []string{""}
	for _, c := range r.Clients {
		head = append(head, c.Client)
	}
	rows := [][]string{head}
	row := func(name string, cell func(c *verifyResult) string) {
		cells := []string{name}
		for i := range r.Clients {
			cells = append(cells, cell(&r.Clients[i]))
		}
		rows = append(rows, cells)
	}
	number := func(name string, n func(c *verifyResult) int64) {
		row(name, func(c *verifyResult) string { return thousands(n(c)) })
	}
	number("sent", func(c *verifyResult) int64 { return c.Sent })
	number("acknowledged", func(c *verifyResult) int64 { return c.Acknowledged })
	number("failed, not written", func(c *verifyResult) int64 { return c.NotWritten })
	number("failed, may be written", func(c *verifyResult) int64 { return c.Unknown })
	rows = append(rows, nil)
	for i, f := range r.Clients[0].Findings {
		row(f.Kind, func(c *verifyResult) string {
			f := &c.Findings[i]
			switch {
			case f.Broken:
				return thousands(f.Count) + " BROKEN"
			case f.Count > 0:
				return thousands(f.Count) + " allowed"
			}
			return "0"
		})
	}
	rows = append(rows, nil)
	number("connections", func(c *verifyResult) int64 { return c.Proxy.Connections })
	number("  cut", func(c *verifyResult) int64 { return c.Proxy.Cut })
	number("  cut, answers swallowed before", func(c *verifyResult) int64 { return c.Proxy.Swallowed })
	number("answers", func(c *verifyResult) int64 { return c.Proxy.Answers })
	number("  delayed", func(c *verifyResult) int64 { return c.Proxy.Delayed })
	row("longest time without an acknowledgement", func(c *verifyResult) string { return fmt.Sprintf("%.1f s", c.Silence) })
	row("took", func(c *verifyResult) string { return fmt.Sprintf("%.1f s", c.Seconds) })
	return rows
}

// details say what the table only counts.
func (r *verifyReport) details(b *strings.Builder) {
	begin := b.Len()
	for _, c := range r.Clients {
		for _, cause := range slices.Sorted(maps.Keys(c.Causes)) {
			fmt.Fprintf(b, "%s: %s failed: %s\n", c.Client, thousands(c.Causes[cause]), oneLine(cause))
		}
		for _, f := range c.Findings {
			if f.Count > 0 && !f.Broken {
				fmt.Fprintf(b, "%s: %s %s: allowed, %s\n", c.Client, thousands(f.Count), f.Kind, f.Allowed)
			}
			if !f.Broken {
				continue
			}
			for _, example := range f.Examples {
				fmt.Fprintf(b, "%s: %s: %s\n", c.Client, f.Kind, example)
			}
			if more := f.Count - int64(len(f.Examples)); more > 0 {
				fmt.Fprintf(b, "%s: %s: and %s more\n", c.Client, f.Kind, thousands(more))
			}
		}
	}
	if r.Others > 0 {
		fmt.Fprintf(b, "%s of others in the topic, not looked at\n", plural(r.Others, "record"))
	}
	if b.Len() > begin {
		b.WriteByte('\n')
	}
}

func (c *verifyResult) verdict(r *verifyReport) string {
	if c.Broken {
		var kinds []string
		for _, f := range c.Findings {
			if f.Broken {
				kinds = append(kinds, thousands(f.Count)+" "+f.Kind)
			}
		}
		return "BROKEN: " + strings.Join(kinds, ", ")
	}
	verdict := "every promise was kept"
	if r.Interrupted {
		verdict = "every promise was kept until the interrupt"
	}
	if p := c.Proxy; p.Cut+p.Delayed+p.Swallowed == 0 {
		verdict += ", without a fault: a longer run, or higher -faults, would prove more"
	}
	return verdict
}

// writeColumns writes rows, the first column to the left and the others to the right. A nil row is an empty line.
func writeColumns(b *strings.Builder, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			fill := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				line = cell + fill
			} else {
				line += "  " + fill + cell
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func acksName(acks sarama.RequiredAcks) string {
	switch acks {
	case sarama.NoResponse:
		return "none"
	case sarama.WaitForLocal:
		return "leader"
	case sarama.WaitForAll:
		return "all"
	}
	return strconv.Itoa(int(acks))
}
