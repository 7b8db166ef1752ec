package flowtest

import "testing"

func TestScriptRoundTrip(t *testing.T) {
	const text = `# A comment.

# Another.
first a b
second
----
it prints
two lines

third
----
`
	steps, rest := Parse(text)
	if len(steps) != 2 || len(rest) != 0 {
		t.Fatalf("%d steps, rest %q", len(steps), rest)
	}
	if s := steps[0]; len(s.Commands) != 2 || s.Commands[0] != "first a b" || s.Want != "it prints\ntwo lines\n" {
		t.Errorf("first step %+v", s)
	}
	if got := Format(steps, rest); got != text {
		t.Errorf("formatted:\n%s", got)
	}
	if steps, rest := Parse(text + "\n# At the end.\nleft over\n"); len(steps) != 2 || len(rest) != 2 {
		t.Errorf("%d steps, rest %q", len(steps), rest)
	}
}
