package properties

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// SetPath gives a field of sarama.Config a value, by its dotted path such as Producer.Flush.Frequency, or one of Options, by
// its name such as BufferMemory. Case does not matter. This is for command lines; durations are Go's here, such as 5ms.
func (s *Settings) SetPath(path, value string) error {
	canonical, field, err := s.Find(path)
	if err != nil {
		return err
	}
	parse := s.parserOf(field.Type())
	if parse == nil {
		return fmt.Errorf("its type, %v, has no values on a command line", field.Type())
	}
	v, err := parse(value)
	if err != nil {
		return err
	}
	return s.assign(canonical, v)
}

// Find resolves a path to its canonical spelling and the place that its value goes to.
func (s *Settings) Find(path string) (canonical string, field reflect.Value, err error) {
	options := reflect.ValueOf(&s.Options).Elem()
	for f, v := range options.Fields() {
		if strings.EqualFold(f.Name, path) {
			return f.Name, v, nil
		}
	}
	field = reflect.ValueOf(s.Conf).Elem()
	var names []string
	for part := range strings.SplitSeq(path, ".") {
		if field.Kind() != reflect.Struct || isValue(field.Type()) {
			return "", field, s.unknown(path)
		}
		f, ok := field.Type().FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, part) })
		if !ok || !f.IsExported() {
			return "", field, s.unknown(path)
		}
		names = append(names, f.Name)
		field = field.FieldByIndex(f.Index)
	}
	canonical = strings.Join(names, ".")
	if field.Kind() == reflect.Struct && !isValue(field.Type()) {
		var inner []string
		for _, n := range fieldNames(field.Type(), canonical+".") {
			inner = append(inner, strings.TrimPrefix(n, canonical+"."))
		}
		return "", field, fmt.Errorf("%s is a group of settings: %s", canonical, strings.Join(inner, ", "))
	}
	return canonical, field, nil
}

// assign puts a parsed value where a path leads.
func (s *Settings) assign(path string, value any) error {
	canonical, field, err := s.Find(path)
	if err != nil {
		return err
	}
	v := reflect.ValueOf(value)
	switch {
	case v.Type() == field.Type():
		field.Set(v)
	case v.CanInt() && field.CanInt():
		if field.OverflowInt(v.Int()) {
			return fmt.Errorf("\"%d\" is not a whole number that fits", v.Int())
		}
		field.SetInt(v.Int())
	case v.CanConvert(field.Type()) && v.Kind() == field.Kind():
		field.Set(v.Convert(field.Type()))
	default:
		return fmt.Errorf("a %v is no value for %s", v.Type(), canonical)
	}
	s.Given[canonical] = true
	return nil
}

// parserOf is the parser for the values of a field on a command line, nil if none can be written.
func (s *Settings) parserOf(t reflect.Type) parser {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return duration
	case reflect.TypeFor[sarama.RequiredAcks]():
		return acks
	case reflect.TypeFor[sarama.CompressionCodec]():
		return codec
	case reflect.TypeFor[sarama.KafkaVersion]():
		return version
	case reflect.TypeFor[sarama.PartitionerConstructor]():
		return func(text string) (any, error) { return oneOf(partitionersOfSarama(s.sticky), text) }
	}
	switch t.Kind() {
	case reflect.Bool:
		return boolean
	case reflect.String:
		return anyText
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return number
	}
	return nil
}

// isValue tells a struct that one value stands for from one that groups settings.
func isValue(t reflect.Type) bool { return t == reflect.TypeFor[sarama.KafkaVersion]() }

// fieldNames lists the dotted names below a struct that SetPath can set.
func fieldNames(t reflect.Type, prefix string) []string {
	var out []string
	for f := range t.Fields() {
		switch {
		case !f.IsExported():
		case f.Type.Kind() == reflect.Struct && !isValue(f.Type):
			out = append(out, fieldNames(f.Type, prefix+f.Name+".")...)
		case new(Settings).parserOf(f.Type) != nil:
			out = append(out, prefix+f.Name)
		}
	}
	return out
}
