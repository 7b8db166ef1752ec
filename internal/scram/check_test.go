package scram

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheckIterations(t *testing.T) {
	for _, test := range []struct{ message, want string }{
		{"r=nonce,s=c2FsdA==,i=1", ""},
		{"r=nonce,s=c2FsdA==,i=4096", ""},
		{"r=nonce,s=c2FsdA==,i=100000", ""},
		{"r=nonce,s=c2FsdA==,i=4096,x=later", ""},
		{"r=i=9999999,s=c2FsdA==,i=4096", ""}, // Of the nonce
		{"r=nonce,s=c2FsdA==,i=100001", "asks for 100001 SCRAM iterations, more than 100000"},
		{"r=nonce,s=c2FsdA==,i=2147483647", "asks for 2147483647 SCRAM iterations, more than 100000"},
		{"r=nonce,s=c2FsdA==,i=99999999999999999999999", "asks for 99999999999999999999999 SCRAM iterations"},
		{"r=nonce,s=c2FsdA==,i=0", `"0" is not a positive number`},
		{"r=nonce,s=c2FsdA==,i=-1", `"-1" is not a positive number`},
		{"r=nonce,s=c2FsdA==,i=+1", `"+1" is not a positive number`},
		{"r=nonce,s=c2FsdA==,i= 1", `" 1" is not a positive number`},
		{"r=nonce,s=c2FsdA==,i=0x10", `"0x10" is not a positive number`},
		{"r=nonce,s=c2FsdA==,i=", `"" is not a positive number`},
		{"r=nonce,s=c2FsdA==,i", "no iteration count"},
		{"r=nonce,s=c2FsdA==", "no iteration count"},
		{"r=nonce,i=4096,s=c2FsdA==", "no iteration count (i=) in third place"},
		{"", "no iteration count"},
		{"r=nonce,s=c2FsdA==,i=4096,i=2147483647", "more than one iteration count"},
		{",i=2147483647,i=4096", "more than one iteration count"},
		{"m=ext,r=nonce,s=c2FsdA==,i=4096", "wants an extension"},
		{"e=unknown-user", "the broker refused the SCRAM login: unknown-user"},
		{"e=\x1b[2J\nforged", `refused the SCRAM login: \x1b[2J\nforged`},
		{strings.Repeat(",", 1<<20), "1048576 bytes, more than 16384"},
	} {
		err := CheckIterations([]byte(test.message))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%.60q: %v, want %q", test.message, err, test.want)
		}
	}
}

func FuzzCheckIterations(f *testing.F) {
	for _, message := range []string{
		"r=nonce,s=c2FsdA==,i=4096", "r=n,s=,i=2147483647", "r=n,s=,i=1,i=2147483647", "e=other-error", "m=1,r=,s=,i=1", ",,i=", "i=1",
	} {
		f.Add([]byte(message))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if err := CheckIterations(message); err != nil {
			text := err.Error()
			if len(text) > 1000 || strings.ContainsFunc(text, unicode.IsControl) {
				t.Fatalf("the error is not fit for a log: %q", text)
			}
			return
		}
		// However a client picks the count, it is in bounds.
		counts := 0
		for field := range strings.SplitSeq(string(message), ",") {
			if text, ok := strings.CutPrefix(field, "i="); ok {
				counts++
				if n, err := strconv.Atoi(text); err != nil || n < 1 || n > MaxIterations {
					t.Fatalf("let through %q", message)
				}
			}
		}
		if counts == 0 || len(message) > maxMessage {
			t.Fatalf("let through %q", message)
		}
	})
}

func ExampleCheckIterations() {
	fmt.Println(CheckIterations([]byte("r=fyko+d2lbbFgONRv9qkxdawL,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2147483647")))
	// Output: the broker asks for 2147483647 SCRAM iterations, more than 100000
}
