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
	err := c.shareOut(n, 1, c.feed)
	<-c.acked
	return err
}

// feed is one of the goroutines that send.
func (c *channels) feed(from, to int) error {
	for i := from; i < to; i++ {
		c.in <- saramaMessage(c.payload, i)
	}
	return nil
}

func (c *channels) close() error {
	close(c.counts)
	close(c.in)
	return nil
}
