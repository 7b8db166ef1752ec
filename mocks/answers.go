package mocks

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answers stands between the cluster and its connections. It knows what the cluster answers to transactional requests, and
// loses or corrects it.
type answers struct {
	// ended is called after an EndTxn that the cluster has carried out.
	ended func(txnID string)

	mu   sync.Mutex
	lose map[kmsg.Key]int // answers that are to be lost yet
	// empty has the transactional ids to which nothing was added since their InitProducerId. The fake cluster knows only
	// how the last transaction ended.
	empty map[string]bool
}

func newAnswers(ended func(txnID string)) *answers {
	return &answers{ended: ended, lose: make(map[kmsg.Key]int), empty: make(map[string]bool)}
}

// listen is net.Listen.
func (a *answers) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return &listener{l, a}, nil
}

func (a *answers) loseNext(key kmsg.Key, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lose[key] += n
}

// judge looks at an answer before it is sent. It returns false if it is to be lost.
func (a *answers) judge(kreq kmsg.Request, kresp kmsg.Response) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	txnID := txnIDOf(kreq)
	switch resp := kresp.(type) {
	case *kmsg.InitProducerIDResponse:
		if resp.ErrorCode == 0 && txnID != "" {
			a.empty[txnID] = true
		}
	case *kmsg.AddPartitionsToTxnResponse:
		if added(resp) {
			delete(a.empty, txnID)
		}
	case *kmsg.AddOffsetsToTxnResponse:
		if resp.ErrorCode == 0 {
			delete(a.empty, txnID)
		}
	case *kmsg.EndTxnResponse:
		switch {
		case resp.ErrorCode != 0:
		case resp.Version < 5 && a.empty[txnID]:
			// Kafka's coordinator has no transaction to end, in state Empty.
			resp.ErrorCode = kerr.InvalidTxnState.Code
		default:
			delete(a.empty, txnID)
			a.ended(txnID)
		}
	}
	key := kmsg.Key(kreq.Key())
	if a.lose[key] == 0 {
		return true
	}
	a.lose[key]--
	return false
}

// added tells whether a partition was added.
func added(resp *kmsg.AddPartitionsToTxnResponse) bool {
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode == 0 {
				return true
			}
		}
	}
	return false
}

// txnIDOf is the transactional id of a request, if it has one.
func txnIDOf(kreq kmsg.Request) string {
	var nullable *string
	switch req := kreq.(type) {
	case *kmsg.ProduceRequest:
		nullable = req.TransactionID
	case *kmsg.InitProducerIDRequest:
		nullable = req.TransactionalID
	case *kmsg.AddPartitionsToTxnRequest:
		return req.TransactionalID
	case *kmsg.AddOffsetsToTxnRequest:
		return req.TransactionalID
	case *kmsg.TxnOffsetCommitRequest:
		return req.TransactionalID
	case *kmsg.EndTxnRequest:
		return req.TransactionalID
	}
	if nullable == nil {
		return ""
	}
	return *nullable
}

type listener struct {
	net.Listener
	answers *answers
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &clusterConn{Conn: conn, answers: l.answers, asked: make(map[int32]kmsg.Request)}, nil
}

// clusterConn is the cluster's end of a connection.
type clusterConn struct {
	net.Conn
	answers *answers

	mu       sync.Mutex
	incoming []byte                 // of an incomplete request
	asked    map[int32]kmsg.Request // by correlation id, if the answer is of interest
}

func (c *clusterConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.incoming = append(c.incoming, p[:n]...)
	for len(c.incoming) >= 4 {
		end := 4 + int(binary.BigEndian.Uint32(c.incoming))
		if len(c.incoming) < end {
			break
		}
		c.request(c.incoming[4:end])
		c.incoming = c.incoming[end:]
	}
	return n, err
}

// request notes a request whose answer is of interest. One that can't be read has none: the cluster closes the connection.
func (c *clusterConn) request(frame []byte) {
	r := kbin.Reader{Src: frame}
	key, version, id := r.Int16(), r.Int16(), r.Int32()
	switch kmsg.Key(key) {
	case kmsg.FindCoordinator, kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn:
	default:
		return
	}
	r.NullableString() // client id
	kreq := kmsg.RequestForKey(key)
	kreq.SetVersion(version)
	if kreq.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if kreq.ReadFrom(r.Src) == nil {
		c.asked[id] = kreq
	}
}

// Write is called with one whole answer.
func (c *clusterConn) Write(p []byte) (int, error) {
	if len(p) < 8 {
		return c.Conn.Write(p)
	}
	id := int32(binary.BigEndian.Uint32(p[4:]))
	c.mu.Lock()
	kreq := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	if kreq == nil {
		return c.Conn.Write(p)
	}
	kresp := kreq.ResponseKind()
	r := kbin.Reader{Src: p[8:]}
	if kresp.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	header := len(p) - len(r.Src)
	if err := kresp.ReadFrom(r.Src); err != nil {
		return 0, err
	}
	if !c.answers.judge(kreq, kresp) {
		c.Close()
		return 0, errLost
	}
	sent := kresp.AppendTo(append([]byte(nil), p[:header]...))
	binary.BigEndian.PutUint32(sent, uint32(len(sent)-4))
	if _, err := c.Conn.Write(sent); err != nil {
		return 0, err
	}
	return len(p), nil
}

var errLost = errors.New("mocks: the answer is lost")
