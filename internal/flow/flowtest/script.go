// Package flowtest runs scripts against a stage: what goes in and what comes out, side by side in a text file.
//
// A script is a list of steps. A step is one or more lines of commands, a line of four dashes, and what the commands
// print, up to an empty line. Lines that begin with # are comments. With -update the files are rewritten with what the
// commands print now.
package flowtest

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the expected output of the scripts in testdata")

// Command does what one line says and returns what it prints, in lines.
type Command func(t *testing.T, name string, args []string) string

// Step is one step of a script.
type Step struct {
	comment  []string // lines before it, empty ones included
	Commands []string
	Want     string
}

const dashes = "----"

// Run runs each file that matches the pattern as a subtest; start makes its stage. After each step's commands the
// command "" is asked, which prints the stage's state.
func Run(t *testing.T, pattern string, start func(t *testing.T) Command) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts at %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			steps, rest := Parse(string(text))
			do := start(t)
			for i := range steps {
				var got strings.Builder
				for _, line := range steps[i].Commands {
					fields := strings.Fields(line)
					got.WriteString(do(t, fields[0], fields[1:]))
				}
				got.WriteString(do(t, "", nil))
				if !*update && got.String() != steps[i].Want {
					t.Errorf("%s: after\n%s\ngot\n%s\nwant\n%s", file, strings.Join(steps[i].Commands, "\n"), got.String(), steps[i].Want)
				}
				steps[i].Want = got.String()
			}
			if *update {
				if err := os.WriteFile(file, []byte(Format(steps, rest)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Parse reads a script; rest is what follows the last step.
func Parse(text string) (steps []Step, rest []string) {
	var step Step
	wanted := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		switch {
		case wanted && line == "":
			steps = append(steps, step)
			step, wanted = Step{}, false
		case wanted:
			step.Want += line + "\n"
		case line == dashes:
			wanted = true
		case line == "" || strings.HasPrefix(line, "#"):
			step.comment = append(step.comment, line)
		default:
			step.Commands = append(step.Commands, line)
		}
	}
	if wanted {
		return append(steps, step), nil
	}
	return steps, append(step.comment, step.Commands...)
}

// Format is the inverse of Parse.
func Format(steps []Step, rest []string) string {
	var text strings.Builder
	for _, step := range steps {
		for _, line := range step.comment {
			text.WriteString(line + "\n")
		}
		text.WriteString(strings.Join(step.Commands, "\n") + "\n" + dashes + "\n" + step.Want + "\n")
	}
	for _, line := range rest {
		text.WriteString(line + "\n")
	}
	return strings.TrimRight(text.String(), "\n") + "\n"
}
