package main

import (
	"errors"
	"testing"

	"github.com/sluice-kafka/sluice"
)

func TestWaitsAreReadable(t *testing.T) {
	for what, line := range map[string]struct{ err, want string }{
		"dialling broker a:1":                {"", "connecting to a:1"},
		"dialling broker 2 (a:1)":            {"connecting to broker a:1: dial tcp: lookup a: no such host", "connecting to broker 2 (a:1): no such host"},
		"asking broker a:1 for its versions": {"", "connected to a:1, waiting for its first answer"},
		"waiting for broker 2 (a:1)":         {"broker 2 (a:1): connecting to broker a:1: dial tcp 127.0.0.1:1: connect: connection refused", "waiting for broker 2 (a:1): connection refused"},
		"waiting for the leader of t/3":      {"no leader: kafka server: In the middle of an election", "waiting for the leader of t/3: no leader: In the middle of an election"},
	} {
		wait := sluice.Wait{What: what}
		if line.err != "" {
			wait.Err = errors.New(line.err)
		}
		if got := waitText(wait); got != line.want {
			t.Errorf("%q, want %q", got, line.want)
		}
	}
}
