// Package wire is one produce connection to a broker: dial, TLS, ApiVersions, SASL, produce frames written with one
// writev, a window of open requests, and a reader that matches answers. It promises no compatibility.
//
//	Dialer.Dial ─▶ connect ─▶ TLS ─▶ ApiVersions ─▶ SASL (a sarama.Broker, over the same connection) ─▶ Conn
//
//	Conn.Produce ─▶ window ─▶ throttle ─▶ turn ─▶ frame ─▶ writev ─▶ broker
//	Conn.Request ────────────▶ throttle ─▶ turn ─▶ frame ─▶ write  ─▶ broker
//	ProduceRequest.Done ◀── decode ◀── head of the open requests ◀── reader goroutine ◀── broker
//
// A broker that does not answer ApiVersions is dialled once more, without it, and spoken to by Config.Version
// (apiversions.go).
//
// Goroutines: a Conn has one, its reader (reader.go), started by Dial and ended by the connection's death, whoever
// caused it. It alone takes requests from the head of the open ones, so outcomes keep the order of sending. Writes
// happen on the goroutines that call Produce and Request, one at a time: they take turns.
//
// A connection that is to be replaced while requests are open is drained first (Conn.Drain), then closed.
//
// A connection dies once, of its first cause: Close, a failed write, a broker that closes it, a time-out, or an answer
// that makes no sense. The socket is closed at once, which ends both the reader's Read and a Write under way; the
// reader then fails what is open, in order, and closes Done.
//
// While it authenticates, Dial also runs a sarama.Broker and a goroutine that waits for it. Both end with the exchange,
// or, when the context ends first, as soon as the closed connection lets go of them.
package wire
