package main

import (
	"flag"
	"fmt"
	"strings"
)

// kcatSpelling are the names that kcat has for our flags. Each is another name of the flag where a command has that flag.
var kcatSpelling = map[string]string{
	"b": "brokers",
	"t": "topic",
	"p": "partition",
	"k": "key",
	"K": "key-separator",
	"D": "delimiter",
	"H": "header",
	"z": "compression",
	"Z": "null-empty",
	"X": "config",
	"T": "tee",
	"c": "count",
	"l": "lines",
	"J": "json",
}

// registerSpellings adds kcat's names to a command's flags.
func registerSpellings(fs *flag.FlagSet) {
	for short, long := range kcatSpelling {
		if f := fs.Lookup(long); f != nil && fs.Lookup(short) == nil {
			fs.Var(f.Value, short, f.Usage)
		}
	}
}

// kcatOptions are kcat's options, as its getopt knows them: those that take a value are followed by a colon.
const kcatOptions = "PCLQG:t:p:b:z:o:eED:K:k:H:Od:qvF:X:c:Tuf:ZlVhs:r:JU:m:NM:"

// fromKcat turns a command line of kcat -P or -L into one of ours. What differs by default is spelled out: kcat sends a line
// without a key as it is, and a file as one message unless -l is given.
func fromKcat(args []string) ([]string, error) {
	command, lines := "produce", false
	var out, files []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			files = append(files, args...)
			break
		}
		if arg == "-" || !strings.HasPrefix(arg, "-") {
			files = append(files, arg)
			continue
		}
		for rest := arg[1:]; rest != ""; {
			option := rest[:1]
			rest = rest[1:]
			at := strings.Index(kcatOptions, option)
			if at < 0 || option == ":" {
				return nil, usagef("%s: there is no option -%s; without a command options are kcat's", arg, option)
			}
			value, takes := "", strings.HasPrefix(kcatOptions[at+1:], ":")
			if takes {
				if value, rest = rest, ""; value == "" {
					if len(args) == 0 {
						return nil, usagef("-%s needs a value", option)
					}
					value, args = args[0], args[1:]
				}
			}
			switch option {
			case "P":
			case "L":
				command = "list"
			case "C", "G", "Q":
				return nil, usagef("-%s: sluice writes only (-P) and lists (-L)", option)
			case "h":
				return []string{"help"}, nil
			case "V":
				return []string{"version"}, nil
			case "l":
				lines = true
			case "p":
				if value != "-1" {
					out = append(out, "-partition="+value)
				}
			case "m":
				out = append(out, "-connect-timeout="+value+"s")
			case "d":
				out = append(out, "-v")
			case "q", "u", "e", "E", "O", "o", "f", "s", "r", "U", "N", "M": // of no meaning when producing
			case "v":
				out = append(out, "-v")
			case "X":
				if value == "list" {
					return []string{"help", "config"}, nil
				}
				out = append(out, "-config="+value)
			case "F":
				out = append(out, "-F="+value)
			default:
				flag := "-" + kcatSpelling[option]
				if takes {
					flag += "=" + value
				}
				out = append(out, flag)
			}
		}
	}
	if command == "produce" {
		out = append(out, "-ignore-missing-key")
		if len(files) > 0 && !lines {
			out = append(out, "-whole-files")
		}
	}
	if command == "list" && len(files) > 0 {
		return nil, usagef("%q is one word too many", files[0])
	}
	out = append([]string{command}, out...)
	if len(files) > 0 {
		out = append(append(out, "--"), files...)
	}
	return out, nil
}

// unescape resolves what a shell can't write: \t, \n, \r, \0, \\ and \x01.
func unescape(text string) ([]byte, error) {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		i++
		if i == len(text) {
			return nil, fmt.Errorf("%q ends with a backslash; write \\\\ for one", text)
		}
		switch text[i] {
		case 't':
			out = append(out, '\t')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case '0':
			out = append(out, 0)
		case '\\':
			out = append(out, '\\')
		case 'x':
			var b byte
			if i+2 >= len(text) {
				return nil, fmt.Errorf("%q: \\x needs two hexadecimal digits", text)
			}
			if _, err := fmt.Sscanf(text[i+1:i+3], "%02x", &b); err != nil {
				return nil, fmt.Errorf("%q: \\x needs two hexadecimal digits", text)
			}
			out = append(out, b)
			i += 2
		default:
			return nil, fmt.Errorf("%q: there is no escape \\%c; \\t, \\n, \\r, \\0, \\\\ and \\x01 are there", text, text[i])
		}
	}
	return out, nil
}
