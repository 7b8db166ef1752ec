package wire

import "time"

// PartitionRoom is how many bytes a ProducePartition's Frame keeps free before its record batch, and PartitionTail
// after it. The connection writes the partition's header (index, and length of the records; 9 bytes at most)
// right-aligned into that room and the tag byte of KIP-482 into the tail, so that what is large goes to writev without a
// copy.
const (
	PartitionRoom = 9
	PartitionTail = 1
)

// ProduceRequest is one request, and its answer. Conn.Produce takes it over; it is the caller's again when Done is
// called with it, or when Produce returns an error.
type ProduceRequest struct {
	TransactionalID *string
	Acks            int16
	Timeout         time.Duration      // How long the broker may wait for its replicas with acks all
	Partitions      []ProducePartition // Those of one topic stand together, none stands twice

	// OnTurn, unless it is nil, is called once within Produce, when nothing is left to wait for but the socket. Before that
	// no Frame is looked at, so that Partitions may be filled in then. Its error becomes that of Produce. It must not block.
	OnTurn func(*ProduceRequest) error
	// Done is called once for a request that Produce has taken, on the connection's reader goroutine, or with acks 0
	// within Produce: after the broker's answer has arrived and the write call has returned, since the caller reuses the
	// Frames then. The error is nil and Answers are filled in, or it is the cause of the connection's death. Calls of
	// one connection come in the order of sending. Done must not block and must not close the connection.
	Done func(*ProduceRequest, error)
	User any // The caller's

	// Filled in by the connection before Done.

	Answers []ProduceAnswer // Parallel to Partitions; its capacity is reused. Empty if there is an error
	Nodes   []NodeEndpoint  // Leaders that the answers name (KIP-951)
	Written bool            // Whether any byte may have left; if not, the request was certainly not sent
}

// ProducePartition is one record batch. Frame is PartitionRoom bytes, the batch, PartitionTail bytes; the connection
// writes to the room and the tail. A large batch may come in pieces: Frame is the first, and the tail is in the last of
// Rest.
type ProducePartition struct {
	Topic     string
	TopicID   [16]byte // Zero: not known
	Partition int32
	Frame     []byte
	Rest      [][]byte // None is empty
}

// ProduceAnswer is what the broker says about one partition.
type ProduceAnswer struct {
	Code                  int16 // A sarama.KError
	Message               string
	BaseOffset            int64 // -1: not told
	AppendTime            int64 // Milliseconds, -1: the topic keeps the producer's timestamps
	LeaderID, LeaderEpoch int32 // -1: not told (KIP-951)
	Missing               bool  // The answer did not mention this partition
}

// NodeEndpoint is the address of a broker.
type NodeEndpoint struct {
	ID   int32
	Host string
	Port int32
	Rack string
}
