package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/IBM/sarama"
)

// perfBatch is how many records share a hand-over and its time.
const perfBatch = 256

// sampleInterval is how often it is noted how far a round is.
const sampleInterval = 100 * time.Millisecond

// A perfLoad is one client under load.
type perfLoad struct {
	client   string
	flags    *perfFlags
	payloads []sarama.Encoder
	keys     *keyring
	sender   sender
	stats    *stats
	txns     *transactions // nil without transactions

	sent    int64 // warm-up included
	failure error // why the load ended early, but for an interrupt
	rounds  []*measurement
}

// measure connects all clients, warms them up, and has them take turns. It returns an error if nothing could be measured.
func (f *perfFlags) measure(ctx context.Context, addrs []string, payloads []sarama.Encoder, con *console, faults *faults, lines io.Writer) (loads []*perfLoad, err error) {
	defer func() {
		for _, l := range loads {
			l.close()
		}
	}()
	for _, client := range f.clients {
		s := f.settings
		if f.transactional() && len(f.clients) > 1 {
			conf := *s.conf
			conf.Producer.Transaction.ID += "-" + client // one id is for one producer
			s = s.with(&conf)
		}
		l := &perfLoad{client: client, flags: f, payloads: payloads, keys: newKeyring(int(f.keys), f.seed), stats: newStats(faults)}
		if l.sender, err = openSender(ctx, client, addrs, s, l.stats.outcome); err != nil {
			if len(f.clients) > 1 {
				err = fmt.Errorf("%s: %w", client, err)
			}
			return loads, err
		}
		if f.transactional() {
			l.txns = &transactions{sender: l.sender, duration: f.txnDuration, stats: l.stats}
		}
		loads = append(loads, l)
	}
	if f.warmup > 0 {
		for _, l := range loads {
			l.send(ctx, int64(f.warmup))
		}
	}
	for range f.rounds {
		for _, l := range loads {
			if l.failure != nil || ctx.Err() != nil && len(l.rounds) > 0 {
				continue
			}
			l.measureRound(ctx, con, lines)
		}
	}
	return loads, nil
}

// measureRound sends the records once. It shows a line a second, or one in all where there are several rounds.
func (l *perfLoad) measureRound(ctx context.Context, con *console, lines io.Writer) {
	who := ""
	if len(l.flags.clients) > 1 {
		who = l.client + ": "
		runtime.GC() // what the client before has left is not this one's
	}
	several := l.flags.rounds > 1 || len(l.flags.clients) > 1
	l.stats.start()
	stopLines := every(time.Second, func() {
		if line := who + l.stats.line(); several {
			con.progress(line)
		} else {
			fmt.Fprintln(lines, line)
		}
	}, func() { con.progress() })
	stopSamples := every(sampleInterval, l.stats.sample, func() {})
	l.send(ctx, int64(l.flags.records))
	stopSamples()
	stopLines()
	m := l.stats.finish()
	l.rounds = append(l.rounds, m)
	if several {
		fmt.Fprintf(lines, "round %d, %s%s\n", len(l.rounds), who, m.line())
	}
}

// send sends n records, or without an end if n is 0, in transactions if there are any. It returns when they have had their
// outcomes.
func (l *perfLoad) send(ctx context.Context, n int64) {
	pace := newPacer(l.flags.rate)
	for sent := int64(0); n == 0 || sent < n; {
		most := int64(perfBatch)
		if n > 0 {
			most = min(most, n-sent)
		}
		take := pace.wait(ctx, sent, int(most))
		if take == 0 {
			break
		}
		if l.failure = l.txns.begin(); l.failure != nil {
			break
		}
		l.sender.send(l.next(take))
		sent += int64(take)
		if l.failure = l.txns.sent(); l.failure != nil {
			break
		}
	}
	if l.failure == nil {
		l.failure = l.txns.end()
	}
	if l.failure != nil {
		l.close() // it brings the outcomes that are missing
		return
	}
	if f, ok := l.sender.(flusher); ok && l.txns == nil {
		f.flush()
	}
	l.stats.await(l.sent)
}

// close returns when every record has had its outcome.
func (l *perfLoad) close() {
	if l.sender != nil {
		l.sender.close()
		l.sender = nil
	}
}

// next makes the next n records.
func (l *perfLoad) next(n int) []*sarama.ProducerMessage {
	slab, msgs := make([]sarama.ProducerMessage, n), make([]*sarama.ProducerMessage, n)
	stamp := &sendTime{time.Now()}
	for i := range slab {
		m := &slab[i]
		m.Topic, m.Value, m.Metadata = l.flags.topic, l.payloads[(l.sent+int64(i))%int64(len(l.payloads))], stamp
		m.Key = l.keys.next()
		msgs[i] = m
	}
	l.sent += int64(n)
	return msgs
}

// total is all rounds together.
func (l *perfLoad) total() *measurement {
	total := &measurement{}
	for _, m := range l.rounds {
		total.add(m)
	}
	return total
}

// measured is how many records were sent in rounds, and wanted how many were to be.
func (l *perfLoad) measured() int64 { return max(l.sent-int64(l.flags.warmup), 0) }
func (l *perfLoad) wanted() int64   { return int64(l.flags.records) * int64(l.flags.rounds) }

func (l *perfLoad) interrupted() bool { return l.failure == nil && l.measured() < l.wanted() }
