package flow

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// longestText is how many characters of a text from outside are shown.
const longestText = 300

// BrokerText makes a text that a broker, or an identity provider, has sent fit for errors and logs: an error message, a host name. What
// can't be printed is escaped as in Go: control characters, marks that turn the direction of writing, bytes that are no UTF-8.
// After some 300 characters it is cut. A text without any of that stays as it is.
//
// A broker may send megabytes, and escapes that rewrite a terminal or begin a new line in a log.
func BrokerText(s string) string {
	if len(s) <= longestText && IsPrintable(s) {
		return s
	}
	text := make([]byte, 0, min(4*len(s), longestText+len("…"))) // it grows where characters have several bytes
	n := 0                                                       // characters in text
	for rest := s; rest != ""; {
		var escaped [16]byte
		r, size := utf8.DecodeRuneInString(rest)
		shown := append(escaped[:0], rest[:size]...)
		switch {
		case r == utf8.RuneError && size == 1:
			shown = append(escaped[:0], '\\', 'x', "0123456789abcdef"[rest[0]>>4], "0123456789abcdef"[rest[0]&15])
		case !strconv.IsPrint(r):
			quoted := strconv.AppendQuoteRune(escaped[:0], r)
			shown = quoted[1 : len(quoted)-1]
		}
		if n += utf8.RuneCount(shown); n > longestText {
			text = append(text, "…"...)
			break
		}
		text = append(text, shown...)
		rest = rest[size:]
	}
	return string(text)
}

// IsPrintable tells whether a text is fit for errors and logs, but for its length.
func IsPrintable(s string) bool {
	for i, r := range s {
		if !strconv.IsPrint(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return false
		}
	}
	return true
}
