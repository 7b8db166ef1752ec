package main

import (
	"errors"
	"testing"
)

func TestErrorsAreReadable(t *testing.T) {
	for text, want := range map[string]string{
		"sluice: kafka: client has run out of available brokers to talk to: seed broker h:1: connecting to broker h:1: dial tcp: lookup h on 10.2.3.4:53: no such host": "h:1: no such host",
		"sluice: connecting to broker localhost:1: dial tcp 127.0.0.1:1: connect: connection refused":                                                                   "localhost:1: connection refused",
		"connecting to broker [::1]:1: dial tcp [::1]:1: connect: connection refused":                                                                                   "[::1]:1: connection refused",
		"kafka: client has run out of available brokers to talk to: dial tcp 127.0.0.1:1: connect: connection refused":                                                  "127.0.0.1:1: connection refused",
		"broker h:1: read tcp 127.0.0.1:40000->127.0.0.1:1: read: connection reset by peer":                                                                             "broker h:1: connection reset by peer",
		"broker h:1: read tcp 127.0.0.1:40000->127.0.0.1:1: i/o timeout":                                                                                                "broker h:1: no answer in time",
		"broker 2 (h:1): connecting to broker h:1: dial tcp 127.0.0.1:1: connect: connection refused":                                                                   "broker 2 (h:1): connection refused",
		"unable to dial: dial tcp: lookup kafka on 10.2.3.4:53: no such host":                                                                                           "kafka: no such host",
		"unable to dial: dial tcp 127.0.0.1:1: connect: connection refused":                                                                                             "127.0.0.1:1: connection refused",
		"sluice: TLS handshake with broker h:1: tls: failed to verify certificate: x509: certificate signed by unknown authority":                                       "h:1: TLS handshake: the broker's certificate is not good: certificate signed by unknown authority",
		"asking broker h:1 for its versions: malformed answer: the broker speaks TLS at this port, and Net.TLS.Enable is off: unexpected EOF":                           "h:1: the broker speaks TLS at this port: security.protocol must be SSL or SASL_SSL",
		"TLS handshake with broker h:1: it closed the connection, maybe this port has no TLS: EOF":                                                                      "h:1: the broker closed the connection at the TLS handshake; maybe this port has no TLS",
		"stat a.txt: no such file or directory":                                                                                                                         "a.txt: no such file or directory",
		"h:1: EOF":                                                                                                                                                      "h:1: the broker closed the connection",
		"a\nb\na":                                                                                                                                                       "a; b",
		`sluice: topic "t" partition 3: kafka server: In the middle of a leadership election`:                                                                           `topic "t" partition 3: In the middle of a leadership election`,
	} {
		if got := readable(errors.New(text)); got != want {
			t.Errorf("%q:\n%q, want\n%q", text, got, want)
		}
	}
}
