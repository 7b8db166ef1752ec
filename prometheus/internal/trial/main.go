// Command trial lets real producers meet five faults, scrapes them with a real Prometheus, and says how long it takes until the
// dashboard's first panel names each. It draws the dashboard's panels, too, from the same JSON, in headless Chromium.
//
// All producers run at the same time, each with a cluster of its own in this process, and nothing leaves 127.0.0.1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"
)

var (
	prometheusPath = flag.String("prometheus", "prometheus", "`path` of Prometheus; it is in Debian's package prometheus")
	chromiumPath   = flag.String("chromium", "chromium", "`path` of Chromium; without one there are no pictures")
	folder         = flag.String("folder", "../..", "`folder` with dashboard.json and alerts.yml")
	pictures       = flag.String("pictures", "", "`folder` for the pictures; empty: none")
	every          = flag.Duration("scrape", 15*time.Second, "scrape interval")
	before         = flag.Duration("before", 80*time.Second, "how long all is well first")
	only           = flag.String("only", "", "`name` of the one fault to try, such as errors-unread; empty: all")
	during         = flag.Duration("during", 100*time.Second, "how long the fault lasts")
)

func main() {
	flag.Parse()
	log.SetFlags(log.Ltime)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatalln(err)
	}
}

func run(ctx context.Context) error {
	dash, err := readDashboard(*folder)
	if err != nil {
		return err
	}
	var patients []*patient
	defer func() {
		for _, p := range patients {
			p.close()
		}
	}()
	for _, f := range faults {
		if *only != "" && f.name != *only {
			continue
		}
		p, err := newPatient(f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		patients = append(patients, p)
	}
	if len(patients) == 0 {
		return fmt.Errorf("there is no fault %q", *only)
	}
	prom, err := startPrometheus(ctx, patients)
	if err != nil {
		return err
	}
	defer prom.stop()

	log.Printf("all is well for %v", *before)
	if err := sleep(ctx, *before); err != nil {
		return err
	}
	for _, p := range patients {
		told, err := dash.troubles(ctx, prom, p.fault.name)
		if err != nil {
			return err
		}
		log.Printf("%-14s before: %q", p.fault.name, told)
		p.fall()
	}
	if err := watch(ctx, dash, prom, patients); err != nil {
		return err
	}
	for _, p := range patients {
		firing, err := prom.firing(ctx, p.fault.name)
		if err != nil {
			return err
		}
		log.Printf("%-14s alerts: %q", p.fault.name, firing)
		if *pictures == "" {
			continue
		}
		if err := dash.draw(ctx, prom, p.fault.name); err != nil {
			return err
		}
	}
	return nil
}

// watch tells what the first panel says of each patient when it changes, until the time is over.
func watch(ctx context.Context, dash *dashboard, prom *prometheus, patients []*patient) error {
	begin := time.Now()
	last := map[string]string{}
	for time.Since(begin) < *during {
		for _, p := range patients {
			told, err := dash.troubles(ctx, prom, p.fault.name)
			if err != nil {
				return err
			}
			if now := fmt.Sprintf("%q", told); now != last[p.fault.name] {
				last[p.fault.name] = now
				log.Printf("%-14s after %3.0f s: %s", p.fault.name, time.Since(begin).Seconds(), now)
			}
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return errors.New("interrupted")
	}
}
