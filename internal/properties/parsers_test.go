package properties

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseJAAS(t *testing.T) {
	for _, test := range []struct {
		text    string
		class   string
		options map[string]string
		err     string
	}{
		{`a.B required;`, "a.B", map[string]string{}, ""},
		{`a.B REQUIRED x=1 y="2" z='3 ;' ;`, "a.B", map[string]string{"x": "1", "y": "2", "z": "3 ;"}, ""},
		{"a.B required\n  username=\"alice\"\n  password=\"a\\\"b\\\\c\\td\\101\\u\";", "a.B", map[string]string{"username": "alice", "password": "a\"b\\c\tdAu"}, ""},
		{`a.B required k="\0\3771";`, "a.B", map[string]string{"k": "\x00ÿ1"}, ""},
		{`a.B required /* x=y; */ k=v; // the end`, "a.B", map[string]string{"k": "v"}, ""},
		{`a.B required keyTab=/etc/krb5.keytab principal=a/b@C;`, "a.B", map[string]string{"keyTab": "/etc/krb5.keytab", "principal": "a/b@C"}, ""},
		{`a.B required k = v ;`, "a.B", map[string]string{"k": "v"}, ""},
		{`a.B required k="";`, "a.B", map[string]string{"k": ""}, ""},
		{`a.B required k="é";`, "a.B", map[string]string{"k": "é"}, ""},
		{`a.B required "k"=v;`, "a.B", map[string]string{"k": "v"}, ""},
		{``, "", nil, "class of a login module is missing"},
		{`a.B`, "", nil, "sufficient or optional is missing"},
		{`a.B always;`, "", nil, "after the class"},
		{`a.B required k=v`, "", nil, "semicolon"},
		{`a.B required k`, "", nil, "'=' is missing"},
		{`a.B required k=;`, "", nil, "value is missing"},
		{`a.B required k="v`, "", nil, "no end"},
		{`a.B required k="v\`, "", nil, "no end"},
		{"a.B required k=\"v\nw\";", "", nil, "does not end in its line"},
		{`a.B required =v;`, "", nil, "name of an option is missing"},
		{`a.B required k=v k=w;`, "", nil, "two values"},
		{`a.B required k="secret"part=x;`, "", nil, "at character 24: a space or a semicolon must come after"},
		{`a.B required; c.D required;`, "", nil, "one login module"},
		{`a.B required /* ;`, "", nil, "semicolon"},
	} {
		m, err := parseJAAS(test.text)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v, want %q", test.text, err, test.err)
			}
			continue
		}
		if err != nil || m.class != test.class || !maps.Equal(m.options, test.options) {
			t.Errorf("%s: %v, %v", test.text, m, err)
		}
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		text string
		want map[string]string
		err  string
	}{
		{"", map[string]string{}, ""},
		{"# a\n! b\n\n  \t\n", map[string]string{}, ""},
		{"a=1\nb:2\nc 3\nd\te", map[string]string{"a": "1", "b": "2", "c": "3", "d": "e"}, ""},
		{"  a = 1 \r\nb=\rc", map[string]string{"a": "1 ", "b": "", "c": ""}, ""},
		{"a = = b", map[string]string{"a": "= b"}, ""},
		{`a\=b\:c\ d=e`, map[string]string{"a=b:c d": "e"}, ""},
		{"a=1,\\\n   2,\\\n\t3", map[string]string{"a": "1,2,3"}, ""},
		{"a=b\\\\\nc=d", map[string]string{"a": `b\`, "c": "d"}, ""},
		{"a=b\\", map[string]string{"a": "b"}, ""},
		{"a=b\\\n#c", map[string]string{"a": "b#c"}, ""},
		{`a=\t\n\r\f\u0041\q\u00e9`, map[string]string{"a": "\t\n\r\fAqé"}, ""},
		{`a=\ud83d\ude00 \ud83dx \ude00`, map[string]string{"a": "😀 \ufffdx \ufffd"}, ""},
		{"a=é", map[string]string{"a": "é"}, ""},
		{"a=\xe9", map[string]string{"a": "é"}, ""},
		{"\xef\xbb\xbfa=1", map[string]string{"a": "1"}, ""},
		{`sasl.jaas.config=x required \` + "\n" + `  password="a\\"b";`, map[string]string{"sasl.jaas.config": `x required password="a\"b";`}, ""},
		{`a=\u12`, nil, "line 1: the value of a: \\u wants four"},
		{"\n\\u12=b", nil, "line 2: the name"},
		{"=b", nil, "line 1 has no name"},
		{"a=1\nb=2\na=3", nil, "line 3: a has a value already"},
	} {
		got, err := Parse([]byte(test.text))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q: %v, want %q", test.text, err, test.err)
			}
			continue
		}
		if err != nil || !maps.Equal(got, test.want) {
			t.Errorf("%q: %q, %v", test.text, got, err)
		}
	}
}

func TestReadKcatFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kcat.conf")
	if err := os.WriteFile(path, []byte("# comment\n\n a = b\\n \r\nsasl.password=x=y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadKcatFile(path)
	if err != nil || !maps.Equal(got, map[string]string{"a": `b\n`, "sasl.password": "x=y"}) {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("a=b\nsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKcatFile(path); err == nil || !strings.HasSuffix(err.Error(), "line 2 is not of the form name=value") {
		t.Error(err)
	}
	if _, err := ReadFile(path + "x"); err == nil {
		t.Error("a file that is not there was read")
	}
}

func FuzzParseJAAS(f *testing.F) {
	for _, text := range []string{"a.B required;", `a.B required k="\101\"" l='x' // c`, "a/*b*/ optional k=v;", `a b c="\`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseJAAS(text)
		if (m == nil) == (err == nil) || m != nil && (m.class == "" && !strings.ContainsAny(text, `"'`)) {
			t.Errorf("%v, %v", m, err)
		}
		if m == nil {
			return
		}
		// What was read can be written, and is read as the same.
		var again strings.Builder
		again.WriteString(quotedJAAS(m.class) + " required")
		for name, value := range m.options {
			again.WriteString(" " + quotedJAAS(name) + "=" + quotedJAAS(value))
		}
		again.WriteString(";")
		back, err := parseJAAS(again.String())
		if err != nil || back.class != m.class || !maps.Equal(back.options, m.options) {
			t.Errorf("%s: %v, %v", again.String(), back, err)
		}
	})
}

func quotedJAAS(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(text) + `"`
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"a=1\nb:2", "a\\\n b", `\u0041=\ud83d\ude00`, "# x\n!y\n\\", "a=\xff"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := Parse(data)
		if err != nil {
			return
		}
		var again strings.Builder
		for name, value := range values {
			again.WriteString(escaped(name) + "=" + escaped(value) + "\n")
		}
		back, err := Parse([]byte(again.String()))
		if err != nil || !maps.Equal(values, back) {
			t.Errorf("%q: %q, %q, %v", again.String(), values, back, err)
		}
	})
}

func escaped(text string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\f", `\f`, " ", `\ `, "=", `\=`, ":", `\:`, "#", `\#`, "!", `\!`,
		"\ufeff", `\ufeff`).Replace(text)
}
