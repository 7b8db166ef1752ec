package promtest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dashboard is what these tests read of a dashboard's JSON.
type dashboard struct {
	SchemaVersion int     `json:"schemaVersion"`
	Panels        []panel `json:"panels"`
	Templating    struct {
		List []variable `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Datasource  datasource
	GridPos     struct{ H, W, X, Y int }
	FieldConfig struct {
		Defaults struct {
			Unit   string
			Custom map[string]any
		}
	}
	Targets []struct {
		RefID        string `json:"refId"`
		Expr         string
		LegendFormat string
		Datasource   datasource
	}
}

type variable struct {
	Name, Type, Definition string
	Datasource             datasource
}

type datasource struct{ Type, UID string }

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) == 0 {
		t.Fatal("there are no panels")
	}
	return d
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// queries are those of panels and of variables. label_values(series, label) is asked for as count by (label) (series).
func (d dashboard) queries() (all []query) {
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, query{fmt.Sprintf("panel %q, %s", p.Title, target.RefID), target.Expr})
		}
	}
	for _, v := range d.Templating.List {
		if parts := labelValues.FindStringSubmatch(v.Definition); parts != nil {
			all = append(all, query{"variable " + v.Name, "count by (" + parts[2] + ") (" + parts[1] + ")"})
		}
	}
	return all
}

func TestDashboardIsWhole(t *testing.T) {
	d := readDashboard(t)
	if d.SchemaVersion < 39 {
		t.Errorf("schemaVersion %d", d.SchemaVersion)
	}
	ids := map[int]bool{}
	for i, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: the id %d is used twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		for _, other := range d.Panels[:i] {
			a, b := p.GridPos, other.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q overlap", p.Title, other.Title)
			}
		}
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q is wider than the page", p.Title)
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q has no description or no query", p.Title)
		}
		if p.Type != "state-timeline" && p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("panel %q has no unit", p.Title)
		}
		var refs []string
		for _, target := range p.Targets {
			refs = append(refs, target.RefID)
			if target.Datasource != fromVariable {
				t.Errorf("panel %q asks %v", p.Title, target.Datasource)
			}
		}
		if slices.Sort(refs); len(slices.Compact(refs)) != len(p.Targets) {
			t.Errorf("panel %q: two queries of one refId", p.Title)
		}
		if p.Datasource != fromVariable {
			t.Errorf("panel %q asks %v", p.Title, p.Datasource)
		}
	}
}

var fromVariable = datasource{"prometheus", "${datasource}"}

var variableForm = regexp.MustCompile(`\$\{?(\w+)`)

// TestDashboardVariables: each that is used is there, and each that is there is used.
func TestDashboardVariables(t *testing.T) {
	text := read(t, dashboardFile)
	declared := map[string]bool{}
	for _, v := range readDashboard(t).Templating.List {
		declared[v.Name] = true
		if v.Name != "datasource" && (v.Type != "query" || v.Datasource != fromVariable || !labelValues.MatchString(v.Definition)) {
			t.Errorf("variable %+v", v)
		}
	}
	used := map[string]bool{}
	for _, m := range variableForm.FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(m[1], "__") {
			used[m[1]] = true
		}
	}
	for _, name := range []string{"datasource", "job", "client_id", "instance", "topic"} {
		if !declared[name] || !used[name] {
			t.Errorf("variable %s: declared %v, used %v", name, declared[name], used[name])
		}
		delete(declared, name)
		delete(used, name)
	}
	if len(declared) > 0 || len(used) > 0 {
		t.Errorf("also declared %v, used %v", declared, used)
	}
}
