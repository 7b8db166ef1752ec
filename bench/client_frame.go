package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/wire"
	"github.com/sluice-kafka/sluice/produceset"
)

const (
	// frameVersion has topic names, so that no id must be looked up; the sink and the brokers of today take it.
	frameVersion = 9
	// frameCorrelationAt is where a request has its correlation id: behind its length, key and version.
	frameCorrelationAt = 8
	// frameAnswer bounds what an answer may claim to be. One partition's takes some 50 bytes and the topic's name.
	frameAnswer = 1 << 20
	// frameHeader is the header of a record batch, and frameRecord what a record in it takes beside its value at most:
	// lengths and the offset's delta of three bytes each, and four fields of one.
	frameHeader, frameRecord = 61, 13
	// framePause and frameTries are for brokers that have not yet heard that they lead a new topic.
	framePause = 50 * time.Millisecond
	frameTries = 100
)

// openFrameSync opens what is not a client: each sender has a connection and a Produce request, encoded beforehand,
// which it writes with a new correlation id, and reads the answer. Whoever sends one call at a time over a connection
// cannot be faster than a write and a read, and pays for the hops to and from other goroutines besides.
func openFrameSync(r run) (client, error) {
	batches, err := frameBatches(r)
	if err != nil {
		return nil, fmt.Errorf("frame-sync: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	places, err := framePlaces(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("frame-sync: %w", err)
	}
	var conns []*frameConn
	end := func() error {
		var failed error
		for _, c := range conns {
			failed = errors.Join(failed, c.conn.Close())
		}
		return failed
	}
	for i := range r.Senders {
		c, err := dialFrame(ctx, places[i%len(places)], r.Call, batches)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("frame-sync: sender %d: %w", i, err), end())
		}
		conns = append(conns, c)
	}
	return &senders{
		number: r.Senders, size: r.Call, end: end,
		sender: func(number int) func(i, n int) error {
			return func(_, n int) error { return conns[number].call(n) }
		},
	}, nil
}

// ownNothing is the cost of making no message.
func ownNothing(run, int) {}

// frameBatches encodes a record batch for each number of records that a call of the run will have: -call, and what is
// left for the last call of the warm-up and of the measured part.
func frameBatches(r run) (map[int][]byte, error) {
	config := &produceset.Config{Level: sarama.CompressionLevelDefault, MaxBytes: batchBytes}
	if err := config.Codec.UnmarshalText([]byte(r.Compression)); err != nil {
		return nil, fmt.Errorf("compression: %w", err)
	}
	batches := make(map[int][]byte)
	for _, n := range []int{r.Call, warmUp(r.Records) % r.Call, r.Records % r.Call} {
		if n == 0 || batches[n] != nil {
			continue
		}
		batch, err := frameBatch(config, r.payload, n)
		if err != nil {
			return nil, fmt.Errorf("a batch of %d records: %w", n, err)
		}
		batches[n] = batch
	}
	return batches, nil
}

// frameBatch encodes n records as the clients under test would.
func frameBatch(config *produceset.Config, p *payload, n int) ([]byte, error) {
	batch := produceset.New(config, 0)
	defer batch.Release()
	now := time.Now().UnixMilli()
	for i := range n {
		message := saramaMessage(p, i)
		charge := produceset.BufferBound(produceset.RecordBound(message)) // lets the buffer grow in steps
		if err := batch.Append(flow.Record{Msg: message, Charge: int32(charge)}, now); err != nil {
			return nil, err
		}
	}
	if err := batch.Seal(); err != nil {
		return nil, err
	}
	// The frame has room for what sluice writes before and behind a batch; kmsg writes it here.
	first, rest := batch.Frame()
	frame := append(bytes.Clone(first), bytes.Join(rest, nil)...)
	return frame[wire.PartitionRoom : len(frame)-wire.PartitionTail], nil
}

// framePlace is a partition and the address of its leader.
type framePlace struct {
	topic     string
	partition int32
	addr      string
}

// framePlaces returns every partition with its leader: the first of each topic, then the second of each.
func framePlaces(ctx context.Context, r run) ([]framePlace, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.Addrs...), kgo.DisableClientMetrics())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	request := kmsg.NewPtrMetadataRequest()
	for _, name := range r.Names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	type key struct {
		topic     string
		partition int32
	}
	leaders := make(map[key]string)
	brokers := make(map[int32]string)
	for _, b := range response.Brokers {
		brokers[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	for _, topic := range response.Topics {
		for _, p := range topic.Partitions {
			if topic.Topic != nil && brokers[p.Leader] != "" {
				leaders[key{*topic.Topic, p.Partition}] = brokers[p.Leader]
			}
		}
	}
	var places []framePlace
	for partition := range int32(r.Partitions) {
		for _, name := range r.Names {
			addr := leaders[key{name, partition}]
			if addr == "" {
				return nil, fmt.Errorf("metadata: no leader of partition %d of %s", partition, name)
			}
			places = append(places, framePlace{name, partition, addr})
		}
	}
	return places, nil
}

// frameConn is the connection of one sender, whose goroutine alone uses it.
type frameConn struct {
	conn        net.Conn
	place       framePlace
	size        int            // records of a whole call
	frame       []byte         // the request of a whole call
	batches     map[int][]byte // for those of other calls; shared and read only
	correlation uint32

	answers *bufio.Reader // takes an answer with one read, though its length is read first
	body    []byte        // of the last answer, its length excluded
	good    []byte        // what follows the correlation id where all went well, up to the error code
}

func dialFrame(ctx context.Context, place framePlace, size int, batches map[int][]byte) (*frameConn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", place.addr)
	if err != nil {
		return nil, err
	}
	return newFrameConn(conn, place, size, batches), nil
}

func newFrameConn(conn net.Conn, place framePlace, size int, batches map[int][]byte) *frameConn {
	// The header's tags, one topic, its name, one partition, its number, no error; compact lengths are one more.
	good := []byte{0, 2}
	good = binary.AppendUvarint(good, uint64(len(place.topic))+1)
	good = append(append(good, place.topic...), 2)
	good = binary.BigEndian.AppendUint32(good, uint32(place.partition))
	good = append(good, 0, 0)
	return &frameConn{
		conn: conn, place: place, size: size, frame: produceFrame(place, batches[size]), batches: batches,
		answers: bufio.NewReader(conn), good: good,
	}
}

// produceFrame puts a batch into a request, with acks all as for every client.
func produceFrame(place framePlace, batch []byte) []byte {
	request := kmsg.NewPtrProduceRequest()
	request.Version, request.Acks, request.TimeoutMillis = frameVersion, -1, int32(adminTimeout.Milliseconds())
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Partition, partition.Records = place.partition, batch
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = place.topic, []kmsg.ProduceRequestTopicPartition{partition}
	request.Topics = []kmsg.ProduceRequestTopic{topic}
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, request, 0)
}

// call sends n records. Only the last call of a send has fewer than others, and makes its request first.
func (c *frameConn) call(n int) error {
	frame := c.frame
	if n != c.size {
		frame = produceFrame(c.place, c.batches[n])
	}
	for try := 1; ; try++ {
		err := c.exchange(frame)
		if err == nil {
			return nil
		}
		if try == frameTries || !errors.Is(err, kerr.NotLeaderForPartition) && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("frame-sync: partition %d of %s at %s: %w", c.place.partition, c.place.topic, c.place.addr, err)
		}
		time.Sleep(framePause) // a broker that answers so has written nothing
	}
}

// exchange writes a request and reads its answer. Nothing is allocated where all is well.
func (c *frameConn) exchange(frame []byte) error {
	c.correlation++
	binary.BigEndian.PutUint32(frame[frameCorrelationAt:], c.correlation)
	if _, err := c.conn.Write(frame); err != nil {
		return err
	}
	if err := c.read(); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if got := binary.BigEndian.Uint32(c.body); got != c.correlation {
		return fmt.Errorf("answer to request %d, not to %d", got, c.correlation)
	}
	if !bytes.HasPrefix(c.body[4:], c.good) {
		return c.refused()
	}
	return nil
}

// read reads an answer into body.
func (c *frameConn) read() error {
	c.body = append(c.body[:0], 0, 0, 0, 0)
	if _, err := io.ReadFull(c.answers, c.body); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(c.body))
	if size < 4 || size > frameAnswer {
		return fmt.Errorf("length prefix %d", size)
	}
	if cap(c.body) < size {
		c.body = make([]byte, size)
	}
	c.body = c.body[:size]
	_, err := io.ReadFull(c.answers, c.body)
	return err
}

// refused says what an answer has that is not the expected one, if that is not just written in another way.
func (c *frameConn) refused() error {
	response := kmsg.NewPtrProduceResponse()
	response.Version = frameVersion
	if len(c.body) < 5 || c.body[4] != 0 {
		return errors.New("answer: a header with tags")
	}
	if err := response.ReadFrom(c.body[5:]); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return errors.New("answer: not of one partition")
	}
	topic := response.Topics[0]
	p := topic.Partitions[0]
	if topic.Topic != c.place.topic || p.Partition != c.place.partition {
		return fmt.Errorf("answer: of partition %d of %s", p.Partition, topic.Topic)
	}
	return kerr.ErrorForCode(p.ErrorCode)
}
