package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// dashboard is ../../dashboard.json.
type dashboard struct {
	text   json.RawMessage
	Panels []struct {
		ID      int
		Type    string
		Targets []struct {
			RefID, Expr, LegendFormat string
		}
	}
}

func readDashboard(folder string) (*dashboard, error) {
	text, err := os.ReadFile(filepath.Join(folder, "dashboard.json"))
	if err != nil {
		return nil, err
	}
	d := &dashboard{text: text}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, err
	}
	return d, nil
}

// fill puts a dashboard's variables into a query, as Grafana does where one client is chosen.
func fill(expr, clientID string, over time.Duration) string {
	rate := 4 * *every
	return strings.NewReplacer("$__rate_interval", fmt.Sprintf("%.0fs", rate.Seconds()), "$__range", fmt.Sprintf("%.0fs", over.Seconds()),
		"$job", ".*", "$client_id", clientID, "$instance", ".*", "$topic", ".*").Replace(expr)
}

var legendForm = regexp.MustCompile(`\{\{(\w+)\}\}`)

func legend(format string, labels map[string]string) string {
	return legendForm.ReplaceAllStringFunc(format, func(label string) string { return labels[strings.Trim(label, "{}")] })
}

// troubles is what the first panel says of a client at this moment.
func (d *dashboard) troubles(ctx context.Context, prom *prometheus, clientID string) ([]string, error) {
	var all []string
	for _, panel := range d.Panels {
		if panel.Type != "state-timeline" {
			continue
		}
		for _, target := range panel.Targets {
			result, err := prom.now(ctx, fill(target.Expr, clientID, *during))
			if err != nil {
				return nil, err
			}
			for _, s := range result {
				all = append(all, legend(target.LegendFormat, s.Labels))
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// drawn is a series of a panel, with its name.
type drawn struct {
	Ref    string   `json:"ref"`
	Name   string   `json:"name"`
	Values [][2]any `json:"values"`
}

// draw writes a picture of the dashboard, for one client.
func (d *dashboard) draw(ctx context.Context, prom *prometheus, clientID string) error {
	to := time.Now()
	from := to.Add(-*before - *during)
	step := max(*every/3, time.Second)
	data := map[int][]drawn{}
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			result, err := prom.over(ctx, fill(target.Expr, clientID, to.Sub(from)), from, to, step)
			if err != nil {
				return err
			}
			for _, s := range result {
				data[panel.ID] = append(data[panel.ID], drawn{target.RefID, legend(target.LegendFormat, s.Labels), s.Values})
			}
		}
	}
	dir, err := os.MkdirTemp("", "trial")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file, err := os.Create(filepath.Join(dir, "page.html"))
	if err != nil {
		return err
	}
	err = page.Execute(file, map[string]any{
		"Dashboard": d.text, "Data": data, "From": from.Unix(), "To": to.Unix(), "Step": step.Seconds(), "Client": clientID,
	})
	if err = firstError(err, file.Close()); err != nil {
		return err
	}
	picture := filepath.Join(dir, "page.png")
	cmd := exec.CommandContext(ctx, *chromiumPath, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--window-size=1280,1690", "--screenshot="+picture, "file://"+file.Name())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return reduce(picture, filepath.Join(*pictures, "dashboard-"+clientID+".png"))
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// reduce writes a picture anew with its 256 most frequent colours: a third of the bytes.
func reduce(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	full, err := png.Decode(in)
	if err != nil {
		return err
	}
	count := map[color.RGBA]int{}
	for y := range full.Bounds().Dy() {
		for x := range full.Bounds().Dx() {
			count[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	var palette color.Palette
	for c := range count {
		palette = append(palette, c)
	}
	slices.SortFunc(palette, func(a, b color.Color) int { return count[b.(color.RGBA)] - count[a.(color.RGBA)] })
	small := image.NewPaletted(full.Bounds(), palette[:min(len(palette), 256)])
	draw.Draw(small, small.Bounds(), full, image.Point{}, draw.Src)
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	return firstError(encoder.Encode(out, small), out.Close())
}
