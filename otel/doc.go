// Package sluiceotel is OpenTelemetry for Sluice: a span and two metrics for each message, the trace's context in its headers, and
// metrics of the producer itself. It follows the semantic conventions for messaging and Kafka, version 1.43.0, which are
// not stable yet: names may change with them, in a new minor version of this module.
//
//	producer, err := sluice.New(addrs, conf, sluice.WithTracer(sluiceotel.NewTracer()))
//	...
//	stop, err := sluiceotel.Observe(producer)
//
// README.md lists every span, metric and attribute.
package sluiceotel
