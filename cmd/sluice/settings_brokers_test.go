package main

import (
	"slices"
	"testing"
)

// The brokers may be in a file or among the settings, in either spelling. A flag wins, and the environment comes last.
func TestBrokersOfSettings(t *testing.T) {
	file := writeFile(t, "bootstrap.servers=file:1\nlinger.ms=7\n")
	t.Setenv(brokersVariable, "env:1")
	for want, args := range map[string][]string{
		"flag:1":   {"-b", "flag:1", "-F", file},
		"file:1":   {"-F", file},
		"config:1": {"-F", file, "-X", "bootstrap.servers=config:1"},
		"list:1":   {"-X", "metadata.broker.list=list:1"},
		"env:1":    {},
	} {
		f, err := parseProduce(append([]string{"-t", "t"}, args...), nil)
		if err != nil {
			t.Errorf("%v: %v", args, err)
			continue
		}
		if addrs, err := f.addrs(); err != nil || !slices.Equal(addrs, []string{want}) {
			t.Errorf("%v: %v, %v, want %s", args, addrs, err, want)
		}
	}
	args, err := fromKcat([]string{"-P", "-F", file, "-t", "t"})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := parseProduce(args[1:], nil); err != nil || f.brokers != "file:1" {
		t.Errorf("%v, %+v", err, f)
	}
}
