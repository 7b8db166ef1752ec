package main

import "github.com/IBM/sarama"

// channels is not a client: a goroutine hands each message from one buffered channel to the next. Whatever takes
// messages from a channel and gives them back on another cannot be cheaper.
type channels struct {
	run
	in, out chan *sarama.ProducerMessage
	acked   chan struct{}
	counts  chan int
}

func openChannels(r run) (client, error) {
	c := &channels{
		run: r, acked: make(chan struct{}), counts: make(chan int),
		in: make(chan *sarama.ProducerMessage, 256), out: make(chan *sarama.ProducerMessage, 256),
	}
	go func() {
		defer close(c.out)
		for m := range c.in {
			c.out <- m
		}
	}()
	go func() {
		for n := range c.counts {
			for range n {
				<-c.out
			}
			c.acked <- struct{}{}
		}
	}()
	return c, nil
}

func (c *channels) send(n int) error {
	c.counts <- n
	for i := range n {
		c.in <- saramaMessage(c.payload, i)
	}
	<-c.acked
	return nil
}

func (c *channels) close() error {
	close(c.counts)
	close(c.in)
	return nil
}
