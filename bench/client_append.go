package main

import (
	"context"

	"github.com/sluice-kafka/sluice"
)

// sluiceAppend sends bytes through an Appender for each topic.
type sluiceAppend struct {
	run
	producer  *sluice.Producer
	appenders []*sluice.Appender
}

func openSluiceAppend(r run) (client, error) {
	conf, err := sluiceConfig(r)
	if err != nil {
		return nil, err
	}
	s := &sluiceAppend{run: r}
	if s.producer, err = sluice.New(r.Addrs, conf); err != nil {
		return nil, err
	}
	for _, topic := range r.payload.topics {
		a, err := sluice.NewAppender(s.producer, topic)
		if err != nil {
			return nil, err
		}
		s.appenders = append(s.appenders, a)
	}
	return s, nil
}

func (s *sluiceAppend) send(n int) error {
	for i := range n {
		if err := s.appenders[i%len(s.appenders)].Append(nil, s.payload.value(i)); err != nil {
			return err
		}
	}
	for _, a := range s.appenders {
		if err := a.Flush(context.Background()); err != nil {
			return err
		}
	}
	return nil
}

func (s *sluiceAppend) close() error { return s.producer.Close() }
