package sluice

import (
	"context"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/metadata"
	"github.com/sluice-kafka/sluice/internal/telemetry"
	"github.com/sluice-kafka/sluice/internal/wire"
	"github.com/sluice-kafka/sluice/produceset"
)

// newTelemetry makes what pushes metrics to brokers that ask for them (KIP-714); nil if that is switched off. It learns of such brokers
// from every dial. With sarama's constructors it is off: they have no option to switch it off.
func newTelemetry(s *settings, dialer *wire.Dialer) *telemetry.Telemetry {
	if !s.metricsPush || s.saramaContract {
		return nil
	}
	t := telemetry.New(telemetry.Config{
		Bounds: HistogramBounds(), Rack: s.conf.RackID, TransactionalID: s.conf.Producer.Transaction.ID,
		Version: wire.SoftwareVersion(), Failing: dialer.Failing, Timeout: s.conf.Net.ReadTimeout, Log: s.log,
		Compress: func(codec int8, data []byte) ([]byte, bool) {
			return produceset.Compress(sarama.CompressionCodec(codec), data)
		},
	})
	dialer.Dialled = func(id int32, c *wire.Conn) { t.Learn(id, c.Addr(), c.Supports(telemetry.Requests()...)) }
	return t
}

// telemetrySource is what the metrics are made of, and how a connection to push them over is made.
func (p *Producer) telemetrySource(dialer *wire.Dialer, md *metadata.Service) telemetry.Source {
	return telemetry.Source{
		Snapshot: func() telemetry.Snapshot {
			s := telemetrySnapshot(p.Stats())
			s.LongestThrottle = dialer.TakeLongestThrottle()
			return s
		},
		Dial: func(ctx context.Context, id int32, addr string) (telemetry.Conn, error) {
			conn, err := dialer.DialNow(ctx, id, addr)
			if err != nil {
				return nil, err
			}
			if err := conn.CheckCluster(ctx, md.ClusterID()); err != nil {
				_ = conn.Close()
				return nil, err
			}
			return conn, nil
		},
	}
}

// telemetrySnapshot takes what is pushed from Stats.
func telemetrySnapshot(s Stats) telemetry.Snapshot {
	snapshot := telemetry.Snapshot{
		ConnectionsOpened: s.Connections.Opened, QueueTime: timing(s.Stages.Queue),
		Answered: s.Requests.Answered, Throttled: s.Requests.Throttled,
	}
	for i := range s.Brokers {
		if b := &s.Brokers[i]; b.ID >= 0 {
			snapshot.Nodes = append(snapshot.Nodes, telemetry.Node{ID: b.ID, Addr: b.Addr, Latency: timing(b.Requests.Latency)})
		}
	}
	return snapshot
}

func timing(h Histogram) telemetry.Timing { return telemetry.Timing(h) }
