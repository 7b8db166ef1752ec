package simtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (c *coordinator) endAtKfake(commit bool, version int16) int16 {
	req := kmsg.NewPtrEndTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = version, transactionalID, c.id, c.epoch, commit
	resp := req.ResponseKind().(*kmsg.EndTxnResponse)
	if err := c.askCoordinator(transactionalID, req, resp, func() int16 { return resp.ErrorCode }); err != nil {
		return 0 // the cluster is closed
	}
	return resp.ErrorCode
}

// addAtKfake adds partitions, as kfake's AddPartitionsToTxn would.
func (c *coordinator) addAtKfake(tp partition) {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 3, transactionalID, c.id, c.epoch
	t := kmsg.NewAddPartitionsToTxnRequestTopic()
	t.Topic, t.Partitions = tp.topic, []int32{tp.id}
	req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{t}
	resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	code := func() int16 { return resp.Topics[0].Partitions[0].ErrorCode }
	if err := c.askCoordinator(transactionalID, req, resp, code); err == nil && code() != 0 {
		c.fail("kfake does not add %v: %v", tp, kerr.ErrorForCode(code()))
	}
}

// askCoordinator asks kfake's coordinator of a key, wherever that is.
func (c *coordinator) askCoordinator(key string, req kmsg.Request, resp kmsg.Response, code func() int16) (err error) {
	for range 10 {
		// A broker may be removed meanwhile.
		if err = c.askDirect(c.cluster.CoordinatorFor(key), req, resp); err == nil && code() != kerr.NotCoordinator.Code {
			return nil
		}
	}
	return err
}

var errNoAnswer = errors.New("simtest: kfake does not answer")

// askDirect is ask over a connection that is kept.
func (c *coordinator) askDirect(node int32, req kmsg.Request, resp kmsg.Response) error {
	conn := c.direct[node]
	if conn == nil {
		var err error
		if conn, err = c.net.virtual.DialContext(context.Background(), "tcp", addr(node)); err != nil {
			return err
		}
		c.direct[node] = conn
	}
	header := binary.BigEndian.AppendUint16(nil, uint16(req.Key()))
	header = binary.BigEndian.AppendUint16(header, uint16(req.GetVersion()))
	header = binary.BigEndian.AppendUint32(header, 1)
	header = binary.BigEndian.AppendUint16(header, 0xffff)
	if req.IsFlexible() {
		header = append(header, 0)
	}
	frame, err := []byte(nil), writeFrame(conn, req.AppendTo(header))
	if err == nil {
		frame, err = readFrame(conn)
	}
	if err != nil {
		conn.Close()
		delete(c.direct, node)
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return decodeAnswer(frame, resp)
}

// close ends its connections, and tells whether a transaction is left open.
func (c *coordinator) close() (open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.direct {
		conn.Close()
	}
	open = c.state == stateOngoing
	c.clear()
	return open
}
