package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A number is a flag for how many: 1000000, 1_000_000, 1M, 2.5k.
type number int64

func (n *number) String() string { return strconv.FormatInt(int64(*n), 10) }

func (n *number) Set(text string) error {
	v, err := parseScaled(text, map[string]float64{"": 1, "k": 1e3, "m": 1e6, "g": 1e9})
	if err != nil {
		return errors.New("not a number such as 500, 10k or 1M")
	}
	*n = number(v)
	return nil
}

// A size is a flag for how many bytes: 100, 1KB (1000), 1KiB (1024), 2MB.
type size int64

func (s *size) String() string { return strconv.FormatInt(int64(*s), 10) }

func (s *size) Set(text string) error {
	v, err := parseScaled(text, map[string]float64{
		"": 1, "b": 1, "k": 1e3, "kb": 1e3, "kib": 1 << 10, "m": 1e6, "mb": 1e6, "mib": 1 << 20, "g": 1e9, "gb": 1e9, "gib": 1 << 30,
	})
	if err != nil {
		return errors.New("not a number of bytes such as 100, 1KB or 2MiB")
	}
	*s = size(v)
	return nil
}

// A rate is a flag for how many a second, which may be a fraction: 0.5, 1000, 10k.
type rate float64

func (r *rate) String() string { return strconv.FormatFloat(float64(*r), 'g', -1, 64) }

func (r *rate) Set(text string) error {
	if v, err := strconv.ParseFloat(text, 64); err == nil {
		*r = rate(v)
		return nil
	}
	var n number
	err := n.Set(text)
	*r = rate(n)
	return err
}

// parseScaled parses a number and its unit, whose case does not matter.
func parseScaled(text string, units map[string]float64) (int64, error) {
	text = strings.ReplaceAll(strings.TrimSpace(text), "_", "")
	at := strings.LastIndexAny(text, "0123456789.") + 1
	unit, known := units[strings.ToLower(strings.TrimSpace(text[at:]))]
	if !known || strings.Trim(text[:at], "-0123456789.") != "" {
		return 0, errors.New("an unknown unit")
	}
	if whole, err := strconv.ParseInt(text[:at], 10, 64); err == nil && unit == 1 {
		return whole, nil
	}
	v, err := strconv.ParseFloat(text[:at], 64)
	v *= unit
	if err != nil || math.IsNaN(v) || math.Abs(v) >= math.MaxInt64 || v != math.Trunc(v) {
		return 0, cmp.Or(err, errors.New("not a whole number"))
	}
	return int64(v), nil
}

// plural is "1 message", "2 messages".
func plural[N int | int32 | int64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
