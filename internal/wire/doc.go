// Package wire makes connections to brokers: dial, TLS, ApiVersions, SASL, produce requests written with one writev, a
// window of open requests, and a reader that matches answers. It promises no compatibility.
//
//	Dialer.Dial ─▶ connect ─▶ TLS ─▶ ApiVersions ─▶ SASL (a sarama.Broker, over the same connection) ─▶ Conn
//
//	Conn.Produce ─▶ window ─▶ throttle ─▶ turn ─▶ frame ─▶ writev ─▶ broker
//	Conn.Request, Metadata ──▶ throttle ─▶ turn ─▶ frame ─▶ write  ─▶ broker
//	ProduceRequest.Done ◀── decode ◀── head of the open requests ◀── reader goroutine ◀── broker
//
// A broker that does not answer ApiVersions is dialled once more without it, and gets the versions of Config.Version
// (apiversions.go).
//
// Answers are not to be trusted. All are read by one decoder (decoder.go), which checks each count against the bytes that are
// left before memory is taken for it: Produce (answer.go), Metadata (metadata.go), the small ones (answers.go). A broker's texts
// are cut as they are read, and become fit for errors and logs by flow.BrokerText.
//
// A Conn has one goroutine, its reader (reader.go). Dial starts it, and the connection's death ends it. The reader alone
// takes requests from the open ones, oldest first, so outcomes keep the order of sending. The goroutines that call Produce,
// Request and Metadata write, one at a time: they take turns.
//
// To replace a connection with open requests, drain it (Conn.Drain), then close it.
//
// A connection dies once, of its first cause: Close, a failed write, a broker that closes it, a time-out, or an answer
// that makes no sense. The socket is closed at once, which ends a Read and a Write under way. Then the reader fails the
// open requests in order, and closes Done.
//
// During SASL, Dial also runs a sarama.Broker and a goroutine that waits for it. Both end with the exchange, or, if the
// context ends first, when the connection is closed.
package wire
