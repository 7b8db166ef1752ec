package simtest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

// appender is a goroutine that sends by Appenders, one a topic.
func (r *run) appender(id int) {
	draw := rand.New(rand.NewPCG(r.seed, uint64(id)|3<<60))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	appenders := map[string]*sluice.Appender{}
	sent := map[string]*sent{}
	for _, topic := range r.sc.topicNames() {
		opts := []sluice.AppenderOption{sluice.WithAppendReport(func(report sluice.AppendReport) { r.appendReport(sent, report) })}
		if draw.IntN(4) == 0 {
			opts = append(opts, sluice.WithAppendContext(ctx))
		}
		a, err := sluice.NewAppender(r.async, topic, opts...)
		if err != nil {
			r.fail("NewAppender: %v", err)
			return
		}
		appenders[topic] = a
	}
	cancelled := time.AfterFunc(time.Duration(draw.Int64N(int64(2*r.sc.length))), cancel)
	defer cancelled.Stop()
	scratch := make([]byte, 0, 1000)
	for number := 1; number <= r.sc.messages; number++ {
		m := r.newMessage(id, number, "append")
		r.mu.Lock()
		sent[m.String()] = m
		r.mu.Unlock()
		var key []byte
		if m.msg.Key != nil {
			key, _ = m.msg.Key.Encode()
		}
		scratch = append(scratch[:0], m.value...)
		after := r.offer(m)
		var err error
		if r.sc.partitioner == "manual" {
			err = appenders[m.topic].AppendAt(m.wanted, time.Time{}, key, scratch)
		} else {
			err = appenders[m.topic].Append(key, scratch)
		}
		clear(scratch) // the bytes are the sender's again
		if err != nil {
			r.refuse(err, m)
		} else {
			r.take(after, m)
		}
		select {
		case <-r.stop:
			return
		default:
		}
		switch draw.IntN(40) {
		case 0:
			r.flushAppender(draw, appenders[m.topic])
		case 1, 2, 3:
			if r.sc.pause > 0 {
				time.Sleep(time.Duration(draw.Int64N(int64(r.sc.pause)) * 2))
			}
		}
	}
	for _, a := range appenders {
		switch draw.IntN(3) {
		case 0: // left to linger and Close of the producer
		case 1:
			r.flushAppender(draw, a)
		case 2:
			_ = a.Close(ctx)
			m := r.newMessage(id, r.sc.messages+1, "append")
			r.offer(m)
			err := a.Append(nil, nil)
			if r.refuse(err, m); !errors.Is(err, sarama.ErrShuttingDown) {
				r.fail("Append after Close: %v", err)
			}
		}
	}
}

// flushAppender checks that all of its records have their outcome as Flush returns.
func (r *run) flushAppender(draw *rand.Rand, a *sluice.Appender) {
	ctx, cancel := r.context(draw)
	defer cancel()
	begin := time.Now()
	err := a.Flush(ctx)
	if took := time.Since(begin); took > r.sc.delivery+r.slack()+r.readerDelay() && !r.sc.scarce() && ctx.Err() == nil {
		r.fail("Flush of an Appender took %v (%v), the delivery timeout is %v", took, err, r.sc.delivery)
	}
}

// appendReport takes the outcome of a batch.
func (r *run) appendReport(sent map[string]*sent, report sluice.AppendReport) {
	n := 0
	for rec := range report.Records() {
		name, _, _ := strings.Cut(string(rec.Value), " ")
		r.mu.Lock()
		m := sent[name]
		r.mu.Unlock()
		if m == nil || !bytes.Equal(rec.Value, []byte(m.value)) {
			r.fail("a report has a record that nobody appended: %.60q", rec.Value)
			return
		}
		o := outcome{report.Partition, report.BaseOffset, report.Err, time.Now()}
		if o.offset >= 0 {
			o.offset += int64(n)
		}
		r.tell(m, o)
		n++
	}
	if n != report.Count {
		r.fail("a report of %d records has %d", report.Count, n)
	}
}
