//go:build unix

package integration

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/kafkatest"
)

// receiver is a broker's metrics reporter that writes a line for each metric that a client has pushed. Kafka's own protobuf reads them.
const receiver = `
package sluicetest;

import java.io.FileWriter;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.metrics.KafkaMetric;
import org.apache.kafka.common.metrics.MetricsReporter;
import org.apache.kafka.server.authorizer.AuthorizableRequestContext;
import org.apache.kafka.server.telemetry.ClientTelemetry;
import org.apache.kafka.server.telemetry.ClientTelemetryPayload;
import org.apache.kafka.server.telemetry.ClientTelemetryReceiver;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.Metric;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.MetricsData;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.NumberDataPoint;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.ResourceMetrics;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.ScopeMetrics;

public class Receiver implements MetricsReporter, ClientTelemetry, ClientTelemetryReceiver {
    public void configure(Map<String, ?> configs) { }
    public void init(List<KafkaMetric> metrics) { }
    public void metricChange(KafkaMetric metric) { }
    public void metricRemoval(KafkaMetric metric) { }
    public void close() { }
    public ClientTelemetryReceiver clientReceiver() { return this; }

    public synchronized void exportMetrics(AuthorizableRequestContext context, ClientTelemetryPayload payload) {
        try (PrintWriter out = new PrintWriter(new FileWriter(System.getProperty("sluicetest.out"), true))) {
            MetricsData data = MetricsData.parseFrom(payload.data());
            for (ResourceMetrics resource : data.getResourceMetricsList()) {
                if (!resource.getUnknownFields().asMap().isEmpty()) throw new IllegalStateException("unknown fields");
                for (ScopeMetrics scope : resource.getScopeMetricsList())
                    for (Metric m : scope.getMetricsList()) {
                        NumberDataPoint p = m.hasSum() ? m.getSum().getDataPoints(0) : m.getGauge().getDataPoints(0);
                        String node = p.getAttributesCount() == 0 ? "-" : p.getAttributes(0).getKey() + "=" + p.getAttributes(0).getValue().getIntValue();
                        String kind = m.hasSum() ? m.getSum().getAggregationTemporality() + "/" + m.getSum().getIsMonotonic() : "gauge";
                        out.println(context.clientId() + " " + payload.clientInstanceId() + " " + payload.isTerminating() + " " + m.getName() + " "
                            + kind + " " + (p.hasAsInt() ? p.getAsInt() : p.getAsDouble()) + " " + node);
                    }
            }
        } catch (IOException e) {
            throw new RuntimeException(e);
        }
    }
}
`

// received is a line of the receiver.
type received struct {
	client, instance, terminating, metric, kind, value, node string
}

func readReceived(t *testing.T, path, client string) (all []received) {
	t.Helper()
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) == 7 && w[0] == client { // the last line may be half there
			all = append(all, received{w[0], w[1], w[2], w[3], w[4], w[5], w[6]})
		}
	}
	return all
}

// subscribeTo has the cluster ask clients for metrics (resource type CLIENT_METRICS).
func subscribeTo(t *testing.T, c *kafkatest.Cluster, metrics, interval string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeClientMetrics, "sluice-test"
	for name, value := range map[string]string{"metrics": metrics, "interval.ms": interval} {
		config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		config.Name, config.Value = name, kmsg.StringPtr(value)
		resource.Configs = append(resource.Configs, config)
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, resource)
	resp, err := req.RequestWith(testContext(t), cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.Resources[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestTelemetry: a real Kafka whose reporter wants clients' metrics gets them, the standard ones of KIP-714, each interval and at Close;
// a changed subscription is followed.
func TestTelemetry(t *testing.T) {
	javac, err := exec.LookPath("javac")
	if err != nil {
		t.Skip("no javac: ", err)
	}
	dir := t.TempDir()
	source, out := filepath.Join(dir, "Receiver.java"), filepath.Join(dir, "received")
	if err := os.WriteFile(source, []byte(receiver), 0o600); err != nil {
		t.Fatal(err)
	}
	classPath := kafkatest.ClassPath(t)
	if text, err := exec.Command(javac, "-cp", classPath, "-d", dir, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	c := kafkatest.Start(t, 1, kafkatest.WithClassPath(dir), kafkatest.WithJava("-Dsluicetest.out="+out),
		kafkatest.WithConfig("metric.reporters", "sluicetest.Receiver"))
	subscribeTo(t, c, "org.apache.kafka.producer.", "1000")

	topic := c.NewTopic(t, 1, nil)
	conf := newConfig()
	conf.ClientID = "sluice-telemetry"
	p := newAsync(t, c, conf)
	deliverOne := func() {
		t.Helper()
		if _, _, err := p.SendMessageContext(testContext(t), &sarama.ProducerMessage{Topic: topic}); err != nil {
			t.Fatal(err)
		}
	}
	const prefix = "org.apache.kafka.producer."
	standard := []string{
		"connection.creation.rate", "connection.creation.total", "node.request.latency.avg", "node.request.latency.max",
		"produce.throttle.time.avg", "produce.throttle.time.max", "record.queue.time.avg", "record.queue.time.max",
	}
	await := func(what string, done func([]received) bool) []received {
		t.Helper()
		ctx := testContext(t)
		for {
			deliverOne()
			all := readReceived(t, out, conf.ClientID)
			if done(all) {
				return all
			}
			select {
			case <-ctx.Done():
				t.Fatalf("waited in vain for %s: %v", what, all)
			case <-time.After(50 * time.Millisecond): // the broker's file has no event
			}
		}
	}
	has := func(all []received, metric string) bool {
		return slices.ContainsFunc(all, func(r received) bool { return r.metric == prefix+metric })
	}
	all := await("the standard metrics", func(all []received) bool {
		return !slices.ContainsFunc(standard, func(name string) bool { return !has(all, name) })
	})
	for _, r := range all {
		kind, node := "gauge", "-"
		if strings.HasSuffix(r.metric, ".total") {
			kind = "AGGREGATION_TEMPORALITY_DELTA/true"
		}
		if strings.Contains(r.metric, ".node.") {
			node = "node_id=0"
		}
		if r.kind != kind || r.node != node || r.terminating != "false" || r.instance != all[0].instance {
			t.Errorf("%+v", r)
		}
	}

	subscribeTo(t, c, prefix+"connection.", "1000")
	before := len(all)
	await("the changed subscription", func(all []received) bool {
		rest := all[before:]
		i := slices.IndexFunc(rest, func(r received) bool { return strings.HasSuffix(r.metric, ".connection.creation.rate") })
		if i < 0 {
			return false
		}
		last := rest[max(0, len(rest)-6):] // of three pushes
		return len(rest) >= 6 && !slices.ContainsFunc(last, func(r received) bool { return !strings.Contains(r.metric, ".connection.") })
	})

	if err := p.Close(); err != nil {
		t.Error(err)
	}
	all = readReceived(t, out, conf.ClientID)
	if last := all[len(all)-1]; last.terminating != "true" || last.instance != all[0].instance {
		t.Errorf("the last push: %+v", last)
	}
}
