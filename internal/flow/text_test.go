package flow

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestBrokerText(t *testing.T) {
	long := strings.Repeat("é", longestText)
	for text, want := range map[string]string{
		"":                           "",
		`Zugriff "verweigert", C:\x`: `Zugriff "verweigert", C:\x`,
		"one\ntwo\r\tthree":          `one\ntwo\r\tthree`,
		"\x1b[2Jgone":                `\x1b[2Jgone`,
		"pay \u202Eevil":             `pay \u202eevil`,
		"bad \xff\xfe":               `bad \xff\xfe`,
		"true \uFFFD":                "true \uFFFD",
		"\x00\u2028":                 `\x00\u2028`,
		long:                         long,
		long + "é":                   long + "…",
		strings.Repeat("\n", 1<<20):  strings.Repeat(`\n`, longestText/2) + "…",
	} {
		if got := BrokerText(text); got != want {
			t.Errorf("%.50q became %q, want %q", text, got, want)
		}
	}
}

func FuzzBrokerText(f *testing.F) {
	f.Add("a\xff\n")
	f.Add(strings.Repeat("\u202e", 400))
	f.Fuzz(func(t *testing.T, s string) {
		got := BrokerText(s)
		if !IsPrintable(got) || utf8.RuneCountInString(got) > longestText+1 {
			t.Errorf("%q became %q", s, got)
		}
		if again := BrokerText(got); utf8.RuneCountInString(s) <= longestText && again != got {
			t.Errorf("%q became %q, then %q", s, got, again)
		}
	})
}
