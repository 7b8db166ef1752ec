// Package brokerproducer is the stage of one broker: a select loop that accumulates the produce set, a bridge, and a
// network goroutine that compresses, writes and matches answers. It promises no compatibility.
//
// A partition producer (the owner of one partition's order) opens a Session here, sends its runs through it, and gets back, when
// the session ends, all that was not delivered, in order.
package brokerproducer
