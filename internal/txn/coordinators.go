package txn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/wire"
)

// Conn is a *wire.Conn: an open connection to a coordinator.
type Conn interface {
	// RequestBetween sends a request in the highest version that both sides have, from lowest to highest.
	RequestBetween(ctx context.Context, req kmsg.Request, lowest, highest int16) (kmsg.Response, error)
	wire.Renewable
}

// link is an open connection to a broker, with its users.
type link struct {
	Conn
	broker  metadata.Broker
	users   int  // requests that are open over it
	retired bool // closed with the last of them
	next    wire.Successor[Conn]
}

// CoordinatorsConfig is what Coordinators depend on.
type CoordinatorsConfig struct {
	// Ask sends a request to any broker.
	Ask func(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	// Dial connects to a broker of the producer's cluster.
	Dial func(ctx context.Context, b metadata.Broker) (Conn, error)
	// Asking and Dialling tell what Ask, or a dial to an address, waits for, or nil. Both may be nil.
	Asking   func() error
	Dialling func(addr string) error
	// Timeout is how long a coordinator may be silent.
	Timeout time.Duration
	// Log may be nil.
	Log *flow.Log
}

// coordinatorKey is what a coordinator is of.
type coordinatorKey struct {
	kind int8 // as in FindCoordinator
	name string
}

// Kinds of coordinators.
const (
	ofGroup       int8 = 0
	ofTransaction int8 = 1
)

func (k coordinatorKey) String() string {
	if k.kind == ofGroup {
		return fmt.Sprintf("the coordinator of group %q", k.name)
	}
	return fmt.Sprintf("the coordinator of transactional id %q", k.name)
}

// Coordinators finds coordinators, and keeps a connection to each of their brokers. All methods may be called concurrently.
type Coordinators struct {
	cfg   CoordinatorsConfig
	doing flow.Activities // by coordinator
	// turn holds an element while somebody looks a coordinator up or dials it, and guards what follows.
	turn   chan struct{}
	known  map[coordinatorKey]metadata.Broker
	links  map[metadata.Broker]*link
	closed bool
}

// NewCoordinators knows no coordinator yet.
func NewCoordinators(cfg CoordinatorsConfig) *Coordinators {
	return &Coordinators{
		cfg: cfg, turn: make(chan struct{}, 1),
		known: make(map[coordinatorKey]metadata.Broker), links: make(map[metadata.Broker]*link),
	}
}

// request sends a request to a coordinator, in a version from lowest to highest. An error means that there is no answer: the
// coordinator is looked up anew the next time. sent tells whether it may have got the request.
func (c *Coordinators) request(ctx context.Context, key coordinatorKey, req kmsg.Request, lowest, highest int16) (resp kmsg.Response, sent bool, err error) {
	step := c.doing.Begin(key.String(), "waiting to ask "+key.String(), nil)
	defer step.End()
	l, err := c.connect(ctx, key, step)
	if err != nil {
		return nil, false, err
	}
	defer c.release(l)
	if ctx.Err() != nil {
		return nil, false, flow.ContextError(ctx) // else what was not sent would be in doubt
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	step.Next(fmt.Sprintf("waiting for broker %d (%s), %v, to answer %s", l.broker.ID, l.broker.Addr, key, kmsg.NameForKey(req.Key())), nil)
	resp, err = l.RequestBetween(ctx, req, lowest, highest)
	if err != nil {
		c.forget(key)
		_, unsent := errors.AsType[*wire.VersionError](err)
		return nil, !unsent, fmt.Errorf("%v: %w", key, err)
	}
	return resp, true, nil
}

// connect returns a connection to a coordinator, for one request, after which it is released. Whoever finds the coordinator
// unknown looks it up.
func (c *Coordinators) connect(ctx context.Context, key coordinatorKey, step *flow.Activity) (*link, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, flow.ContextError(ctx)
	}
	if c.closed {
		return nil, flow.External(sarama.ErrShuttingDown)
	}
	broker, ok := c.known[key]
	if !ok {
		step.Next(fmt.Sprintf("looking up %v", key), c.cfg.Asking)
		var err error
		if broker, err = c.find(ctx, key); err != nil {
			return nil, fmt.Errorf("looking up %v: %w", key, err)
		}
		c.known[key] = broker
	}
	l := c.links[broker]
	dial := func(ctx context.Context) (Conn, error) { return c.cfg.Dial(ctx, broker) }
	if l == nil || l.Err() != nil || l.next.Due(l.Conn, dial) {
		var detail func() error
		if c.cfg.Dialling != nil {
			detail = func() error { return c.cfg.Dialling(broker.Addr) }
		}
		step.Next(fmt.Sprintf("dialling broker %d (%s), %v", broker.ID, broker.Addr, key), detail)
		conn, err := c.replace(ctx, l, dial)
		if err != nil {
			delete(c.known, key)
			return nil, fmt.Errorf("%v: %w", key, err)
		}
		l = &link{Conn: conn, broker: broker, next: wire.Successor[Conn]{Log: c.cfg.Log}}
		c.links[broker] = l
	}
	l.users++
	return l, nil
}

// replace returns a connection in place of l, which may be nil: its successor, else a new one. Called with the turn.
func (c *Coordinators) replace(ctx context.Context, l *link, dial func(context.Context) (Conn, error)) (Conn, error) {
	if l != nil {
		conn, ok, err := l.next.Take(ctx)
		if err != nil {
			return nil, err
		}
		c.retire(l)
		if ok {
			return conn, nil
		}
	}
	return dial(ctx)
}

// retire has a connection closed once the requests that are open over it are answered. Called with the turn.
func (c *Coordinators) retire(l *link) {
	delete(c.links, l.broker)
	if l.retired = true; l.users == 0 {
		l.Close()
	}
}

// release ends a request's use of a connection.
func (c *Coordinators) release(l *link) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if l.users--; l.retired && l.users == 0 {
		l.Close()
	}
}

// forget drops what is known of a coordinator: it is looked up at the next request.
func (c *Coordinators) forget(key coordinatorKey) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	delete(c.known, key)
}

// of returns the open connection to a coordinator, or nil.
func (c *Coordinators) of(key coordinatorKey) Conn {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if l := c.links[c.known[key]]; l != nil {
		return l.Conn
	}
	return nil
}

// close ends the connections. Requests fail from now on.
func (c *Coordinators) close() {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.closed = true
	for _, l := range c.links {
		l.next.Stop()
		l.Close()
	}
	clear(c.links)
}

// find asks for a coordinator: FindCoordinator takes one key, and a list of keys from v4 on (KIP-699).
func (c *Coordinators) find(ctx context.Context, key coordinatorKey) (metadata.Broker, error) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorType, req.CoordinatorKey, req.CoordinatorKeys = key.kind, key.name, []string{key.name}
	kresp, err := c.cfg.Ask(ctx, req)
	if err != nil {
		return metadata.Broker{}, err
	}
	if err := ErrorOf(kresp); err != nil {
		return metadata.Broker{}, err
	}
	resp := kresp.(*kmsg.FindCoordinatorResponse)
	id, host, port := resp.NodeID, resp.Host, resp.Port
	if resp.Version >= 4 {
		id, host, port = resp.Coordinators[0].NodeID, resp.Coordinators[0].Host, resp.Coordinators[0].Port
	}
	return metadata.Broker{ID: id, Addr: net.JoinHostPort(host, strconv.Itoa(int(port)))}, nil
}

// coordinatorError is the error that an answer to FindCoordinator holds, or nil.
func coordinatorError(resp *kmsg.FindCoordinatorResponse) error {
	code := resp.ErrorCode
	if resp.Version >= 4 {
		if len(resp.Coordinators) != 1 {
			return fmt.Errorf("FindCoordinator answered with %d coordinators: %w", len(resp.Coordinators), flow.External(sarama.ErrIncompleteResponse))
		}
		code = resp.Coordinators[0].ErrorCode
	}
	if code != 0 {
		return flow.External(sarama.KError(code))
	}
	return nil
}

// meaningOfFailure is what an error of Coordinators.request means: it wraps no answer at all, or those of the brokers that were
// asked for the coordinator. Only what no broker is likely to answer otherwise is a refusal.
func meaningOfFailure(err error) answer {
	if _, old := errors.AsType[*wire.VersionError](err); old && !errors.Is(err, sarama.ErrOutOfBrokers) {
		return answerFatal // the coordinator's own version
	}
	worst := answerLookUp
	for _, err := range joined(err) {
		if code, ok := errors.AsType[sarama.KError](err); ok {
			switch a := meaningOf(kmsg.FindCoordinator, code); a {
			case answerAbortable, answerFatal:
				worst = a
			default:
				return answerLookUp
			}
		}
	}
	return worst
}
