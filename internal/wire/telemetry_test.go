package wire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// TestSupports: a request is supported if the broker itself has named it.
func TestSupports(t *testing.T) {
	metrics := []kmsg.Request{kmsg.NewPtrGetTelemetrySubscriptionsRequest(), kmsg.NewPtrPushTelemetryRequest()}
	for _, tt := range []struct {
		name string
		opts []kfake.Opt
		ask  bool
		want bool
	}{
		{"a newer broker", nil, true, true},
		{"an older broker", []kfake.Opt{kfake.MaxVersions(kversion.V3_6_0())}, true, false},
		{"one that is not asked", nil, false, false},
	} {
		_, addr := newCluster(t, tt.opts...)
		conf := clusterConfig()
		conf.ApiVersionsRequest = tt.ask
		d := NewDialer(conf, 5)
		var told *Conn
		d.Dialled = func(id int32, c *Conn) {
			if told = c; id != 0 {
				t.Errorf("%s: dialled broker %d", tt.name, id)
			}
		}
		c, err := d.Dial(t.Context(), 0, addr)
		if err != nil {
			t.Fatal(err)
		}
		if told != c {
			t.Errorf("%s: Dialled was not told", tt.name)
		}
		if got := c.Supports(metrics...); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
		if c.Supports(append(metrics, kmsg.NewPtrFetchSnapshotRequest())...) {
			t.Errorf("%s: supports a controller's request", tt.name)
		}
		c.Close()
	}
}

// TestDialledOnlyIfSo: a dial that fails tells nobody.
func TestDialledOnlyIfSo(t *testing.T) {
	d := NewDialer(clusterConfig(), 5)
	d.Dialled = func(int32, *Conn) { t.Error("told") }
	const nobody = "127.0.0.1:1"
	if _, err := d.DialNow(t.Context(), 0, nobody); err == nil || !d.Failing(nobody) || d.Failing("127.0.0.1:2") {
		t.Errorf("%v, failing %v", err, d.Failing(nobody))
	}
}

// TestTelemetryRequests: both have their answers read, and an answer may be larger than its request.
func TestTelemetryRequests(t *testing.T) {
	cluster, addr := newCluster(t)
	many := make([]string, 1000)
	for i := range many {
		many[i] = "org.apache.kafka.producer."
	}
	cluster.ControlKey(int16(kmsg.GetTelemetrySubscriptions), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		resp := kreq.ResponseKind().(*kmsg.GetTelemetrySubscriptionsResponse)
		resp.ClientInstanceID, resp.RequestedMetrics = [16]byte{1}, many
		return resp, nil, true
	})
	c := dialCluster(t, clusterConfig(), addr)
	resp, err := c.Request(t.Context(), kmsg.NewPtrGetTelemetrySubscriptionsRequest())
	if err != nil || len(resp.(*kmsg.GetTelemetrySubscriptionsResponse).RequestedMetrics) != 1000 {
		t.Errorf("%v, %v", resp, err)
	}
	push := kmsg.NewPtrPushTelemetryRequest()
	push.Metrics = make([]byte, 1<<20)
	resp, err = c.Request(t.Context(), push)
	if err != nil || resp.(*kmsg.PushTelemetryResponse).ErrorCode == 0 { // of an id that is 0
		t.Errorf("%v, %v", resp, err)
	}
}

// TestTakeLongestThrottle: of any answer, since the last call.
func TestTakeLongestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broker := connect(t, testConfig(), 5)
		for _, millis := range []int32{20, 30, 10, 0} {
			go func() {
				got := broker.next()
				resp := got.body.ResponseKind().(*kmsg.MetadataResponse)
				resp.ThrottleMillis = millis
				broker.reply(got.correlationID, resp)
			}()
			if _, err := c.Metadata(t.Context(), kmsg.NewPtrMetadataRequest()); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.dialer.TakeLongestThrottle(); got != 30*time.Millisecond {
			t.Errorf("%v, want 30ms", got)
		}
		if got := c.dialer.TakeLongestThrottle(); got != 0 {
			t.Errorf("%v the second time", got)
		}
	})
}
