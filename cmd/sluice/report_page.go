package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
)

// The page needs nothing besides: its style is in it, its charts are SVG, and there is no script.
//
//go:embed report.html
var pageText string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{"ms": shortMillis, "rate": shortCount}).Parse(pageText))

// A page is what the template shows.
type page struct {
	*perfReport
	Tiles   []tile
	Charts  []chart
	Head    []string
	Rows    [][]string
	Compare bool
}

// A tile is a figure at the top. Class is its colour, as of all that belongs to a client.
type tile struct{ Class, Name, Figure, Unit, Note string }

// A chart is drawn in units of its own view box.
type chart struct {
	Title, About, XLabel, YLabel string
	Width, Height                float64
	Left, Right, Top, Bottom     float64 // of the plot
	XTicks, YTicks               []tick
	Series                       []series
}

type tick struct {
	At    float64
	Label string
}

type series struct {
	Class, Name string
	Line, Area  string // the SVG path's data
	Points      []point
}

// A point is a place to point at; Text is what is said then.
type point struct {
	X, Y, Width, Height float64
	Text                string
}

// mostSteps is how many stretches a chart of throughput shows; shorter ones are put together.
const mostSteps = 200

func (r *perfReport) writePage(w io.Writer) error {
	rows := r.rows()
	p := page{perfReport: r, Head: rows[0], Rows: rows[1:], Compare: len(r.Clients) > 1, Tiles: r.tiles()}
	p.Charts = []chart{r.throughputChart(), r.latencyChart()}
	return pageTemplate.Execute(w, p)
}

func class(i int) string { return fmt.Sprintf("c%d", i%3) }

func (r *perfReport) tiles() (tiles []tile) {
	if len(r.Clients) == 1 {
		c := r.Clients[0]
		return []tile{
			{"c0", c.Client, shortCount(c.Rate), "records/s", fmt.Sprintf("%s in %.1f s", thousands(c.Records), c.Seconds)},
			{"c0", "values", fmt.Sprintf("%.1f", c.Megabytes), "MB/s", "1 MB is 1,000,000 bytes"},
			{"c0", "latency, p50", shortMillis(c.Latency.P50), "", "from hand-over to acknowledgement"},
			{"c0", "latency, p99", shortMillis(c.Latency.P99), "", "maximum " + shortMillis(c.Latency.Max)},
		}
	}
	for i, c := range r.Clients {
		var notes []string
		for _, other := range r.Clients {
			if ratio, ok := c.Ratios[other.Client]; ok {
				notes = append(notes, fmt.Sprintf("%.2f × %s", ratio, other.Client))
			}
		}
		tiles = append(tiles, tile{class(i), c.Client, shortCount(c.Rate), "records/s", strings.Join(notes, ", ")})
	}
	return tiles
}

// newChart returns the empty frame.
func newChart(title, about, x, y string) chart {
	return chart{Title: title, About: about, XLabel: x, YLabel: y, Width: 760, Height: 262, Left: 56, Right: 748, Top: 34, Bottom: 220}
}

func (c *chart) x(share float64) float64 { return round1(c.Left + share*(c.Right-c.Left)) }
func (c *chart) y(share float64) float64 { return round1(c.Bottom - share*(c.Bottom-c.Top)) }

func round1(v float64) float64 { return math.Round(v*10) / 10 }

// A step is a height over a stretch of the x axis, as shares of the axes.
type step struct {
	from, to, height float64
	text             string
}

// draw adds steps that belong together: those that touch are one line.
func (c *chart) draw(s *series, steps []step) {
	var line, area strings.Builder
	for i, st := range steps {
		from, to, height := c.x(st.from), c.x(st.to), c.y(st.height)
		if i == 0 {
			fmt.Fprintf(&line, "M%v %v", from, height)
			fmt.Fprintf(&area, "M%v %vV%v", from, c.Bottom, height)
		} else {
			fmt.Fprintf(&line, "V%v", height)
			fmt.Fprintf(&area, "V%v", height)
		}
		fmt.Fprintf(&line, "H%v", to)
		fmt.Fprintf(&area, "H%v", to)
		s.Points = append(s.Points, point{from, c.Top, max(round1(to-from), 2), c.Bottom - c.Top, st.text})
	}
	if len(steps) > 0 {
		fmt.Fprintf(&area, "V%vZ", c.Bottom)
	}
	s.Line += line.String()
	s.Area += area.String()
}

func (r *perfReport) throughputChart() chart {
	about := ""
	if len(r.Clients) > 1 {
		about = "The clients take turns; gaps are the others' rounds."
	}
	c := newChart("Throughput over time", about, "seconds", "records/s")
	end, top, count := 0.0, 0.0, 0
	merged := make([][]rateSample, len(r.Clients))
	for _, client := range r.Clients {
		count = max(count, len(client.Samples)*len(r.Clients))
	}
	for i, client := range r.Clients {
		merged[i] = mergeSamples(client.Samples, (count+mostSteps-1)/mostSteps)
		for _, s := range merged[i] {
			end, top = max(end, s.At), max(top, s.Rate)
		}
	}
	end = max(end, 1e-3)
	top = c.yAxis(top, shortCount)
	for _, at := range niceTicks(end, 8) {
		c.XTicks = append(c.XTicks, tick{c.x(at / end), fmt.Sprintf("%v", at)})
	}
	for i, client := range r.Clients {
		s := series{Class: class(i), Name: client.Client}
		var steps []step
		for j, sample := range merged[i] {
			if j > 0 && sample.Round != merged[i][j-1].Round {
				c.draw(&s, steps)
				steps = nil
			}
			steps = append(steps, step{(sample.At - sample.Seconds) / end, sample.At / end, sample.Rate / top,
				fmt.Sprintf("%s, %.1f s: %s records/s, %.1f MB/s", client.Client, sample.At, shortCount(sample.Rate), sample.Megabytes)})
		}
		c.draw(&s, steps)
		c.Series = append(c.Series, s)
	}
	return c
}

// mergeSamples puts n samples of a round together, if n is above 1.
func mergeSamples(samples []rateSample, n int) (merged []rateSample) {
	taken := 0
	for _, s := range samples {
		if taken == 0 || taken == n || s.Round != merged[len(merged)-1].Round {
			merged, taken = append(merged, s), 1
			continue
		}
		merged[len(merged)-1].merge(s)
		taken++
	}
	return merged
}

func (r *perfReport) latencyChart() chart {
	c := newChart("Distribution of latencies", "From the hand-over of a record to its acknowledgement. The scale is logarithmic.", "latency", "share of the records")
	low, high, top := math.Inf(1), math.Inf(-1), 0.0
	for _, client := range r.Clients {
		for _, s := range client.Distribution {
			low, high = min(low, math.Log10(s.UpTo)-1.0/sharesPerDecade), max(high, math.Log10(s.UpTo))
			top = max(top, s.Share)
		}
	}
	if math.IsInf(low, 0) {
		low, high = 0, 1
	}
	// To whole decades, where that leaves little empty.
	low, high = math.Floor(low*3)/3, math.Ceil(high*3)/3
	top = c.yAxis(top, func(share float64) string { return fmt.Sprintf("%.3g %%", share*100) })
	place := func(log float64) float64 { return (log - low) / (high - low) }
	digits := []float64{1}
	if high-low < 2.5 {
		digits = []float64{1, 2, 5}
	}
	for decade := math.Floor(low); decade <= high; decade++ {
		for _, digit := range digits {
			if log := decade + math.Log10(digit); log >= low-1e-9 && log <= high+1e-9 {
				c.XTicks = append(c.XTicks, tick{c.x(place(log)), shortMillis(math.Pow(10, log))})
			}
		}
	}
	for i, client := range r.Clients {
		s := series{Class: class(i), Name: client.Client}
		var steps []step
		for _, share := range client.Distribution {
			to := math.Log10(share.UpTo)
			from := to - 1.0/sharesPerDecade
			steps = append(steps, step{place(from), place(to), share.Share / top, fmt.Sprintf("%s, %s to %s: %.2f %% of the records",
				client.Client, shortMillis(math.Pow(10, from)), shortMillis(share.UpTo), share.Share*100)})
		}
		c.draw(&s, steps)
		c.Series = append(c.Series, s)
	}
	return c
}

// yAxis draws the ticks from 0 to top or a little more, and returns where the axis ends.
func (c *chart) yAxis(top float64, text func(float64) string) float64 {
	if top <= 0 {
		top = 1
	}
	ticks := niceTicks(top, 4)
	if last := ticks[len(ticks)-1]; last < top && len(ticks) > 1 {
		ticks = append(ticks, last+ticks[1]-ticks[0])
	}
	top = max(top, ticks[len(ticks)-1])
	for _, at := range ticks {
		c.YTicks = append(c.YTicks, tick{c.y(at / top), text(at)})
	}
	return top
}

// niceTicks divides 0 to end by 1, 2 or 5 times a power of ten, into about n parts.
func niceTicks(end float64, n int) (ticks []float64) {
	raw := end / float64(n)
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	size := 10 * unit
	for _, digit := range []float64{1, 2, 5} {
		if digit*unit >= raw {
			size = digit * unit
			break
		}
	}
	for i := 0; float64(i)*size <= end*(1+1e-9); i++ {
		ticks = append(ticks, math.Round(float64(i)*size*1e9)/1e9)
	}
	return ticks
}

// shortCount writes a number so that it can be compared at a glance.
func shortCount(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.3g M", n/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.3g k", n/1e3)
	}
	return fmt.Sprintf("%.3g", n)
}

// shortMillis writes milliseconds in the unit that suits them.
func shortMillis(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.3g s", v/1000)
	case v >= 1 || v == 0:
		return fmt.Sprintf("%.3g ms", v)
	}
	return fmt.Sprintf("%.3g µs", v*1000)
}
