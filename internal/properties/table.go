package properties

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Setting is a row of the table.
type Setting struct {
	// Name is the Java client's, or librdkafka's if Java has no such setting.
	Name string
	// Also are other names of the same setting: librdkafka's, and older ones.
	Also []string
	// Of tells who has it.
	Of Client
	// Default holds here when it is not given, as a value of this setting.
	Default string
	// To is where the value goes: paths of sarama.Config, and options of the root package.
	To []string
	// Note says what differs, or why nothing is done with it.
	Note string
	Fate Fate
	// Secret values are never shown.
	Secret bool

	asIs  bool // spaces around the value count
	quiet bool // nothing is logged when it is ignored
	// check refuses values; set puts one where it goes. Without set the value is kept for Finish.
	check func(value string) error
	set   func(s *Settings, name, value string) error
}

// Client is a client of Kafka.
type Client string

// Whose a setting is.
const (
	Java       Client = "Java"
	Librdkafka Client = "librdkafka"
	Both       Client = "Java, librdkafka"
)

// Fate is what becomes of a setting.
type Fate string

// A setting that would break a promise if it were ignored is refused, unless its value asks for what holds anyway.
const (
	Sets    Fate = "sets"
	Ignored Fate = "ignored"
	Refused Fate = "refused"
)

// A Group is a part of the table with a title.
type Group struct {
	Title string
	Rows  []Setting
}

// Groups have every setting, Table the same in one list.
var (
	Groups []Group
	Table  []*Setting
)

func init() { // not initializers: rows refer to functions that refer to the table
	Groups = []Group{
		{"Producing", producing},
		{"Batches and memory", batching},
		{"Connections and metadata", connecting},
		{"TLS", tlsSettings},
		{"Logins", loginSettings},
		{"OAUTHBEARER", oauthSettings},
		{"Other settings", slices.Concat(withoutMeaning, refusedSettings, consumers())},
	}
	for _, g := range Groups {
		for i := range g.Rows {
			Table = append(Table, &g.Rows[i])
		}
	}
}

// Lookup finds a setting by any of its names, in any case; nil if there is none.
func Lookup(name string) *Setting { return byName()[strings.ToLower(name)] }

// byName has each setting by all its names.
var byName = sync.OnceValue(func() map[string]*Setting {
	all := map[string]*Setting{}
	for _, row := range Table {
		for _, name := range append([]string{row.Name}, row.Also...) {
			if all[name] != nil {
				panic("two settings of the name " + name)
			}
			all[name] = row
		}
	}
	return all
})

func (row *Setting) clean(value string) string {
	if row.asIs {
		return value
	}
	return strings.TrimSpace(value)
}

// into parses a value and puts it into each of the paths.
func into(parse parser, paths ...string) func(*Settings, string, string) error {
	return func(s *Settings, _, value string) error {
		v, err := parse(value)
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := s.assign(path, v); err != nil {
				return err
			}
		}
		return nil
	}
}

// parsed checks a value that is not put anywhere at once.
func parsed(parse parser) func(string) error {
	return func(value string) error {
		if value == "" {
			return nil
		}
		_, err := parse(value)
		return err
	}
}

// only refuses all values but these, which ask for what holds anyway, and the empty one.
func only(why string, harmless ...string) func(string) error {
	return func(value string) error {
		if value == "" || slices.ContainsFunc(harmless, func(h string) bool { return strings.EqualFold(h, value) }) {
			return nil
		}
		return errors.New(why)
	}
}

// words refuses what is not one of these.
func words(allowed ...string) func(string) error {
	return func(value string) error {
		if slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, value) }) {
			return nil
		}
		return fmt.Errorf("%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

// wordsOrNone also allows the empty value, which is Kafka's null.
func wordsOrNone(allowed ...string) func(string) error { return words(append(allowed, "")...) }
