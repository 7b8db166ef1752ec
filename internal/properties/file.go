package properties

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ReadFile reads a .properties file, as Java's clients and Kafka's own tools have them.
func ReadFile(path string) (map[string]string, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	values, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return values, nil
}

// ReadKcatFile reads a configuration file of kcat: name=value in each line, without escapes.
func ReadKcatFile(path string) (map[string]string, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("%s: line %d is not of the form name=value", path, number)
		}
		values[name] = strings.TrimSpace(value)
	}
	return values, nil
}

// Parse reads the format of java.util.Properties: comments of # and !, names up to =, : or a space, a backslash at the end of a line
// that goes on, and the escapes \t \n \r \f \uXXXX. Bytes are UTF-8, as in Kafka's tools; where they are none, ISO 8859-1, as in
// Java. A name that comes twice is an error, and an error never has a value.
func Parse(data []byte) (map[string]string, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	text := string(data)
	if !utf8.ValidString(text) {
		runes := make([]rune, len(data))
		for i, b := range data {
			runes[i] = rune(b)
		}
		text = string(runes)
	}
	values := map[string]string{}
	lines := splitLines(text)
	for i := 0; i < len(lines); i++ {
		first := i + 1
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for goesOn(line) {
			line = line[:len(line)-1]
			if i++; i == len(lines) {
				break
			}
			line += strings.TrimLeft(lines[i], " \t\f")
		}
		rawName, rawValue := cutProperty(line)
		name, err := unescape(rawName)
		if err != nil {
			return nil, fmt.Errorf("line %d: the name: %w", first, err)
		}
		value, err := unescape(rawValue)
		if err != nil {
			return nil, fmt.Errorf("line %d: the value of %s: %w", first, name, err)
		}
		if name == "" {
			return nil, fmt.Errorf("line %d has no name", first)
		}
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("line %d: %s has a value already", first, name)
		}
		values[name] = value
	}
	return values, nil
}

func splitLines(text string) []string {
	return strings.Split(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n")
}

// goesOn: an odd number of backslashes ends the line.
func goesOn(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

// cutProperty finds the end of the name: the first =, : or space without a backslash before it.
func cutProperty(line string) (name, value string) {
	at := 0
	for at < len(line) && !strings.ContainsRune("=: \t\f", rune(line[at])) {
		if line[at] == '\\' {
			at++
		}
		at++
	}
	at = min(at, len(line))
	value = strings.TrimLeft(line[at:], " \t\f")
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], " \t\f")
	}
	return line[:at], value
}

func unescape(text string) (string, error) {
	if !strings.Contains(text, `\`) {
		return text, nil
	}
	var out strings.Builder
	high := rune(0) // of a pair in UTF-16
	flush := func() {
		if high != 0 {
			out.WriteRune(utf8.RuneError)
			high = 0
		}
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\\' || i+1 == len(text) {
			flush()
			if c != '\\' {
				out.WriteByte(c)
			}
			continue
		}
		i++
		if c = text[i]; c != 'u' {
			flush()
			if j := strings.IndexByte("tnrf", c); j >= 0 {
				c = "\t\n\r\f"[j]
			}
			out.WriteByte(c)
			continue
		}
		r, ok := hex4(text[i+1:])
		if !ok {
			return "", errors.New(`\u wants four hexadecimal digits`)
		}
		i += 4
		switch {
		case high != 0 && utf16.DecodeRune(high, r) != utf8.RuneError:
			out.WriteRune(utf16.DecodeRune(high, r))
			high = 0
		case utf16.IsSurrogate(r) && r < 0xdc00:
			flush()
			high = r
		default:
			flush()
			out.WriteRune(r)
		}
	}
	flush()
	return out.String(), nil
}

func hex4(text string) (r rune, ok bool) {
	if len(text) < 4 {
		return 0, false
	}
	for i := range 4 {
		d := strings.IndexByte("0123456789abcdef", text[i]|0x20)
		if text[i] < '0' || d < 0 {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}
