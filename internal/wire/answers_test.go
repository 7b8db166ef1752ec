package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// smallRequests are the requests that readAnswer knows, each with the newest version that is sent.
var smallRequests = []struct {
	req     func() kmsg.Request
	highest int16
}{
	{func() kmsg.Request { return kmsg.NewPtrApiVersionsRequest() }, 5},
	{func() kmsg.Request {
		return &kmsg.FindCoordinatorRequest{CoordinatorKey: "a", CoordinatorKeys: make([]string, 1000)}
	}, 6},
	{func() kmsg.Request { return kmsg.NewPtrInitProducerIDRequest() }, 5},
	{func() kmsg.Request {
		return &kmsg.AddPartitionsToTxnRequest{Topics: []kmsg.AddPartitionsToTxnRequestTopic{{Partitions: make([]int32, 1000)}}}
	}, 3},
	{func() kmsg.Request { return kmsg.NewPtrAddOffsetsToTxnRequest() }, 4},
	{func() kmsg.Request { return kmsg.NewPtrEndTxnRequest() }, 5},
	{func() kmsg.Request {
		return &kmsg.TxnOffsetCommitRequest{Topics: []kmsg.TxnOffsetCommitRequestTopic{
			{Partitions: make([]kmsg.TxnOffsetCommitRequestTopicPartition, 1000)}}}
	}, 5},
	{func() kmsg.Request { return kmsg.NewPtrGetTelemetrySubscriptionsRequest() }, 0},
	{func() kmsg.Request { return kmsg.NewPtrPushTelemetryRequest() }, 0},
}

// sampleAnswer is an answer with all fields set, which its version leaves out or not.
func sampleAnswer(req kmsg.Request) kmsg.Response {
	text := kmsg.StringPtr("some text")
	var tags kmsg.Tags
	tags.Set(77, []byte("tag"))
	switch resp := req.ResponseKind().(type) {
	case *kmsg.ApiVersionsResponse:
		resp.ErrorCode, resp.ThrottleMillis = 1, 2
		resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 3, MinVersion: 4, MaxVersion: 5, UnknownTags: tags}, {ApiKey: 6}}
		resp.SupportedFeatures = []kmsg.ApiVersionsResponseSupportedFeature{{Name: "a", MaxVersion: 7}}
		resp.FinalizedFeaturesEpoch = 8
		resp.FinalizedFeatures = []kmsg.ApiVersionsResponseFinalizedFeature{{Name: "transaction.version", MaxVersionLevel: 2, UnknownTags: tags}}
		resp.UnknownTags = tags
		return resp
	case *kmsg.FindCoordinatorResponse:
		resp.ThrottleMillis, resp.ErrorCode, resp.ErrorMessage = 1, 2, text
		resp.NodeID, resp.Host, resp.Port, resp.UnknownTags = 3, "host", 4, tags
		resp.Coordinators = []kmsg.FindCoordinatorResponseCoordinator{
			{Key: "k", NodeID: 5, Host: "host", Port: 6, ErrorCode: 7, ErrorMessage: text, UnknownTags: tags}, {Key: "l"},
		}
		return resp
	case *kmsg.InitProducerIDResponse:
		resp.ThrottleMillis, resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch, resp.UnknownTags = 1, 2, 3, 4, tags
		return resp
	case *kmsg.AddPartitionsToTxnResponse:
		resp.ThrottleMillis, resp.UnknownTags = 1, tags
		resp.Topics = []kmsg.AddPartitionsToTxnResponseTopic{{Topic: "t", UnknownTags: tags,
			Partitions: []kmsg.AddPartitionsToTxnResponseTopicPartition{{Partition: 2, ErrorCode: 3, UnknownTags: tags}, {}}}, {Topic: "u"}}
		return resp
	case *kmsg.AddOffsetsToTxnResponse:
		resp.ThrottleMillis, resp.ErrorCode, resp.UnknownTags = 1, 2, tags
		return resp
	case *kmsg.EndTxnResponse:
		resp.ThrottleMillis, resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch, resp.UnknownTags = 1, 2, 3, 4, tags
		return resp
	case *kmsg.TxnOffsetCommitResponse:
		resp.ThrottleMillis, resp.UnknownTags = 1, tags
		resp.Topics = []kmsg.TxnOffsetCommitResponseTopic{{Topic: "t", UnknownTags: tags,
			Partitions: []kmsg.TxnOffsetCommitResponseTopicPartition{{Partition: 2, ErrorCode: 3, UnknownTags: tags}, {}}}, {Topic: "u"}}
		return resp
	case *kmsg.GetTelemetrySubscriptionsResponse:
		resp.ThrottleMillis, resp.ErrorCode, resp.ClientInstanceID, resp.SubscriptionID = 1, 2, [16]byte{3, 15: 4}, 5
		resp.AcceptedCompressionTypes, resp.PushIntervalMillis, resp.TelemetryMaxBytes = []int8{4, 3, -1}, 6, 7
		resp.DeltaTemporality, resp.RequestedMetrics, resp.UnknownTags = true, []string{"a.", ""}, tags
		return resp
	case *kmsg.PushTelemetryResponse:
		resp.ThrottleMillis, resp.ErrorCode, resp.UnknownTags = 1, 2, tags
		return resp
	}
	panic("no sample")
}

// fields are those of an answer that are read, as text. Its texts are as we keep them.
func fields(kresp kmsg.Response) string {
	text := func(s *string) string {
		if s == nil {
			return "null"
		}
		return fmt.Sprintf("%q", cutText([]byte(*s)))
	}
	host := func(s string) string { return nameText([]byte(s)) }
	var b bytes.Buffer
	switch r := kresp.(type) {
	case *kmsg.ApiVersionsResponse:
		fmt.Fprint(&b, r.ErrorCode, r.ThrottleMillis, r.FinalizedFeaturesEpoch)
		for _, k := range r.ApiKeys {
			fmt.Fprint(&b, "; ", k.ApiKey, k.MinVersion, k.MaxVersion)
		}
		for _, f := range r.FinalizedFeatures {
			fmt.Fprint(&b, "; ", text(&f.Name), f.MinVersionLevel, f.MaxVersionLevel)
		}
	case *kmsg.FindCoordinatorResponse:
		fmt.Fprint(&b, r.ErrorCode, r.ThrottleMillis, text(r.ErrorMessage), r.NodeID, host(r.Host), r.Port)
		for _, c := range r.Coordinators {
			fmt.Fprintf(&b, "; %q", c.Key)
			fmt.Fprint(&b, c.NodeID, host(c.Host), c.Port, c.ErrorCode, text(c.ErrorMessage))
		}
	case *kmsg.InitProducerIDResponse:
		fmt.Fprint(&b, r.ErrorCode, r.ThrottleMillis, r.ProducerID, r.ProducerEpoch)
	case *kmsg.AddPartitionsToTxnResponse:
		fmt.Fprint(&b, r.ThrottleMillis)
		for _, t := range r.Topics {
			fmt.Fprintf(&b, "; %q", t.Topic)
			for _, p := range t.Partitions {
				fmt.Fprint(&b, ", ", p.Partition, p.ErrorCode)
			}
		}
	case *kmsg.AddOffsetsToTxnResponse:
		fmt.Fprint(&b, r.ErrorCode, r.ThrottleMillis)
	case *kmsg.EndTxnResponse:
		fmt.Fprint(&b, r.ErrorCode, r.ThrottleMillis, r.ProducerID, r.ProducerEpoch)
	case *kmsg.TxnOffsetCommitResponse:
		fmt.Fprint(&b, r.ThrottleMillis)
		for _, t := range r.Topics {
			fmt.Fprintf(&b, "; %q", t.Topic)
			for _, p := range t.Partitions {
				fmt.Fprint(&b, ", ", p.Partition, p.ErrorCode)
			}
		}
	case *kmsg.GetTelemetrySubscriptionsResponse:
		fmt.Fprint(&b, r.ThrottleMillis, r.ErrorCode, r.ClientInstanceID, r.SubscriptionID, r.AcceptedCompressionTypes,
			r.PushIntervalMillis, r.TelemetryMaxBytes, r.DeltaTemporality)
		fmt.Fprintf(&b, "%q", r.RequestedMetrics)
	case *kmsg.PushTelemetryResponse:
		fmt.Fprint(&b, r.ThrottleMillis, r.ErrorCode)
	}
	return b.String()
}

// compareSmall reads body as readAnswer and as kmsg does.
func compareSmall(t *testing.T, req kmsg.Request, body []byte) {
	t.Helper()
	got, err := readAnswer(req, body)
	if err != nil && !errors.Is(err, ErrMalformedAnswer) {
		t.Fatal(err)
	}
	want := req.ResponseKind()
	_, skips := want.(*kmsg.ApiVersionsResponse) // the features that are not finalized
	if (err != nil || skips) && mayTakeLong(want, body) {
		return
	}
	kmsgs := want.ReadFrom(body)
	if kmsgs == nil && err != nil || kmsgs != nil && err == nil && !skips {
		t.Fatalf("%T v%d: kmsg says %v, we %v", want, want.GetVersion(), kmsgs, err)
	}
	if kmsgs != nil || err != nil {
		return
	}
	if fields(got) != fields(want) {
		t.Fatalf("%T v%d:\n%s, want\n%s", want, want.GetVersion(), fields(got), fields(want))
	}
}

// TestSmallAnswersOfEachVersion: they are read as kmsg reads them, and none that is cut short.
func TestSmallAnswersOfEachVersion(t *testing.T) {
	for _, small := range smallRequests {
		for version := int16(0); version <= small.highest; version++ {
			req := small.req()
			req.SetVersion(version)
			body := sampleAnswer(req).AppendTo(nil)
			compareSmall(t, req, body)
			for n := range body {
				if _, err := readAnswer(req, body[:n]); !errors.Is(err, ErrMalformedAnswer) {
					t.Errorf("%T v%d: %d of %d bytes: %v", req, version, n, len(body), err)
				}
			}
		}
	}
}

// TestMoreThanAsked: an answer with more coordinators than the request named, or more topics than it had partitions, is refused.
func TestMoreThanAsked(t *testing.T) {
	for _, req := range []kmsg.Request{
		&kmsg.FindCoordinatorRequest{Version: 4, CoordinatorKeys: make([]string, 1)},
		&kmsg.AddPartitionsToTxnRequest{Version: 3, Topics: []kmsg.AddPartitionsToTxnRequestTopic{{Partitions: make([]int32, 1)}}},
		&kmsg.TxnOffsetCommitRequest{Version: 4, Topics: []kmsg.TxnOffsetCommitRequestTopic{
			{Partitions: make([]kmsg.TxnOffsetCommitRequestTopicPartition, 1)}}},
	} {
		if _, err := readAnswer(req, sampleAnswer(req).AppendTo(nil)); !errors.Is(err, ErrMalformedAnswer) {
			t.Errorf("%T: %v", req, err)
		}
	}
}

// FuzzSmallAnswer: arbitrary bytes are read as kmsg reads them, or refused where it refuses them.
func FuzzSmallAnswer(f *testing.F) {
	for kind, small := range smallRequests {
		for version := int16(0); version <= small.highest; version++ {
			req := small.req()
			req.SetVersion(version)
			f.Add(kind, version, sampleAnswer(req).AppendTo(nil))
		}
		f.Add(kind, small.highest, []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, kind int, version int16, body []byte) {
		if kind < 0 || kind >= len(smallRequests) || version < 0 || version > smallRequests[kind].highest || len(body) > 64<<10 {
			return
		}
		req := smallRequests[kind].req()
		req.SetVersion(version)
		compareSmall(t, req, body)
	})
}

// FuzzLoginAnswer: what passes in a login is never taken for longer than it may be, and an answer to SaslAuthenticate is read as
// kmsg reads it.
func FuzzLoginAnswer(f *testing.F) {
	for version := int16(0); version <= 2; version++ {
		resp := kmsg.NewPtrSASLAuthenticateResponse()
		resp.Version, resp.ErrorCode, resp.ErrorMessage = version, 58, kmsg.StringPtr("no")
		resp.SASLAuthBytes, resp.SessionLifetimeMillis = []byte("token"), 1000
		f.Add(version, false, appendAnswer(nil, 7, resp))
		resp.ErrorCode, resp.ErrorMessage = 0, nil
		f.Add(version, false, appendAnswer(nil, 7, resp))
	}
	f.Add(int16(0), true, []byte{0, 0, 0, 2, 1, 2, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, version int16, bare bool, stream []byte) {
		if version < 0 || version > 2 {
			return
		}
		tap := &saslTap{Conn: &source{bytes.NewReader(stream)}, bare: bare, framed: bare, plain: true,
			key: keySASLAuthenticate, version: version, correlationID: 7, sent: time.Now()}
		for p := make([]byte, 100); ; {
			if _, err := tap.Read(p); err != nil {
				break
			}
		}
		if bare || len(stream) < 8 || tap.left > longestSASLAnswer {
			if tap.left > longestSASLAnswer || bare && tap.accepted {
				t.Fatalf("%d bytes are awaited, accepted %v", tap.left, tap.accepted)
			}
			return
		}
		if !tap.accepted && tap.code == 0 { // not read
			return
		}
		resp := kmsg.NewPtrSASLAuthenticateResponse()
		resp.Version = version
		size := int(stream[1])<<16 | int(stream[2])<<8 | int(stream[3])
		body, ok := stream[8:4+size], true
		if version >= saslFlexible {
			body, ok = skipHeaderTags(body)
		}
		if err := resp.ReadFrom(body); err != nil || !ok {
			t.Fatalf("kmsg refuses what was read: %v", err)
		}
		message := ""
		if resp.ErrorMessage != nil {
			message = cutText([]byte(*resp.ErrorMessage))
		}
		if resp.ErrorCode != tap.code || tap.message != message || tap.accepted && tap.lifetime > 0 != (resp.SessionLifetimeMillis > 0) {
			t.Fatalf("code %d, %q, lifetime %v, want %+v", tap.code, tap.message, tap.lifetime, resp)
		}
	})
}

// source is a connection to read from.
type source struct{ io.Reader }

func (*source) Write(p []byte) (int, error)        { return len(p), nil }
func (*source) Close() error                       { return nil }
func (*source) LocalAddr() net.Addr                { return nil }
func (*source) RemoteAddr() net.Addr               { return nil }
func (*source) SetDeadline(time.Time) error        { return nil }
func (*source) SetReadDeadline(time.Time) error    { return nil }
func (*source) SetWriteDeadline(t time.Time) error { return nil }
