// Package telemetry pushes the producer's metrics to a broker that asks for them (KIP-714). It promises no compatibility.
//
//	dials ─▶ Learn ─▶ goroutine ─▶ GetTelemetrySubscriptions ─▶ wait ─▶ PushTelemetry ─┐
//	                                          ▲                  ▲                     │
//	                                          └── by the answer ─┴─────────────────────┘
//
// A broker has these requests only if its operator has given it a receiver, and says so in ApiVersions. So the goroutine begins
// when a connection that was made for something else has such a broker behind it, and ends when no broker of that kind is left. It
// has a connection of its own, so that neither a push nor its throttle holds up anything else.
//
// What comes next, and when, is in state.go, without time or connections. metrics.go has the metrics, otlp.go their encoding, and
// telemetry.go the goroutine.
package telemetry
