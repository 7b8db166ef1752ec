package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func (r result) rate() float64      { return float64(r.Records) / r.Elapsed.Seconds() }
func (r result) cpu() float64       { return float64(r.CPU) / float64(r.Records) }
func (r result) allocs() float64    { return float64(r.Mallocs) / float64(r.Records) }
func (r result) ownAllocs() float64 { return float64(r.OwnMallocs) / float64(r.Records) }
func (r result) bytes() float64     { return float64(r.Bytes) / float64(r.Records) }
func (r result) memory() float64    { return float64(r.PeakMemory) / (1 << 20) }
func (r result) idle() float64      { return float64(r.IdleMemory) / (1 << 20) }
func (r result) sinkCPU() float64   { return float64(r.SinkCPU) / float64(r.Sent) }
func (r result) commits() float64   { return float64(r.Commits) / r.Elapsed.Seconds() }
func (r result) commitP50() float64 { return float64(r.CommitP50) }
func (r result) commitP99() float64 { return float64(r.CommitP99) }
func (r result) p50() float64       { return float64(r.P50) }
func (r result) p99() float64       { return float64(r.P99) }
func duration(nanoseconds float64) string {
	return time.Duration(nanoseconds).Round(time.Microsecond).String()
}

// peers are whom the others are compared with, by the group of clients, in the order of the tables. Transactional clients
// are compared with sluice without transactions, too.
var peers = []struct {
	group string
	names []string
}{
	{"async", []string{"sarama", "franz-go"}},
	{"txn", []string{"sarama-txn", "franz-go-txn", "sluice"}},
	{"sync", []string{"sarama-sync", "franz-go-sync", "frame-sync"}},
	{"txn-sync", []string{"sarama-txn-sync", "franz-go-txn-sync"}},
}

// median returns the middle of a figure over a client's rounds, or the mean of the two in the middle.
func median(results []result, figure func(result) float64) float64 {
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = figure(r)
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

// spread returns the lowest and the highest rate.
func spread(results []result) (lo, hi float64) {
	lo, hi = results[0].rate(), results[0].rate()
	for _, r := range results[1:] {
		lo, hi = min(lo, r.rate()), max(hi, r.rate())
	}
	return lo, hi
}

// report writes the tables: figures, then ratios.
func report(out io.Writer, s settings, results []result) error {
	runs := make(map[string][]result)
	for _, r := range results {
		runs[r.Client] = append(runs[r.Client], r)
	}
	if err := write(out, s.Markdown, figures(s, runs)); err != nil {
		return err
	}
	for _, p := range peers {
		if rows := ratios(s, runs, p.group, p.names); len(rows) > 1 {
			if _, err := fmt.Fprintln(out); err != nil {
				return err
			}
			if err := write(out, s.Markdown, rows); err != nil {
				return err
			}
		}
	}
	return nil
}

// figures has a row a client: medians over its rounds.
func figures(s settings, runs map[string][]result) [][]string {
	latency := slices.ContainsFunc(s.Clients, func(name string) bool { return kindOf(name).sync })
	head := []string{"client", "records/s", "lowest–highest", "CPU ns/record", "allocs/record", "user's own", "bytes/record", "peak MiB", "idle MiB", "sink ns/record"}
	if latency {
		head = append(head, "p50", "p99")
	}
	commits := slices.ContainsFunc(s.Clients, func(name string) bool { return kindOf(name).transactional })
	if commits {
		head = append(head, "transactions/s", "commit p50", "commit p99")
	}
	rows := [][]string{head}
	for _, name := range s.Clients {
		r := runs[name]
		if len(r) == 0 {
			continue
		}
		lo, hi := spread(r)
		row := []string{
			name,
			count(median(r, result.rate)),
			count(lo) + "–" + count(hi),
			fmt.Sprintf("%.0f", median(r, result.cpu)),
			fmt.Sprintf("%.2f", median(r, result.allocs)),
			fmt.Sprintf("%.2f", median(r, result.ownAllocs)),
			fmt.Sprintf("%.0f", median(r, result.bytes)),
			fmt.Sprintf("%.0f", median(r, result.memory)),
			fmt.Sprintf("%.1f", median(r, result.idle)),
			fmt.Sprintf("%.0f", median(r, result.sinkCPU)),
		}
		if latency && kindOf(name).sync {
			row = append(row, duration(median(r, result.p50)), duration(median(r, result.p99)))
		} else if latency {
			row = append(row, "", "")
		}
		if commits && kindOf(name).transactional {
			row = append(row, fmt.Sprintf("%.1f", median(r, result.commits)), duration(median(r, result.commitP50)), duration(median(r, result.commitP99)))
		} else if commits {
			row = append(row, "", "", "")
		}
		rows = append(rows, row)
	}
	return rows
}

// ratios compares each client of a group with the peers that ran. Above 1 is more: better for records/s, worse for the
// rest.
func ratios(s settings, runs map[string][]result, group string, peers []string) [][]string {
	type column struct {
		name   string
		figure func(result) float64
	}
	columns := []column{
		{"records/s", result.rate}, {"CPU", result.cpu}, {"allocs", result.allocs}, {"peak memory", result.memory},
	}
	switch group {
	case "sync":
		columns = append(columns, column{"p50", result.p50}, column{"p99", result.p99})
	case "txn-sync":
		columns = append(columns, column{"p50", result.p50}, column{"p99", result.p99},
			column{"commit p50", result.commitP50}, column{"commit p99", result.commitP99})
	}
	head, present := []string{"client"}, []string(nil)
	for _, peer := range peers {
		if len(runs[peer]) > 0 {
			present = append(present, peer)
		}
	}
	if len(present) == 0 {
		return nil
	}
	for _, column := range columns {
		for _, peer := range present {
			head = append(head, column.name+" ÷ "+peer)
		}
	}
	rows := [][]string{head}
	for _, name := range s.Clients {
		if len(runs[name]) == 0 || !groups[group](kindOf(name)) {
			continue
		}
		row := []string{name}
		for _, column := range columns {
			for _, peer := range present {
				row = append(row, ratio(median(runs[name], column.figure), median(runs[peer], column.figure)))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// ratio has nothing to say beside what the table of figures shows as 0.00, as frame-sync's allocations.
func ratio(a, b float64) string {
	if b < 0.005 {
		return "–"
	}
	return fmt.Sprintf("%.2f", a/b)
}

// count writes a number of records so that it can be compared at a glance.
func count(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.2f M", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.0f k", n/1e3)
	default:
		return fmt.Sprintf("%.0f", n)
	}
}

// write writes rows, the first of which is the head.
func write(out io.Writer, markdown bool, rows [][]string) error {
	if markdown {
		for i, row := range rows {
			if _, err := fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | ")); err != nil {
				return err
			}
			if i == 0 {
				if _, err := fmt.Fprintf(out, "|---|%s\n", strings.Repeat("---:|", len(row)-1)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}
