package properties

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// A parser turns a value, as Kafka writes it, into what a field takes: a time.Duration, an int64, a bool, a string or a
// type of sarama's. Its errors quote the value, so it is never used for a secret.
type parser func(text string) (any, error)

// millis are whole milliseconds.
func millis(text string) (any, error) {
	n, err := digits(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a whole number of milliseconds", text)
	}
	return scaled(n, int64(time.Millisecond), text, func(n int64) any { return time.Duration(n) })
}

// fraction are milliseconds that may have decimals, as librdkafka's linger.ms.
func fraction(text string) (any, error) {
	if _, err := digits(text); err == nil {
		return millis(text)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1e12 || strings.Trim(text, "0123456789.") != "" {
		return nil, fmt.Errorf("%q is not a whole number of milliseconds, or one with decimals", text)
	}
	return time.Duration(f * float64(time.Millisecond)), nil
}

// number are whole numbers.
func number(text string) (any, error) {
	n, err := digits(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a whole number that fits", text)
	}
	return n, nil
}

// between are whole numbers of a range.
func between(least, most int64) parser {
	return func(text string) (any, error) {
		n, err := digits(text)
		if err != nil || n < least || n > most {
			return nil, fmt.Errorf("%q is not a whole number from %d to %d", text, least, most)
		}
		return n, nil
	}
}

// from refuses what is below least: milliseconds for a duration.
func from(least int64, p parser) parser {
	return func(text string) (any, error) {
		v, err := p(text)
		if err != nil {
			return nil, err
		}
		d, isTime := v.(time.Duration)
		n, isNumber := v.(int64)
		if isTime && d < time.Duration(least)*time.Millisecond || isNumber && n < least {
			return nil, fmt.Errorf("%q is below %d", text, least)
		}
		return v, nil
	}
}

// kbytes are bytes, told in units of 1,024.
func kbytes(text string) (any, error) {
	n, err := digits(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a whole number of units of 1,024 bytes", text)
	}
	return scaled(n, 1024, text, func(n int64) any { return n })
}

func scaled(n, unit int64, text string, as func(int64) any) (any, error) {
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return nil, fmt.Errorf("%q is too large", text)
	}
	return as(n * unit), nil
}

func digits(text string) (int64, error) {
	if strings.HasPrefix(text, "+") {
		return 0, errors.New("a sign that Kafka does not take")
	}
	return strconv.ParseInt(text, 10, 64)
}

// boolean are true and false, in any case, and librdkafka's other words for them.
func boolean(text string) (any, error) {
	switch strings.ToLower(text) {
	case "true", "t", "1":
		return true, nil
	case "false", "f", "0":
		return false, nil
	}
	return nil, fmt.Errorf("%q is not true or false", text)
}

// not turns a boolean round.
func not(p parser) parser {
	return func(text string) (any, error) {
		v, err := p(text)
		if err != nil {
			return nil, err
		}
		return !v.(bool), nil
	}
}

func anyText(text string) (any, error) { return text, nil }

const defaultLevel = sarama.CompressionLevelDefault

func duration(text string) (any, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a duration such as 5ms, 1.5s or 2m", text)
	}
	return d, nil
}

func acks(text string) (any, error) {
	switch strings.ToLower(text) {
	case "none", "0", "noresponse":
		return sarama.NoResponse, nil
	case "leader", "1", "waitforlocal":
		return sarama.WaitForLocal, nil
	case "all", "-1", "waitforall":
		return sarama.WaitForAll, nil
	}
	return nil, fmt.Errorf("%q is not one of none, leader, all (0, 1, -1)", text)
}

func codec(text string) (any, error) {
	var c sarama.CompressionCodec
	if text == "" || c.UnmarshalText([]byte(strings.ToLower(text))) != nil {
		return nil, fmt.Errorf("%q is not one of none, gzip, snappy, lz4, zstd", text)
	}
	return c, nil
}

func version(text string) (any, error) {
	v, err := sarama.ParseKafkaVersion(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a Kafka version such as 3.6.0", text)
	}
	return v, nil
}

// oldVersion takes librdkafka's names of versions before 1.0 too, such as 0.10.2, which are 0.10.2.0 for sarama.
func oldVersion(text string) (any, error) {
	if strings.HasPrefix(text, "0.") && strings.Count(text, ".") == 2 {
		if v, err := version(text + ".0"); err == nil {
			return v, nil
		}
	}
	return version(text)
}

// oneOf are the keys of a map, in any case.
func oneOf[V any](values map[string]V, text string) (V, error) {
	for key, v := range values {
		if strings.EqualFold(key, text) {
			return v, nil
		}
	}
	var none V
	return none, fmt.Errorf("%q is not one of %s", text, strings.Join(slices.Sorted(maps.Keys(values)), ", "))
}

// list splits at commas, as Kafka does. Nothing is left of the spaces around an element, and of empty ones.
func list(text string) (out []string) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
