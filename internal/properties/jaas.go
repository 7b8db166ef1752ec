package properties

import (
	"fmt"
	"strings"
)

// A loginModule is what sasl.jaas.config has: a class, a flag, and options.
//
//	org.apache.kafka.common.security.plain.PlainLoginModule required username="alice" password="a \"quoted\" word";
type loginModule struct {
	class   string
	options map[string]string
}

// jaasError never has the text, which holds passwords.
func jaasError(at int, what string) error {
	return fmt.Errorf("at character %d: %s", at+1, what)
}

// parseJAAS reads the value of sasl.jaas.config as Java does: one module, names and values in quotes with Java's escapes where
// they need them, comments of // and /* */. Values without quotes go up to a space or the semicolon, so they may be paths,
// which Java does not take. An option that comes twice is an error, and so is one right behind a quote; Java takes both.
func parseJAAS(text string) (*loginModule, error) {
	l := &jaasLexer{text: text}
	class, err := l.word("the class of a login module")
	if err != nil {
		return nil, err
	}
	flag, err := l.word("required, requisite, sufficient or optional")
	if err != nil {
		return nil, err
	}
	switch strings.ToLower(flag) {
	case "required", "requisite", "sufficient", "optional":
	default:
		return nil, jaasError(l.start, "after the class must come required, requisite, sufficient or optional")
	}
	m := &loginModule{class: class, options: map[string]string{}}
	for {
		if l.skip(); l.at == len(text) {
			return nil, jaasError(l.at, "the semicolon at the end is missing")
		}
		if text[l.at] == ';' {
			l.at++
			break
		}
		name, err := l.word("the name of an option")
		if err != nil {
			return nil, err
		}
		if l.skip(); l.at == len(text) || text[l.at] != '=' {
			return nil, jaasError(l.at, "an option has no value: '=' is missing")
		}
		l.at++
		l.skip()
		value, err := l.value()
		if err != nil {
			return nil, err
		}
		if _, twice := m.options[name]; twice {
			return nil, jaasError(l.start, "an option has two values")
		}
		if next := l.at; next < len(text) && text[next] > ' ' && text[next] != ';' && text[next] != '/' {
			// A quote in a password without a backslash, as a rule: what follows is no name, which an error might show.
			return nil, jaasError(next, "a space or a semicolon must come after a value in quotes (a quote in it is written as \\\")")
		}
		m.options[name] = value
	}
	if l.skip(); l.at < len(text) {
		return nil, jaasError(l.at, "there is more after the semicolon: Kafka takes one login module")
	}
	return m, nil
}

type jaasLexer struct {
	text  string
	at    int
	start int // of the last token
}

// skip passes over spaces and comments.
func (l *jaasLexer) skip() {
	for l.at < len(l.text) {
		rest := l.text[l.at:]
		switch {
		case rest[0] <= ' ':
			l.at++
		case strings.HasPrefix(rest, "//"):
			if end := strings.IndexAny(rest, "\r\n"); end >= 0 {
				l.at += end
			} else {
				l.at = len(l.text)
			}
		case strings.HasPrefix(rest, "/*"):
			if end := strings.Index(rest[2:], "*/"); end >= 0 {
				l.at += end + 4
			} else {
				l.at = len(l.text)
			}
		default:
			return
		}
	}
}

// word is a class, a flag or a name.
func (l *jaasLexer) word(what string) (string, error) {
	l.skip()
	l.start = l.at
	if l.at < len(l.text) && (l.text[l.at] == '"' || l.text[l.at] == '\'') {
		return l.quoted()
	}
	end := strings.IndexFunc(l.text[l.at:], func(r rune) bool { return r <= ' ' || strings.ContainsRune(`=;"'`, r) })
	if end < 0 {
		end = len(l.text) - l.at
	}
	if end == 0 {
		return "", jaasError(l.at, what+" is missing")
	}
	l.at += end
	return l.text[l.start:l.at], nil
}

func (l *jaasLexer) value() (string, error) {
	l.start = l.at
	if l.at < len(l.text) && (l.text[l.at] == '"' || l.text[l.at] == '\'') {
		return l.quoted()
	}
	end := strings.IndexFunc(l.text[l.at:], func(r rune) bool { return r <= ' ' || r == ';' })
	if end < 0 {
		end = len(l.text) - l.at
	}
	if end == 0 {
		return "", jaasError(l.at, "the value is missing; an empty one is written as \"\"")
	}
	l.at += end
	return l.text[l.start:l.at], nil
}

// quoted reads a text in quotes, with the escapes of java.io.StreamTokenizer.
func (l *jaasLexer) quoted() (string, error) {
	var out strings.Builder
	quote := l.text[l.at]
	for i := l.at + 1; i < len(l.text); i++ {
		c := l.text[i]
		switch {
		case c == quote:
			l.at = i + 1
			return out.String(), nil
		case c == '\n' || c == '\r':
			return "", jaasError(l.start, "a quoted text does not end in its line")
		case c != '\\':
			out.WriteByte(c)
			continue
		}
		if i++; i == len(l.text) {
			break
		}
		if c = l.text[i]; c >= '0' && c <= '7' {
			n, most := rune(0), 2
			if c <= '3' {
				most = 3
			}
			for most > 0 && i < len(l.text) && l.text[i] >= '0' && l.text[i] <= '7' {
				n, i, most = n*8+rune(l.text[i]-'0'), i+1, most-1
			}
			out.WriteRune(n)
			i--
			continue
		}
		if j := strings.IndexByte("abfnrtv", c); j >= 0 {
			c = "\a\b\f\n\r\t\v"[j]
		}
		out.WriteByte(c)
	}
	return "", jaasError(l.start, "a quoted text has no end")
}

// take returns an option and removes it, so that what is left over was not understood.
func (m *loginModule) take(name string) string {
	value := m.options[name]
	delete(m.options, name)
	return value
}
