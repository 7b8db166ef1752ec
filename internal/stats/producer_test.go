package stats

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func sumOf(p *Producer) (c Counts, topics []string) {
	p.Read(func(int, int) {}, func(t *Topic, listed bool) {
		t.AddTo(&c)
		if listed {
			topics = append(topics, t.Name())
		}
	}, func(*Broker, bool) {})
	return c, topics
}

// A record is in one state at a time, also in the sums of a topic that is forgotten, and in what is counted after that.
func TestEachRecordCountsOnce(t *testing.T) {
	p := New()
	topic := p.Topic("t")
	batch := Batch{Records: 3, Bytes: 90, Payload: 120}
	check := func(when string, want Counts) {
		t.Helper()
		got, _ := sumOf(p)
		if got != want || got.Buffered() != want.Buffered() {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	topic.Accepted(3, 120)
	want := Counts{Accepted: Amount{3, 120}}
	check("accepted", want)
	if got := want.Buffered(); got != (Amount{3, 120}) {
		t.Errorf("buffered %+v", got)
	}
	send := func(again, inFlight bool) {
		s := Sending{Window: time.Second}
		s.Add(batch, again, inFlight)
		topic.Send(&s)
	}
	send(false, true)
	want.Sent, want.InFlight, want.inFlightPayload = Amount{3, 90}, Amount{3, 90}, 120
	check("written", want)
	if got := want.Buffered(); got != (Amount{}) {
		t.Errorf("buffered %+v", got)
	}
	var e Ending
	e.Add(batch, true)
	topic.End(&e, time.Second, true)
	want.InFlight, want.inFlightPayload = Amount{}, 0
	check("answered", want)
	send(true, true)
	topic.Leave(batch)
	want.Sent, want.Retried = Amount{6, 180}, Amount{3, 90}
	check("decided while it is written again", want)
	topic.Failed(Amount{1, 40}, DeliveryTimeout, true)
	want.Failed, want.FailedBy[DeliveryTimeout], want.Unknown = Amount{1, 40}, 1, 1
	p.Forget(topic)
	check("leaving", want)
	if again := p.Topic("t"); again == topic {
		t.Error("a forgotten topic is used again")
	}
	p.Fold(topic)
	check("folded", want)
	topic.Acknowledged(Amount{2, 60}, 80)
	want.Acknowledged, want.ackedPayload = Amount{2, 60}, 80
	check("after that", want)
	topic.HandedOver(time.Second)
	var stages Stages
	p.Read(func(int, int) {}, func(t *Topic, _ bool) { t.AddStagesTo(&stages) }, func(*Broker, bool) {})
	if stages.Window.Count() != 2 || stages.Broker.Count() != 1 || stages.HandOver.Count() != 1 {
		t.Errorf("%d in the window, %d answered, %d handed over", stages.Window.Count(), stages.Broker.Count(), stages.HandOver.Count())
	}
}

// A program may send to any names: what was refused makes no topic.
func TestRefusedMakesNoTopic(t *testing.T) {
	p := New()
	p.TopicOrRest("nobody's").Failed(Amount{1, 5}, Invalid, false)
	known := p.Topic("t")
	if p.TopicOrRest("t") != known || p.Topic("t") != known {
		t.Error("another recorder for the same topic")
	}
	all, topics := sumOf(p)
	if len(topics) != 1 || all.FailedBy[Invalid] != 1 {
		t.Errorf("topics %v, %+v", topics, all)
	}
}

func TestNilRecordersCountNothing(t *testing.T) {
	var p *Producer
	p.Forget(p.Topic("t"))
	p.Fold(p.Topic("t"))
	p.TopicOrRest("t").Accepted(1, 1)
	p.Rest().Failed(Amount{}, Other, false)
	var topic *Topic
	topic.Send(&Sending{})
	topic.End(&Ending{}, 0, true)
	topic.Leave(Batch{})
	topic.Split()
	topic.Acknowledged(Amount{}, 0)
	topic.HandedOver(0)
	if topic.Queue() != nil {
		t.Error("a queue of nothing")
	}
	b := p.Broker(1, "b:1")
	b.Opened()
	b.DialFailed()
	b.Ended(true)
	b.RequestSent(1)
	b.RequestAnswered(1, 1)
	b.RequestLost()
	b.RequestSilent()
	b.Throttled(1)
	b.Send(&Sending{})
	b.End(&Ending{}, 0, true)
	b.Leave(Batch{})
	b.Split()
	b.Acknowledged(Batches{})
}

// Brokers that come back under ever new addresses must not stay for ever. What they did counts on.
func TestBrokersThatAreGoneAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New()
		listed := func() (addrs []string) {
			p.Read(func(int, int) {}, func(*Topic, bool) {}, func(b *Broker, listed bool) {
				if listed {
					addrs = append(addrs, b.Addr())
				}
			})
			return addrs
		}
		kept := p.Broker(1, "kept:1")
		kept.Opened()
		var last *Broker
		for i := range 1000 {
			last = p.Broker(2, fmt.Sprintf("b:%d", i))
			last.Opened()
			last.RequestSent(10)
			last.RequestAnswered(20, time.Millisecond)
			last.Ended(true)
			time.Sleep(time.Minute)
			if n := len(p.brokers); n > 13 {
				t.Fatalf("%d brokers after %d minutes", n, i)
			}
		}
		time.Sleep(time.Hour)
		if got := listed(); len(got) != 1 || got[0] != "kept:1" {
			t.Errorf("%v are left", got)
		}
		last.RequestLost() // late
		r, c := p.Requests(), p.Connections()
		if r.Sent != 1000 || r.Answered != 1000 || r.Lost != 1 || r.BytesSent != 10_000 || r.BytesReceived != 20_000 ||
			c != (Connections{Open: 1, Opened: 1001, Lost: 1000}) {
			t.Errorf("%+v, %+v", r, c)
		}
		if p.Broker(2, "b:0") == p.Broker(2, "b:1") {
			t.Error("two brokers have one recorder")
		}
	})
}

// Nothing is lost or counted twice while topics are forgotten and read.
func TestProducerConcurrentSafe(t *testing.T) {
	p := New()
	var all sync.WaitGroup
	const writers, rounds = 6, 300
	for range writers {
		all.Go(func() {
			for i := range rounds {
				topic := p.Topic("t")
				topic.Accepted(1, 10)
				if i%3 == 0 {
					p.Forget(topic)
					p.Fold(topic)
				}
				topic.Acknowledged(Amount{1, 5}, 10)
			}
		})
	}
	all.Go(func() {
		for range rounds {
			if c := p.Counts(); c.Acknowledged.Records > writers*rounds || c.Accepted.Records > writers*rounds {
				t.Errorf("%+v", c)
			}
		}
	})
	all.Wait()
	if c := p.Counts(); c.Accepted != (Amount{writers * rounds, 10 * writers * rounds}) || c.Acknowledged.Records != writers*rounds ||
		c.Buffered() != (Amount{}) {
		t.Errorf("%+v", c)
	}
	if len(p.leaving) > 0 {
		t.Errorf("%d topics did not leave", len(p.leaving))
	}
}
