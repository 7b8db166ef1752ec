package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// prometheus is a process that scrapes the patients, with the alerts.
type prometheus struct {
	cmd  *exec.Cmd
	base string
	dir  string
}

func startPrometheus(ctx context.Context, patients []*patient) (*prometheus, error) {
	dir, err := os.MkdirTemp("", "trial")
	if err != nil {
		return nil, err
	}
	rules, err := filepath.Abs(filepath.Join(*folder, "alerts.yml"))
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("global: {scrape_interval: %v, evaluation_interval: %v}\nrule_files: [%q]\nscrape_configs:\n- job_name: shop\n  static_configs:\n",
		*every, *every, rules)
	for _, p := range patients {
		config += fmt.Sprintf("  - targets: [%q]\n", p.address())
	}
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p := &prometheus{base: "http://" + addr, dir: dir}
	p.cmd = exec.CommandContext(ctx, *prometheusPath, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--log.level=error")
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for range 300 {
		if resp, err := http.Get(p.base + "/-/ready"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				log.Println("Prometheus is ready at", p.base)
				return p, nil
			}
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			break
		}
	}
	p.stop()
	return nil, fmt.Errorf("prometheus at %s is not ready", addr)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (p *prometheus) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait()
	_ = os.RemoveAll(p.dir)
}

// series is an answer's: labels, and points of seconds and values.
type series struct {
	Labels map[string]string `json:"metric"`
	Values [][2]any          `json:"values,omitempty"`
	Value  [2]any            `json:"value,omitzero"`
}

func (p *prometheus) ask(ctx context.Context, path string, query url.Values) ([]series, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/api/v1/"+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []series }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s", query.Get("query"), answer.Error)
	}
	return answer.Data.Result, nil
}

// now asks for the value of a query at this moment.
func (p *prometheus) now(ctx context.Context, expr string) ([]series, error) {
	return p.ask(ctx, "query", url.Values{"query": {expr}})
}

// over asks for values from then to now.
func (p *prometheus) over(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]series, error) {
	seconds := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	return p.ask(ctx, "query_range", url.Values{
		"query": {expr}, "start": {seconds(from)}, "end": {seconds(to)}, "step": {strconv.Itoa(int(math.Ceil(step.Seconds())))},
	})
}

// firing are the alerts of a client that fire.
func (p *prometheus) firing(ctx context.Context, clientID string) ([]string, error) {
	result, err := p.now(ctx, `ALERTS{alertstate="firing",client_id="`+clientID+`"}`)
	var names []string
	for _, s := range result {
		names = append(names, s.Labels["alertname"])
	}
	slices.Sort(names)
	return slices.Compact(names), err
}
