// Package users runs public libraries that are written for sarama with sarama's producer and with sluice's, and compares
// what can be seen of both. It is a Go module of its own, so that these libraries stay out of sluice's go.mod.
package users
