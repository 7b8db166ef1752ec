// Package sink is a Kafka broker that keeps nothing: it answers Produce as soon as a request has arrived, or a fixed
// time after, and counts what came. It exists so that a benchmark measures the client and not a broker.
//
// It speaks ApiVersions, Metadata, InitProducerID, the requests of transactions, and Produce v3 to v13, leads every
// partition of every topic that a client asks for, and gives each partition offsets that grow as a log's would. It checks
// neither checksums nor sequences nor what belongs to a transaction, and has no consumers.
package sink

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a sink can be told.
type Config struct {
	// Partitions is the number of partitions of every topic; at least 1.
	Partitions int
	// Topics exist from the start, for clients that ask which there are. Others exist once a client names them.
	Topics []string
	// Delay is how long after a Produce request has arrived its answer is sent. Answers keep their order, and the
	// requests behind a waiting one are read meanwhile, so that a delay costs latency and no throughput, as a distant
	// broker does.
	Delay time.Duration
	// TransactionVersion is the finalized level of transaction.version that ApiVersions tells, up to 2. With 0 the cluster
	// tells no features.
	TransactionVersion int16
}

// maxTransactionVersion is what Kafka 4 has.
const maxTransactionVersion = 2

// Stats is what a sink has counted since it began.
type Stats struct {
	Records  int64 // by the record counts of the batch headers
	Batches  int64
	Requests int64 // Produce requests
	Bytes    int64 // of Produce requests, frame header included

	Transactions int64 // that were ended by EndTxn
}

// Broker is a sink that listens on a port of 127.0.0.1. Its methods may be called concurrently.
type Broker struct {
	config   Config
	listener net.Listener
	topics   topics

	records, batches, requests, bytes atomic.Int64
	producerID, transactions          atomic.Int64

	// wg counts the accept loop and the goroutines of each connection; Close waits for it.
	wg sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	err    error // the first protocol error of any connection
}

// Listen starts a sink.
func Listen(config Config) (*Broker, error) {
	if config.Partitions < 1 {
		return nil, fmt.Errorf("sink: %d partitions: at least 1 is needed", config.Partitions)
	}
	if config.Delay < 0 {
		return nil, fmt.Errorf("sink: delay %v is negative", config.Delay)
	}
	if v := config.TransactionVersion; v < 0 || v > maxTransactionVersion {
		return nil, fmt.Errorf("sink: transaction version %d is not between 0 and %d", v, maxTransactionVersion)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	b := &Broker{
		config:   config,
		listener: listener,
		topics:   newTopics(config.Partitions),
		conns:    make(map[net.Conn]struct{}),
	}
	for _, name := range config.Topics {
		b.topics.byName(name)
	}
	b.wg.Go(b.accept)
	return b, nil
}

// Addr is the host:port to give to clients.
func (b *Broker) Addr() string { return b.listener.Addr().String() }

// Stats returns what has been counted so far. Once a client has seen an acknowledgement, its records are in it.
func (b *Broker) Stats() Stats {
	return Stats{
		Records:  b.records.Load(),
		Batches:  b.batches.Load(),
		Requests: b.requests.Load(),
		Bytes:    b.bytes.Load(),

		Transactions: b.transactions.Load(),
	}
}

// EndOffset returns the offset that the next record of a partition will get: 0 for a partition that got none.
func (b *Broker) EndOffset(topic string, partition int32) int64 {
	t := b.topics.byName(topic)
	if partition < 0 || int(partition) >= len(t.next) {
		return 0
	}
	return t.next[partition].Load()
}

// Close ends the sink and its connections, and returns when its goroutines have ended, with the first error of a
// request that could not be understood.
func (b *Broker) Close() error {
	err := b.listener.Close()
	b.mu.Lock()
	b.closed = true
	for c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()

	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(b.err, err)
}

// accept is the accept loop; it ends when Close closes the listener.
func (b *Broker) accept() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			b.fail(err)
			return
		}
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			conn.Close()
			return
		}
		b.conns[conn] = struct{}{}
		b.mu.Unlock()
		b.wg.Go(func() { b.serve(conn) })
	}
}

// serve owns a connection for its life.
func (b *Broker) serve(conn net.Conn) {
	err := newConnection(b, conn).run()
	conn.Close()
	b.mu.Lock()
	delete(b.conns, conn)
	b.mu.Unlock()
	b.fail(err)
}

// fail keeps the first error that is neither Close nor a client that went away.
func (b *Broker) fail(err error) {
	var network *net.OpError
	if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}
