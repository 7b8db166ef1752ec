// Package dispatch is the way of a message from the inputs to its broker: the dispatcher, one goroutine a topic, and one
// a partition, the partition producer, which owns the partition's order. It promises no compatibility.
package dispatch
