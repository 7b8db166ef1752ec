package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// script is a broker that answers its requests with these functions, in order.
func script(t *testing.T, conf *sarama.Config, steps ...func(received) kmsg.Response) *sarama.Config {
	ours, theirs := net.Pipe()
	broker := newFakeBroker(t, theirs)
	go func() {
		for _, step := range steps {
			got := broker.next()
			broker.reply(got.correlationID, step(got))
		}
	}()
	return through(conf, ours)
}

func supports(ranges ...kmsg.ApiVersionsResponseApiKey) func(received) kmsg.Response {
	return func(got received) kmsg.Response {
		resp := got.body.ResponseKind().(*kmsg.ApiVersionsResponse)
		resp.ApiKeys = ranges
		return resp
	}
}

func TestDialAsksForVersions(t *testing.T) {
	var asked []*kmsg.ApiVersionsRequest
	note := func(then func(received) kmsg.Response) func(received) kmsg.Response {
		return func(got received) kmsg.Response {
			asked = append(asked, got.body.(*kmsg.ApiVersionsRequest))
			return then(got)
		}
	}
	produce := kmsg.ApiVersionsResponseApiKey{ApiKey: 0, MinVersion: 0, MaxVersion: 7}
	unsupported := func(theirs ...kmsg.ApiVersionsResponseApiKey) func(received) kmsg.Response {
		return func(received) kmsg.Response {
			return &kmsg.ApiVersionsResponse{ErrorCode: int16(sarama.ErrUnsupportedVersion), ApiKeys: theirs}
		}
	}
	refuses := func(got received) kmsg.Response {
		resp := got.body.ResponseKind().(*kmsg.ApiVersionsResponse)
		resp.ErrorCode = int16(sarama.ErrInvalidRequest)
		return resp
	}
	for name, test := range map[string]struct {
		steps    []func(received) kmsg.Response
		versions []int16
	}{
		"new broker":                     {[]func(received) kmsg.Response{note(supports(produce))}, []int16{3}},
		"old broker that tells":          {[]func(received) kmsg.Response{note(unsupported(kmsg.ApiVersionsResponseApiKey{ApiKey: 18, MaxVersion: 2})), note(supports(produce))}, []int16{3, 2}},
		"old broker":                     {[]func(received) kmsg.Response{note(unsupported()), note(supports(produce))}, []int16{3, 0}},
		"broker that contradicts itself": {[]func(received) kmsg.Response{note(unsupported(kmsg.ApiVersionsResponseApiKey{ApiKey: 18, MaxVersion: 4})), note(supports(produce))}, []int16{3, 2}},
		"broker that refuses the name":   {[]func(received) kmsg.Response{note(refuses), note(supports(produce))}, []int16{3, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			asked = nil
			c, err := NewDialer(script(t, clusterConfig(), test.steps...), 1).Dial(t.Context(), 1, "fake:9092")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.produce.max != 7 || len(asked) != len(test.versions) {
				t.Fatalf("produce v%d, asked %d times", c.produce.max, len(asked))
			}
			for i, want := range test.versions {
				if asked[i].Version != want {
					t.Errorf("asked in v%d, want v%d", asked[i].Version, want)
				}
			}
			if asked[0].ClientSoftwareName != "sluice" || asked[0].ClientSoftwareVersion == "" {
				t.Errorf("%+v", asked[0])
			}
		})
	}
}

func TestDialErrors(t *testing.T) {
	raw := func(p []byte) func(*testing.T) *sarama.Config {
		return func(t *testing.T) *sarama.Config {
			ours, theirs := net.Pipe()
			broker := newFakeBroker(t, theirs)
			go func() {
				broker.next()
				broker.nc.Write(p) // Fails if the client has read enough
				broker.nc.Close()
			}()
			return through(clusterConfig(), ours)
		}
	}
	broken := errors.New("broken")
	proxied := func(nc net.Conn, err error) func(*testing.T) *sarama.Config {
		return func(*testing.T) *sarama.Config {
			conf := through(clusterConfig(), nil)
			conf.Net.Proxy.Dialer = dialFunc(func() (net.Conn, error) { return nc, err })
			return conf
		}
	}
	for name, test := range map[string]struct {
		conf func(t *testing.T) *sarama.Config
		want error
		text string
	}{
		"closed":                {raw(nil), io.EOF, "versions"},
		"cut":                   {raw([]byte{0, 0, 0, 9, 0, 0, 0, 3, 1}), io.ErrUnexpectedEOF, "versions"},
		"length":                {raw([]byte{0xff, 0, 0, 9, 0, 0, 0, 3}), ErrMalformedAnswer, "versions"},
		"malformed":             {raw([]byte{0, 0, 0, 5, 0, 0, 0, 3, 1}), ErrMalformedAnswer, "versions"},
		"correlation id":        {raw([]byte{0, 0, 0, 5, 0, 0, 0, 4, 1}), ErrUnexpectedAnswer, "versions"},
		"proxy fails":           {proxied(nil, broken), broken, "connecting"},
		"proxy without a conn":  {proxied(nil, nil), nil, "returned no connection"},
		"proxy without dialer":  {func(*testing.T) *sarama.Config { c := clusterConfig(); c.Net.Proxy.Enable = true; return c }, nil, "Net.Proxy.Dialer"},
		"connection is closed":  {proxied(closedConn(), nil), io.ErrClosedPipe, "versions"},
		"nobody listens":        {func(*testing.T) *sarama.Config { return clusterConfig() }, nil, "connecting"},
		"closed without asking": {func(*testing.T) *sarama.Config { return through(testConfig(), closedConn()) }, io.ErrClosedPipe, "connecting"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := NewDialer(test.conf(t), 1).Dial(t.Context(), 1, "127.0.0.1:1")
			if c != nil || err == nil {
				t.Fatal("connected")
			}
			if test.want != nil {
				mustError(t, err, test.want)
			}
			if !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), "127.0.0.1:1") {
				t.Errorf("%v does not say %q", err, test.text)
			}
		})
	}
}

func closedConn() net.Conn {
	a, b := net.Pipe()
	a.Close()
	b.Close()
	return a
}

// TestNoCommonProduceVersion is an error, but not for a bootstrap connection.
func TestNoCommonProduceVersion(t *testing.T) {
	for _, theirs := range []kmsg.ApiVersionsResponseApiKey{
		{ApiKey: 0, MinVersion: 0, MaxVersion: 2}, {ApiKey: 0, MinVersion: 14, MaxVersion: 15}, {ApiKey: 3},
	} {
		_, err := NewDialer(script(t, clusterConfig(), supports(theirs)), 1).Dial(t.Context(), 1, "fake:9092")
		var mismatch *VersionError
		if !errors.As(err, &mismatch) || mismatch.Addr != "fake:9092" || mismatch.Key != 0 {
			t.Errorf("%v", err)
		}
		c, err := NewDialer(script(t, clusterConfig(), supports(theirs)), 1).Dial(t.Context(), -1, "fake:9092")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if c.produce.max != -1 {
			t.Errorf("produce v%d", c.produce.max)
		}
		if err := c.Produce(t.Context(), newRequest(nil, partition("a", 0, nil))); !errors.As(err, &mismatch) {
			t.Errorf("%v", err)
		}
	}
	// A broker that wants topic ids, and a request without.
	c, err := NewDialer(script(t, clusterConfig(), supports(kmsg.ApiVersionsResponseApiKey{MinVersion: 13, MaxVersion: 13})), 1).
		Dial(t.Context(), 1, "fake:9092")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var mismatch *VersionError
	if err := c.Produce(t.Context(), newRequest(nil, partition("a", 0, nil))); !errors.As(err, &mismatch) {
		t.Errorf("%v", err)
	}
}

// contextDialer is a proxy.ContextDialer that never connects.
type contextDialer struct{ dialFunc }

func (contextDialer) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// deafDialer is a proxy.ContextDialer that ignores its context, and does not return before nc is closed.
type deafDialer struct {
	dialFunc
	nc net.Conn
}

func (d deafDialer) DialContext(context.Context, string, string) (net.Conn, error) {
	_, err := d.nc.Read(make([]byte, 1))
	return nil, err
}

func TestDialEndsWithContext(t *testing.T) {
	cause := errors.New("enough")
	for name, set := range map[string]func(*sarama.Config, net.Conn){
		"proxy with context":    func(conf *sarama.Config, _ net.Conn) { conf.Net.Proxy.Dialer = contextDialer{} },
		"proxy that ignores it": func(conf *sarama.Config, nc net.Conn) { conf.Net.Proxy.Dialer = deafDialer{nc: nc} },
		"silent broker":         func(conf *sarama.Config, _ net.Conn) { conf.ApiVersionsRequest = true },
		"silent broker and TLS": func(conf *sarama.Config, _ net.Conn) { conf.Net.TLS.Enable = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				defer theirs.Close()
				conf := through(testConfig(), ours)
				set(conf, ours)
				ctx, cancel := context.WithCancelCause(t.Context())
				result := make(chan error)
				go func() {
					_, err := NewDialer(conf, 1).Dial(ctx, 1, "fake:9092")
					result <- err
				}()
				synctest.Wait()
				cancel(cause)
				err := <-result
				mustError(t, err, cause)
				mustError(t, err, context.Canceled)
			})
		})
	}
}

// TestCancelRightAfterTLS: the context ends right after the handshake. This is for the race detector.
func TestCancelRightAfterTLS(t *testing.T) {
	cert, pool := selfSigned(t)
	for range 20 {
		ours, theirs := net.Pipe()
		conf := through(clusterConfig(), ours)
		conf.Net.TLS.Enable = true
		conf.Net.TLS.Config = &tls.Config{RootCAs: pool}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			server := tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true})
			if err := server.Handshake(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond) // the client goes on meanwhile, unordered with the cancel
			cancel()
		}()
		_, err := NewDialer(conf, 1).Dial(ctx, 1, "127.0.0.1:9092")
		mustError(t, err, context.Canceled)
		theirs.Close()
	}
}

// TestDialTimeout: a proxy dialer that does not return is left behind, and its connection is closed later.
func TestDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		conf := through(testConfig(), ours)
		conf.Net.DialTimeout = time.Second
		late := make(chan struct{})
		conf.Net.Proxy.Dialer = dialFunc(func() (net.Conn, error) {
			<-late
			return ours, nil
		})
		start := time.Now()
		_, err := NewDialer(conf, 1).Dial(t.Context(), 1, "fake:9092")
		mustError(t, err, os.ErrDeadlineExceeded)
		if network, ok := flow.Bare(err).(net.Error); !ok || !network.Timeout() || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no time-out of the network: %v", err) // but maybe the end of the caller's context
		}
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("gave up after %v", waited)
		}
		close(late)
		if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the late connection is open: %v", err)
		}
	})
}

// A dialer that wraps connections may return one with an error, around nothing. It is not closed: that would panic.
func TestLateErrorOfADialer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, _ := net.Pipe()
		conf := through(testConfig(), ours)
		conf.Net.DialTimeout = time.Second
		late := make(chan struct{})
		conf.Net.Proxy.Dialer = dialFunc(func() (net.Conn, error) {
			<-late
			return struct{ net.Conn }{}, io.EOF
		})
		_, err := NewDialer(conf, 1).Dial(t.Context(), 1, "fake:9092")
		mustError(t, err, os.ErrDeadlineExceeded)
		close(late)
		synctest.Wait()
	})
}

func TestCleanVersion(t *testing.T) {
	for in, want := range map[string]string{
		"": "unknown", "(devel)": "devel", "v1.2.3": "v1.2.3", "v1.0.0+dirty": "v1.0.0-dirty", "-.": "unknown", "v1+": "v1",
	} {
		if got := cleanVersion(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
