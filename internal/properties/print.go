package properties

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Field of sarama.Config, and why no setting leads to it.
type Field struct{ Path, Why string }

// Unreachable are the fields of sarama.Config that no setting of Kafka's leads to, but for those of Admin and Consumer.
var Unreachable = []Field{
	{"Net.ResolveCanonicalBootstrapServers", "Addresses are dialled as they are given."},
	{"Net.SASL.Version", "Version 1, unless a program or the command line sets it."},
	{"Net.SASL.Handshake", "Kafka always has it."},
	{"Net.SASL.AuthIdentity", "Kafka's clients do not send one."},
	{"Net.SASL.SCRAMAuthzID", "Kafka's clients do not send one."},
	{"Net.SASL.SCRAMClientGeneratorFunc", "Set where sasl.mechanism is SCRAM-SHA-256 or SCRAM-SHA-512."},
	{"Net.SASL.GSSAPI.AuthType", "A keytab if there is one, else the tickets of kinit."},
	{"Net.SASL.GSSAPI.CCachePath", "KRB5CCNAME of the environment, or ticketCache in sasl.jaas.config."},
	{"Net.SASL.GSSAPI.Password", "Kafka's clients log in with a keytab or a ticket."},
	{"Net.SASL.GSSAPI.DisablePAFXFAST", "It is about Sarama's Kerberos client."},
	{"Net.SASL.GSSAPI.BuildSpn", "A function."},
	{"Net.LocalAddr", "Kafka has no such setting."},
	{"Net.Proxy.Enable", "Set where broker.address.family is; Kafka knows no proxy."},
	{"Metadata.Retry.Max", "Only the delivery timeout ends look-ups."},
	{"Metadata.Retry.Backoff", "Look-ups of topics are paced by Producer.Retry.Backoff."},
	{"Metadata.Retry.BackoffFunc", "A function."},
	{"Metadata.Timeout", "Kafka has no such setting."},
	{"Metadata.SingleFlight", "Look-ups are always shared."},
	{"Producer.Transaction.Retry.Max", "Transaction.Timeout ends it."},
	{"Producer.Transaction.Retry.Backoff", "Kafka has no such setting."},
	{"Producer.Transaction.Retry.BackoffFunc", "A function."},
	{"Producer.Return.Successes", "A program says what it reads."},
	{"Producer.Return.Errors", "A program says what it reads."},
	{"Producer.Flush.Messages", "Kafka's batches are ready by bytes and time."},
	{"Producer.Retry.MaxBufferLength", "There is no such buffer here."},
	{"Producer.Retry.MaxBufferBytes", "There is no such buffer here."},
	{"Producer.Interceptors", "Programs."},
	{"ChannelBufferSize", "Kafka has no such setting."},
	{"MetricRegistry", "A program's."},
}

// WriteText writes the list for a terminal.
func WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.printf("Kafka's settings for producers, by the names of Java's client and of librdkafka. Case does not matter.\n")
	for _, g := range Groups {
		p.printf("\n%s\n", strings.ToUpper(g.Title))
		sets, rest := split(g.Rows)
		for _, row := range sets {
			p.printf("  %s%s\n", row.Name, prefixed(" = ", row.Default))
			if len(row.Also) > 0 {
				p.printf("      also    %s\n", strings.Join(row.Also, ", "))
			}
			p.printf("      sets    %s\n", strings.Join(row.To, ", "))
			p.wrapped("      ", row.Note)
		}
		for _, g := range grouped(rest) {
			p.wrapped("  ", strings.Join(g.names, ", "))
			p.wrapped("      ", string(g.fate)+". "+g.note)
		}
	}
	p.printf("\nFields of sarama.Config also have values by their dotted paths, such as Producer.Flush.Frequency=5ms.\n")
	return p.err
}

// WriteMarkdown writes docs/settings.md.
func WriteMarkdown(w io.Writer) error {
	p := &printer{w: w}
	p.printf(`# Settings by Kafka's names

` + "`sluice.ConfigFromProperties`, and `-F`, `-config` and `-X` of the command line, take Kafka's settings for producers by the names of Java's client\n" +
		`and of librdkafka. This page is made from the table that they use: ` + "`go test ./internal/properties -run TestDocs -update`" + `.

- Case does not matter in names. Values are written as Kafka's clients take them: milliseconds, bytes, true or false, lists with commas.
  Spaces around a value do not count, as in Java; around sasl.password they do, as in librdkafka.
- Defaults are those of ` + "`sluice.NewConfig`" + `. An empty field is no value.
- A setting that is ignored does no harm, and ` + "`sarama.Logger`" + ` is told. One that would break a promise is refused, unless its value
  asks for what holds anyway. A name that is not on this page is an error.
- Where Java and librdkafka mean different things by a name, the note says which is taken.
- Contradictions are errors: certificates without SSL in security.protocol, a login without SASL in it, two sources for one
  certificate, enable.idempotence=true beside acks=1.
- Files of certificates and keys, PEM and PKCS12, are read again when they change, as ` + "`sluice.TLSFiles`" + ` does. JKS, encrypted keys and
  texts are read once, and so are authorities where ssl.endpoint.identification.algorithm is empty.
`)
	for _, g := range Groups {
		p.printf("\n## %s\n", g.Title)
		sets, rest := split(g.Rows)
		if len(sets) > 0 {
			p.printf("\n| setting | other names | of | default | sets | |\n|---|---|---|---|---|---|\n")
		}
		for _, row := range sets {
			p.printf("| %s | %s | %s | %s | %s | %s |\n", code(row.Name), code(row.Also...), row.Of, code(row.Default), code(row.To...), row.Note)
		}
		if len(rest) > 0 {
			p.printf("\n| setting | of | | why |\n|---|---|---|---|\n")
		}
		for _, g := range grouped(rest) {
			p.printf("| %s | %s | %s | %s |\n", code(g.names...), g.of, g.fate, g.note)
		}
	}
	p.printf("\n## Fields of sarama.Config that no setting leads to\n\n| field | |\n|---|---|\n")
	for _, f := range Unreachable {
		p.printf("| %s | %s |\n", code(f.Path), f.Why)
	}
	p.printf("\nAdmin and Consumer are not about producers. The command line takes fields by their paths, such as `Net.SASL.Version=0`.\n")
	return p.err
}

// split tells what sets something from what does not.
func split(rows []Setting) (sets, rest []*Setting) {
	for i := range rows {
		if row := &rows[i]; row.Fate == Sets {
			sets = append(sets, row)
		} else {
			rest = append(rest, row)
		}
	}
	return sets, rest
}

// A group is settings with the same fate for the same reason.
type group struct {
	names []string
	of    Client
	fate  Fate
	note  string
}

func grouped(rows []*Setting) (all []*group) {
	for _, row := range rows {
		i := slices.IndexFunc(all, func(g *group) bool { return g.of == row.Of && g.fate == row.Fate && g.note == row.Note })
		if i < 0 {
			i = len(all)
			all = append(all, &group{of: row.Of, fate: row.Fate, note: row.Note})
		}
		all[i].names = append(append(all[i].names, row.Name), row.Also...)
	}
	return all
}

func code(texts ...string) string {
	var out []string
	for _, text := range texts {
		if text != "" {
			out = append(out, "`"+text+"`")
		}
	}
	return strings.Join(out, ", ")
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

const columns = 100

// wrapped prints a text in lines of bounded length.
func (p *printer) wrapped(indent, text string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(indent)+len(line)+1+len(word) > columns {
			p.printf("%s%s\n", indent, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		p.printf("%s%s\n", indent, line)
	}
}
