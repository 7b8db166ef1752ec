package sluice

import (
	"time"

	"github.com/sluice-kafka/sluice/internal/stats"
)

// registerGauges registers what Stats has and sarama's metrics lack. A gauge is computed when it is read. Where the Java producer has
// such a metric, it has that name.
func (p *Producer) registerGauges() {
	counts := func(name string, of func(c *stats.Counts) int64) {
		p.registry.Gauge(name, func() int64 {
			c := p.shared.Stats.Counts()
			return of(&c)
		})
	}
	counts("records-buffered", func(c *stats.Counts) int64 { return c.Buffered().Records })
	counts("records-in-flight", func(c *stats.Counts) int64 { return c.InFlight.Records })
	counts("outcomes-unread", p.unread)
	p.registry.Gauge("errors-unread", p.unreadErrors)
	counts("record-send-total", func(c *stats.Counts) int64 { return c.Sent.Records })
	counts("record-retry-total", func(c *stats.Counts) int64 { return c.Retried.Records })
	counts("record-acknowledged-total", func(c *stats.Counts) int64 { return c.Acknowledged.Records })
	counts("record-error-total", func(c *stats.Counts) int64 { return c.Failed.Records })
	counts("batch-split-total", func(c *stats.Counts) int64 { return c.Splits })

	budget := p.shared.Budget
	p.registry.Gauge("buffer-total-bytes", budget.Limit)
	p.registry.Gauge("buffer-used-bytes", budget.Used)
	p.registry.Gauge("buffer-available-bytes", func() int64 { return max(0, budget.Limit()-budget.Used()) })
	p.registry.Gauge("waiting-threads", func() int64 { _, now := budget.Waits(); return now })
	p.registry.Gauge("bufferpool-wait-total", func() int64 { all, _ := budget.Waits(); return all })
	p.registry.Gauge("bufferpool-wait-time-ns-total", func() int64 { return int64(budget.Waited().Sum() / time.Nanosecond) })

	requests := func(name string, of func(r *stats.Requests) int64) {
		p.registry.Gauge(name, func() int64 {
			r := p.shared.Stats.Requests()
			return of(&r)
		})
	}
	requests("request-total", func(r *stats.Requests) int64 { return r.Sent })
	requests("response-total", func(r *stats.Requests) int64 { return r.Answered })
	requests("request-lost-total", func(r *stats.Requests) int64 { return r.Lost })
	requests("outgoing-byte-total", func(r *stats.Requests) int64 { return r.BytesSent })
	requests("incoming-byte-total", func(r *stats.Requests) int64 { return r.BytesReceived })

	connections := func(name string, of func(c *stats.Connections) int64) {
		p.registry.Gauge(name, func() int64 {
			c := p.shared.Stats.Connections()
			return of(&c)
		})
	}
	connections("connection-count", func(c *stats.Connections) int64 { return c.Open })
	connections("connection-creation-total", func(c *stats.Connections) int64 { return c.Opened })
	connections("connection-failed-total", func(c *stats.Connections) int64 { return c.Failed })
	connections("connection-lost-total", func(c *stats.Connections) int64 { return c.Lost })
}
