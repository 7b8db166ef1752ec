// Package dispatch takes messages from the inputs to their brokers. It has three kinds of goroutines: one dispatcher, one
// for each topic, and one for each partition, the partition producer, which keeps the partition's order. The package
// promises no compatibility.
package dispatch
