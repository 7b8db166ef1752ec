package sluice

import (
	"context"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/brokerproducer"
	"github.com/sluice-kafka/sluice/dispatch"
	"github.com/sluice-kafka/sluice/internal/causes"
	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/meters"
	"github.com/sluice-kafka/sluice/internal/stats"
	"github.com/sluice-kafka/sluice/internal/txn"
	"github.com/sluice-kafka/sluice/internal/wire"
	"github.com/sluice-kafka/sluice/produceset"
)

// How a producer is put together: its settings, its parts, and where they begin.

func newFromClient(client sarama.Client, opts []Option) (*Producer, error) {
	if client == nil {
		return nil, sarama.ConfigurationError("a producer of a nil client")
	}
	if client.Closed() {
		return nil, sarama.ErrClosedClient
	}
	addrs, err := brokersOf(client)
	if err != nil {
		return nil, flow.Errorf("asking the client for its brokers: %w", err)
	}
	return newProducer(addrs, client.Config(), append(opts, func(o *options) error { o.fromClient = client; return nil }))
}

// brokersOf returns the addresses that a client knows. One that keeps no full metadata knows them once it has asked.
func brokersOf(client sarama.Client) (addrs []string, err error) {
	if len(client.Brokers()) == 0 {
		err = client.RefreshMetadata()
	}
	for _, broker := range client.Brokers() {
		addrs = append(addrs, broker.Addr())
	}
	return addrs, err
}

// firstAnswer is how long a constructor waits for a producer id, or for its refusal. Later ones are told by messages.
const firstAnswer = time.Second

// lastRecords is how long the end of a producer waits for the user's log.
const lastRecords = time.Second

// newProducer makes the parts of a producer, each from those before, and starts them.
func newProducer(addrs []string, conf *sarama.Config, opts []Option) (_ *Producer, err error) {
	s, err := newSettings(addrs, conf, opts)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.log.Flush(lastRecords)
		}
	}()
	registry := meters.New(s.conf.MetricRegistry)
	s.conf.MetricRegistry = registry
	dialer := wire.NewDialer(s.conf, s.openRequests)
	recorders := stats.New()
	dialer.MaxIdle, dialer.Log, dialer.Stats = s.maxIdle, s.log, recorders
	s.status.connecting(dialer)
	pushes := newTelemetry(s, dialer)
	md, err := startMetadata(s, dialer)
	if err != nil {
		registry.Close()
		return nil, flow.Errorf("%w", err)
	}
	flowConfig := flow.Config{
		Conf: s.conf, BufferMemory: s.bufferMemory, DeliveryTimeout: s.deliveryTimeout, Report: s.flowReport(),
		SaramaContract: s.saramaContract, Log: s.log, Tracer: s.tracer, Stats: recorders, CauseOf: causes.Of,
	}
	var txns *txn.Transactions
	if s.conf.Producer.Transaction.ID != "" {
		flowConfig.MessageFailed = func(err error) { txns.MessageFailed(err) }
	}
	shared := flow.NewShared(flowConfig)
	deps := &dispatch.Deps{Shared: shared, Metadata: md, Transactional: s.conf.Producer.Transaction.ID != ""}
	if s.status != nil || s.log != nil {
		deps.Waits = &flow.Activities{}
	}
	dispatcher := dispatch.NewDispatcher(deps)
	stages := brokerproducer.Config{
		Shared: shared, Set: s.set, Dialer: dialer, Window: s.window, MaxRequestBytes: s.maxRequestBytes,
		ClusterID: md.ClusterID, UpdateLeader: md.UpdateLeader, MarkUnresponsive: md.MarkUnresponsive,
	}
	abandon := func() {
		md.Close()
		registry.Close()
		shared.Outcomes.CloseReports()
		shared.Outcomes.Close()
	}
	var identities *txn.Manager
	switch {
	case deps.Transactional:
		txns = newTransactions(shared, dispatcher, dialer, md, addrs)
		if err := txns.Init(context.Background()); err != nil {
			txns.Close()
			abandon()
			return nil, shared.UserError(err)
		}
		deps.Identities, stages.Identity, stages.Txn = txns, txns.Current, txns
	case s.conf.Producer.Idempotent:
		identities = newIdentities(shared, dialer, md, addrs)
		if err := identities.StartAndWait(firstAnswer); err != nil {
			identities.Close()
			abandon()
			return nil, shared.UserError(flow.Errorf("%w", err))
		}
		deps.Identities, stages.Identity = identities, identities.Current
	}
	brokers := brokerproducer.NewPool(stages)
	deps.Brokers = dispatch.Pool(brokers)
	p := &Producer{
		shared:     shared,
		deps:       deps,
		dispatcher: dispatcher,
		brokers:    brokers,
		metadata:   md,
		identities: identities,
		txns:       txns,
		registry:   registry,
		set:        s.set,
		telemetry:  pushes,
		closed:     make(chan struct{}),
		waiters:    sync.Pool{New: newWaiter},

		batchCalls:       sync.Pool{New: newBatchCall},
		cancellableCalls: sync.Pool{New: newCancellableCall},
	}
	shared.Budget.Holds = p.holders
	s.status.running(p)
	p.registerGauges()
	go p.dispatcher.Run()
	p.telemetry.Start(p.telemetrySource(dialer, md))
	return p, nil
}

// settings are what a producer is made with: a copy of the user's configuration, and what follows from it.
type settings struct {
	options
	addrs []string
	conf  *sarama.Config
	log   *flow.Log // nil: sarama.Logger
	set   *produceset.Config

	window       int // batches of a partition in flight
	openRequests int // of a connection
}

func newSettings(addrs []string, userConf *sarama.Config, opts []Option) (*settings, error) {
	conf := *userConf
	o, err := newOptions(opts)
	log := flow.NewLog(o.logger)
	if err := checkConfig(&conf, log); err != nil {
		return nil, err
	}
	logIgnored(o.ignored, log)
	if len(addrs) == 0 {
		return nil, sarama.ConfigurationError("no broker address is given")
	}
	if err != nil {
		return nil, err
	}
	if o.maxRequestBytes > 0 {
		room := brokerproducer.RoomForBatch(o.maxRequestBytes, &conf)
		if room <= 0 {
			return nil, configError("WithMaxRequestBytes(%d): there is no room for a message beside a ClientID of %d bytes",
				o.maxRequestBytes, len(conf.ClientID))
		}
		conf.Producer.MaxMessageBytes = min(conf.Producer.MaxMessageBytes, room)
	}
	o.bufferMemory = o.memoryFor(&conf)
	set := &produceset.Config{
		Codec:    conf.Producer.Compression,
		Level:    conf.Producer.CompressionLevel,
		MaxBytes: conf.Producer.MaxMessageBytes,
	}
	if err := set.Validate(); err != nil {
		return nil, err
	}
	s := &settings{options: o, addrs: addrs, conf: &conf, log: log, set: set, window: 1, openRequests: conf.Net.MaxOpenRequests}
	if conf.Producer.Idempotent {
		s.window, s.openRequests = o.maxInFlight, o.maxInFlight
	}
	return s, nil
}

// startMetadata asks the brokers for the cluster. As in sarama, its constructors need no broker at first without
// Metadata.Full, or with a client; New and NewFromClient do.
func startMetadata(s *settings, dialer *wire.Dialer) (*metadata.Service, error) {
	md := metadata.New(s.conf, s.addrs, func(ctx context.Context, id int32, addr string) (metadata.Conn, error) {
		conn, err := dialer.DialNow(ctx, id, addr)
		if err != nil {
			return nil, err // not a nil *wire.Conn in an interface
		}
		return conn, nil
	})
	md.ExplainDials(dialer.Doing)
	md.LogTo(s.log)
	if s.anyCluster {
		md.AllowAnyCluster()
	}
	if client := s.fromClient; client != nil {
		// All brokers may be replaced. The client does not tell its seeds, but asks them where nothing else answers.
		md.ReseedBy(func() []string {
			if err := client.RefreshMetadata(); err != nil {
				return nil
			}
			addrs, _ := brokersOf(client)
			return addrs
		})
	}
	if s.saramaContract && (s.fromClient != nil || !s.conf.Metadata.Full) {
		return md, md.StartUnasked()
	}
	return md, md.Start(context.Background())
}
