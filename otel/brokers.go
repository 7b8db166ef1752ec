package sluiceotel

import (
	"sync"
	"time"

	"github.com/sluice-kafka/sluice"
)

// brokers sums up what Stats has of brokers, by their addresses: one may be there by its id, and by the address that New was given.
//
// The sum of counters may never fall. But Stats leaves out what has had no connection for a while, as the address that New was
// given soon has not. So what each entry has grown by is summed, not what it has. An address that has no entry any more begins anew.
type brokers struct {
	mu   sync.Mutex // is held from Stats on: collections may be concurrent, and older Stats after newer ones look like a new beginning
	last map[brokerKey]sluice.BrokerStats
	sums map[string]sluice.BrokerStats
}

type brokerKey struct {
	id   int32
	addr string
}

// read returns Stats with one entry of Brokers for each address.
func (b *brokers) read(producer Source) sluice.Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	stats := producer.Stats()
	last, sums := make(map[brokerKey]sluice.BrokerStats), make(map[string]sluice.BrokerStats)
	var addrs []string
	for i := range stats.Brokers {
		now := &stats.Brokers[i]
		sum, known := sums[now.Addr]
		if !known {
			addrs = append(addrs, now.Addr)
			sum = b.sums[now.Addr]
			sum.Addr, sum.Requests.InFlight, sum.Connections.Open = now.Addr, 0, 0
		}
		key := brokerKey{now.ID, now.Addr}
		before := b.last[key]
		grow(&sum, &before, now)
		sum.Requests.InFlight += now.Requests.InFlight
		sum.Connections.Open += now.Connections.Open
		last[key], sums[now.Addr] = *now, sum
	}
	b.last, b.sums = last, sums
	stats.Brokers = nil
	for _, addr := range addrs {
		stats.Brokers = append(stats.Brokers, sums[addr])
	}
	return stats
}

// grow adds to the counters of sum by how much a broker's have grown: all of one that has begun anew.
func grow(sum, last, now *sluice.BrokerStats) {
	lastCounts, nowCounts := countsOf(last), countsOf(now)
	for i, count := range countsOf(sum) {
		*count += grown(*lastCounts[i], *nowCounts[i])
	}
	lastTimes, nowTimes := timesOf(last), timesOf(now)
	for i, total := range timesOf(sum) {
		*total += grown(*lastTimes[i], *nowTimes[i])
	}
}

func grown[N ~int64](last, now N) N {
	if now < last {
		return now
	}
	return now - last
}

// countsOf and timesOf are the counters that Observe reports.
func countsOf(b *sluice.BrokerStats) [8]*int64 {
	r, c := &b.Requests, &b.Connections
	return [...]*int64{&r.Sent, &r.Answered, &r.Lost, &r.BytesSent, &r.BytesReceived, &c.Opened, &c.Failed, &c.Lost}
}

func timesOf(b *sluice.BrokerStats) [2]*time.Duration {
	return [...]*time.Duration{&b.Requests.Latency.Sum, &b.Requests.Throttled}
}
