// Package telemetry pushes the producer's metrics to a broker that asks for them (KIP-714). It promises no compatibility.
//
//	dials ─▶ Learn ─▶ goroutine ─▶ GetTelemetrySubscriptions ─▶ wait ─▶ PushTelemetry ─┐
//	                                          ▲                  ▲                     │
//	                                          └── by the answer ─┴─────────────────────┘
//
// A broker supports these requests only if its operator has configured a receiver; ApiVersions says so. The goroutine starts when a
// connection that was made for something else leads to such a broker, and ends when none is left. It has a connection of its own, so
// that neither a push nor its throttle delays anything else.
//
// What comes next, and when, is in state.go, without time or connections. metrics.go has the metrics, otlp.go their encoding, and
// telemetry.go the goroutine.
package telemetry
