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
	if len(s) <= longestText && isPrintable(s) {
		return s
	}
	var text strings.Builder
	n := 0 // characters in text
	for rest := s; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		shown := rest[:size]
		if r == utf8.RuneError && size == 1 || !strconv.IsPrint(r) {
			shown = strings.Trim(strconv.Quote(shown), `"`)
		}
		if n += utf8.RuneCountInString(shown); n > longestText {
			text.WriteString("…")
			break
		}
		text.WriteString(shown)
		rest = rest[size:]
	}
	return text.String()
}

func isPrintable(s string) bool {
	for i, r := range s {
		if !strconv.IsPrint(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return false
		}
	}
	return true
}
