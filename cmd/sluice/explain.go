package main

import (
	"crypto/x509"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/IBM/sarama"
)

// Errors as people read them: each cause once, without the names of Go's own functions.

// readableRules are applied in turn. What several layers say of one broker is said once.
var readableRules = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`sluice: |kafka server: |kafka: client has run out of available brokers to talk to: |kafka: `), ""},
	{regexp.MustCompile(`(?:seed broker \S+: |broker \d+ at \S+: )?connecting to broker (\S+): (?:dial tcp (?:\[?[0-9a-f.:]+\]?(?:%\w+)?:\d+: )?)?`), "$1: "},
	{regexp.MustCompile(`unable to dial: (?:dial tcp: )?lookup (\S+)(?: on \S+)?: no such host`), "$1: no such host"},
	{regexp.MustCompile(`unable to dial: `), ""},
	{regexp.MustCompile(`(?:dial tcp: )?lookup \S+(?: on \S+)?: no such host`), "no such host"},
	{regexp.MustCompile(`(?:dial tcp: )?lookup (\S+)(?: on \S+)?: `), "looking up $1: "},
	{regexp.MustCompile(`dial tcp(?:: address)? (\S+): `), "$1: "},
	{regexp.MustCompile(`dial tcp: `), ""},
	{regexp.MustCompile(`(?:read|write) tcp(?: \S+->\S+)?: `), ""},
	{regexp.MustCompile(`\b(?:connect|read|write|i/o): (connection|broken|no route|network|operation)`), "$1"},
	{regexp.MustCompile(`i/o timeout`), "no answer in time"},
	{regexp.MustCompile(`Metadata\.Timeout \((\S+)\) is over: context deadline exceeded`), "no answer within $1"},
	{regexp.MustCompile(`context canceled: `), ""},
	{regexp.MustCompile(`context deadline exceeded`), "no answer in time"},
	{regexp.MustCompile(`closed the connection: (?:unexpected )?EOF\b`), "closed the connection"},
	{regexp.MustCompile(`: EOF\b`), ": the broker closed the connection"},
	{regexp.MustCompile(`asking broker (\S+) for its versions: malformed answer: the broker speaks TLS at this port, and Net\.TLS\.Enable is off(?:: (?:unexpected EOF|the broker closed the connection))?`),
		"$1: the broker speaks TLS at this port: security.protocol must be SSL or SASL_SSL"},
	{regexp.MustCompile(`TLS handshake with broker (\S+): it closed the connection, maybe this port has no TLS(?:: the broker closed the connection)?`),
		"$1: the broker closed the connection at the TLS handshake; maybe this port has no TLS"},
	{regexp.MustCompile(`, and Net\.TLS\.Enable is on(?:: tls: [^;]*)?`), ", and security.protocol asks for it"},
	{regexp.MustCompile(`TLS handshake with broker (\S+): (?:tls: )?`), "$1: TLS handshake: "},
	{regexp.MustCompile(`(?:tls: )?failed to verify certificate: x509: `), "the broker's certificate is not good: "},
	{regexp.MustCompile(`Message was too large, server rejected it to avoid allocation error: (\d+ bytes, at most)`), "the message is too large: $1"},
	{regexp.MustCompile(`Message was too large, server rejected it to avoid allocation error: invalid configuration \(Attempt to produce message larger than configured Producer\.MaxMessageBytes: (\d+) > (\d+)\)`),
		"it is too large: $1 bytes, at most $2 fit in a message"},
	{goNames, "$1: $2"},
}

// goNames are the functions that Go names in errors of files.
var goNames = regexp.MustCompile(`\b(?:open|stat|lstat|read) (\S+): (no such file|permission denied|is a directory|not a directory)`)

// namedTwice finds "broker 2 (b:9092): b:9092: ".
var namedTwice = regexp.MustCompile(`(broker \d+ \((\S+)\): )(\S+): `)

// readable is an error's text for people.
func readable(err error) string {
	if err == nil {
		return ""
	}
	return readableText(err.Error())
}

func readableText(text string) string {
	text = oneLine(text)
	for _, r := range readableRules {
		text = r.pattern.ReplaceAllString(text, r.text)
	}
	text = namedTwice.ReplaceAllStringFunc(text, func(found string) string {
		parts := namedTwice.FindStringSubmatch(found)
		if parts[2] != parts[3] {
			return found
		}
		return parts[1]
	})
	var parts []string
	for part := range strings.SplitSeq(text, "; ") {
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "; ")
}

// advice is what to do about an error, or "".
func advice(err error) string {
	switch {
	case errors.Is(err, sarama.ErrMessageSizeTooLarge):
		return "the limits are max.request.size here (Producer.MaxMessageBytes), message.max.bytes at the broker, max.message.bytes at the topic"
	case unknownAuthority(err):
		return "ssl.ca.location or ssl.truststore.location names a file with its authority"
	case errors.Is(err, sarama.ErrTopicAuthorizationFailed):
		return "this user has no right to write to the topic"
	case errors.Is(err, sarama.ErrClusterAuthorizationFailed):
		return "this user has no right to write with idempotence; -idempotent=false goes without"
	}
	return ""
}

func unknownAuthority(err error) bool {
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

// explained is an error's text with the advice.
func explained(err error) string {
	text := readable(err)
	if hint := advice(err); hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

// everyLineFails tells whether what failed one message fails all that follow: then reading on is of no use.
func everyLineFails(err error) bool {
	for _, final := range []error{
		sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed, sarama.ErrTransactionalIDAuthorizationFailed,
		sarama.ErrSASLAuthenticationFailed, sarama.ErrInvalidTopic, sarama.ErrUnsupportedForMessageFormat, sarama.ErrInvalidRequiredAcks,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}
