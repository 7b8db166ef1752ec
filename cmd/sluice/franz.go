package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	saslauth "github.com/twmb/franz-go/pkg/sasl/oauth"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// franzWindow is how many records franz-go may hold. A larger window was no faster, and took more memory.
const franzWindow = 50_000

// franzPatience is how long brokers may take to answer for the first time.
const franzPatience = 10 * time.Second

// A franzSender drives franz-go's client.
//
// franz-go calls its promises one by one, in one goroutine. To take a lock and the time once a run, as with the other
// clients, a promise only appends to told; the goroutine pass takes what is there and passes it on.
type franzSender struct {
	client *kgo.Client
	done   outcome

	mu     sync.Mutex
	told   []franzOutcome
	failed error         // of a record of the open transaction
	wake   chan struct{} // holds one token while told is not empty
	wg     sync.WaitGroup
}

type franzOutcome struct {
	msg *sarama.ProducerMessage
	err error
}

// A franzRecord is the record, and its message. It is the record's context, so that a promise finds the message without an
// allocation of its own.
type franzRecord struct {
	context.Context
	record kgo.Record
	msg    *sarama.ProducerMessage
}

// openFranz makes franz-go's producer, with what the settings mean for it. Whatever else it has stays as it recommends.
func openFranz(addrs []string, s *settings, done outcome) (sender, error) {
	return openFranzWith(addrs, s, done)
}

func openFranzWith(addrs []string, s *settings, done outcome, more ...kgo.Opt) (sender, error) {
	conf := s.Config()
	opts, err := franzConnection(addrs, conf)
	if err != nil {
		return nil, err
	}
	codec, err := franzCodec(conf.Producer.Compression)
	if err != nil {
		return nil, err
	}
	patience := 2 * time.Minute // as sluice has it
	if s.Options.DeliveryTimeout > 0 {
		patience = s.Options.DeliveryTimeout
	}
	acks := map[sarama.RequiredAcks]kgo.Acks{sarama.NoResponse: kgo.NoAck(), sarama.WaitForLocal: kgo.LeaderAck()}
	required, ok := acks[conf.Producer.RequiredAcks]
	if !ok {
		required = kgo.AllISRAcks()
	}
	opts = append(opts,
		kgo.RequiredAcks(required),
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerLinger(conf.Producer.Flush.Frequency),
		kgo.ProducerBatchMaxBytes(int32(conf.Producer.MaxMessageBytes)),
		kgo.MaxBufferedRecords(franzWindow),
		kgo.RecordDeliveryTimeout(patience),
		kgo.DisableClientMetrics(), // no other client sends any
	)
	switch {
	case conf.Producer.Transaction.ID != "":
		opts = append(opts, kgo.TransactionalID(conf.Producer.Transaction.ID))
	case !conf.Producer.Idempotent:
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, fmt.Errorf("franz-go: %w", err)
	}
	// kgo connects with the first record; the other clients' constructors connect.
	if err := franzPing(context.Background(), client); err != nil {
		return nil, fmt.Errorf("franz-go: %w", err)
	}
	f := &franzSender{client: client, done: done, wake: make(chan struct{}, 1)}
	f.wg.Go(f.pass)
	return f, nil
}

// franzPing returns when a broker has answered. If none does it closes the client, which may wait for a dial's time-out, so
// that happens beside.
func franzPing(ctx context.Context, client *kgo.Client) error {
	limited, cancel := context.WithTimeout(ctx, franzPatience)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- client.Ping(limited) }()
	var err error
	select {
	case err = <-answered:
	case <-limited.Done():
		err = limited.Err()
	}
	if err == nil {
		return nil
	}
	go client.Close()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted while connecting: %w", context.Cause(ctx))
	case limited.Err() != nil:
		return fmt.Errorf("no broker has answered within %v", franzPatience)
	}
	return err
}

func (f *franzSender) send(msgs []*sarama.ProducerMessage) {
	slab := make([]franzRecord, len(msgs))
	for i, m := range msgs {
		r := &slab[i]
		r.Context, r.msg = context.Background(), m
		r.record.Context = r
		r.record.Topic, r.record.Partition = m.Topic, m.Partition
		// Both commands send bytes.
		if key, ok := m.Key.(sarama.ByteEncoder); ok {
			r.record.Key = key
		}
		if value, ok := m.Value.(sarama.ByteEncoder); ok {
			r.record.Value = value
		}
		f.client.Produce(r, &r.record, f.promise)
	}
}

func (f *franzSender) promise(r *kgo.Record, err error) {
	m := r.Context.(*franzRecord).msg
	m.Partition, m.Offset = r.Partition, r.Offset
	f.mu.Lock()
	f.told = append(f.told, franzOutcome{m, err})
	first := len(f.told) == 1
	if err != nil {
		f.failed = err
	}
	f.mu.Unlock()
	if first {
		f.wake <- struct{}{}
	}
}

// pass hands outcomes on until wake is closed: successes by the run, failures one by one.
func (f *franzSender) pass() {
	var told, spare []franzOutcome
	var run []*sarama.ProducerMessage
	for range f.wake {
		f.mu.Lock()
		told, f.told = f.told, spare[:0]
		f.mu.Unlock()
		for i := 0; i < len(told); {
			run = append(run[:0], told[i].msg)
			err := told[i].err
			for i++; err == nil && i < len(told) && told[i].err == nil; i++ {
				run = append(run, told[i].msg)
			}
			f.done(run, err)
		}
		clear(told) // the messages are the user's again
		spare = told
	}
}

// A flusher is a sender that can be told not to wait for more records. sarama's can't: there its linger passes.
type flusher interface {
	// flush returns when all that was sent has been answered, or ctx has ended. Their outcomes may still be on the way.
	flush(ctx context.Context)
}

func (f *franzSender) flush(ctx context.Context) { f.client.Flush(ctx) } // it ends: each record has a time-out

func (s batchSender) flush(ctx context.Context) { s.p.Flush(ctx) } // as above

func (f *franzSender) begin() error {
	f.mu.Lock()
	f.failed = nil
	f.mu.Unlock()
	return f.client.BeginTransaction()
}

// commit flushes before, as EndTransaction demands. franz-go would also commit what lacks a record that failed.
func (f *franzSender) commit(ctx context.Context) error {
	if err := f.client.Flush(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	failed := f.failed
	f.mu.Unlock()
	if failed != nil {
		return fmt.Errorf("a record was not delivered: %w", failed)
	}
	return f.client.EndTransaction(ctx, kgo.TryCommit)
}

func (f *franzSender) abort(ctx context.Context) error {
	if err := f.client.AbortBufferedRecords(ctx); err != nil {
		return err
	}
	return f.client.EndTransaction(ctx, kgo.TryAbort)
}

// ready asks for the producer id, which is refused once it can't be used any more.
func (f *franzSender) ready() bool {
	_, _, err := f.client.ProducerID(context.Background())
	return err == nil
}

func (f *franzSender) close() {
	f.flush(context.Background())
	f.client.Close()
	close(f.wake)
	f.wg.Wait()
}

func franzCodec(c sarama.CompressionCodec) (kgo.CompressionCodec, error) {
	switch c {
	case sarama.CompressionNone:
		return kgo.NoCompression(), nil
	case sarama.CompressionGZIP:
		return kgo.GzipCompression(), nil
	case sarama.CompressionSnappy:
		return kgo.SnappyCompression(), nil
	case sarama.CompressionLZ4:
		return kgo.Lz4Compression(), nil
	case sarama.CompressionZSTD:
		return kgo.ZstdCompression(), nil
	}
	return kgo.NoCompression(), fmt.Errorf("franz-go has no compression %v", c)
}

// franzConnection is how franz-go reaches the cluster that sarama's settings describe.
func franzConnection(addrs []string, conf *sarama.Config) ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(addrs...), kgo.ClientID(conf.ClientID)}
	dial := (&net.Dialer{Timeout: conf.Net.DialTimeout}).DialContext
	if conf.Net.Proxy.Enable {
		through, ok := conf.Net.Proxy.Dialer.(interface {
			DialContext(ctx context.Context, network, addr string) (net.Conn, error)
		})
		if !ok {
			return nil, errors.New("franz-go wants a Net.Proxy.Dialer with DialContext")
		}
		dial = through.DialContext
	}
	if conf.Net.TLS.Enable {
		dial = dialTLS(dial, conf)
	}
	opts = append(opts, kgo.Dialer(dial))
	if !conf.Net.SASL.Enable {
		return opts, nil
	}
	mechanism, err := franzLogin(conf)
	if err != nil {
		return nil, err
	}
	return append(opts, kgo.SASL(mechanism)), nil
}

func franzLogin(conf *sarama.Config) (sasl.Mechanism, error) {
	s := &conf.Net.SASL
	switch s.Mechanism {
	case "", sarama.SASLTypePlaintext:
		return saslplain.Auth{Zid: s.AuthIdentity, User: s.User, Pass: s.Password}.AsMechanism(), nil
	case sarama.SASLTypeSCRAMSHA256:
		return scram.Auth{Zid: s.SCRAMAuthzID, User: s.User, Pass: s.Password}.AsSha256Mechanism(), nil
	case sarama.SASLTypeSCRAMSHA512:
		return scram.Auth{Zid: s.SCRAMAuthzID, User: s.User, Pass: s.Password}.AsSha512Mechanism(), nil
	case sarama.SASLTypeOAuth:
		if s.TokenProvider != nil {
			return saslauth.Oauth(func(context.Context) (saslauth.Auth, error) {
				token, err := s.TokenProvider.Token()
				if err != nil {
					return saslauth.Auth{}, err
				}
				return saslauth.Auth{Token: token.Token, Extensions: token.Extensions}, nil
			}), nil
		}
	}
	return nil, fmt.Errorf("franz-go cannot log in with SASL mechanism %s here", s.Mechanism)
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// dialTLS puts TLS on what dial opens. The name that the certificate must have is the broker's, unless the settings name
// another one.
func dialTLS(dial dialFunc, conf *sarama.Config) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		plain, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		tlsConf := &tls.Config{}
		if conf.Net.TLS.Config != nil {
			tlsConf = conf.Net.TLS.Config.Clone()
		}
		if tlsConf.ServerName == "" {
			if tlsConf.ServerName, _, err = net.SplitHostPort(addr); err != nil {
				plain.Close()
				return nil, err
			}
		}
		conn := tls.Client(plain, tlsConf)
		if err := conn.HandshakeContext(ctx); err != nil {
			plain.Close()
			return nil, err
		}
		return conn, nil
	}
}
