package wire

import "time"

// A ProducePartition's Frame keeps PartitionRoom bytes free before its record batch and PartitionTail after it. The
// connection writes the partition's header (index and length, at most 9 bytes) right-aligned into the room, and the tag
// byte of KIP-482 into the tail. So large batches go to writev without a copy.
const (
	PartitionRoom = 9
	PartitionTail = 1
)

// ProduceRequest is one request and its answer. Conn.Produce takes ownership. The caller gets it back when Done is called,
// or when Produce returns an error.
type ProduceRequest struct {
	TransactionalID *string
	TxnVersion      int16 // With a TransactionalID: of transactions (KIP-890). Version 2 needs Produce v12, version 1 v11 or less
	Acks            int16
	Timeout         time.Duration      // How long the broker may wait for its replicas, with acks all
	Partitions      []ProducePartition // Grouped by topic; no partition occurs twice

	// OnTurn is called once within Produce, when only the socket is left to wait for. It may fill in Partitions: no Frame is
	// read before. Its error becomes that of Produce. It must not block. It may be nil.
	OnTurn func(*ProduceRequest) error
	// OnWrite is called before the first byte is written, and only if the connection lives. It must not block. It may be nil.
	OnWrite func(r *ProduceRequest, at time.Time)
	// Done is called once for a request that Produce has taken, with nil and the Answers filled in, or with the cause of the
	// connection's death. The answer has arrived and the write call has returned by then, so the caller may reuse the
	// Frames. It runs on the connection's reader goroutine, with acks 0 within Produce, in the order of sending. It must not
	// block and must not close the connection.
	Done func(*ProduceRequest, error)
	User any // For the caller

	// Filled in by the connection before Done.

	Answers []ProduceAnswer // One for each of Partitions; its capacity is reused. Empty after an error
	Nodes   []NodeEndpoint  // Addresses of new leaders (KIP-951)
	Latency time.Duration   // From OnWrite to the answer
	Written bool            // The socket has taken all of it. If false, the broker can't have acted on it
}

// ProducePartition is one record batch. Frame is PartitionRoom bytes, the batch, and PartitionTail bytes. The connection
// writes to the room and the tail. A large batch may come in pieces: Frame, then Rest, whose last piece has the tail.
type ProducePartition struct {
	Topic     string
	TopicID   [16]byte // Zero: unknown
	Partition int32
	Frame     []byte
	Rest      [][]byte // No piece is empty
}

// ProduceAnswer is the broker's answer for one partition.
type ProduceAnswer struct {
	Code                  int16 // A sarama.KError
	Message               string
	RecordErrors          []RecordError // KIP-467; none with Produce below v8
	BaseOffset            int64         // -1: not in the answer
	AppendTime            int64         // Milliseconds; -1: the topic keeps the producer's timestamps
	LeaderID, LeaderEpoch int32         // KIP-951; -1: not in the answer
	Missing               bool          // The answer did not mention this partition
}

// RecordError is about one record of a batch that was refused.
type RecordError struct {
	Index   int32 // in the batch
	Message string
}

// NodeEndpoint is the address of a broker.
type NodeEndpoint struct {
	ID   int32
	Host string
	Port int32
	Rack string
}
