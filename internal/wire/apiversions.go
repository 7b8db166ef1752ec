package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// How a broker is asked for its versions, and what happens if it does not answer.

// unansweredError: the connection failed or timed out before the broker answered ApiVersions.
type unansweredError struct {
	addr string
	err  error
}

func (e *unansweredError) Error() string {
	return fmt.Sprintf("asking broker %s for its versions: %v", e.addr, e.err)
}

func (e *unansweredError) Unwrap() error { return e.err }

// askAgainAfter is when a broker that did not answer ApiVersions is asked again: a newer one may have replaced it.
const askAgainAfter = time.Hour

// noApiVersions remembers the brokers that do not answer ApiVersions. Asking a silent one costs Net.ReadTimeout, and no
// reconnect should pay that again.
type noApiVersions struct {
	mu    sync.Mutex
	until map[string]time.Time // By address: when to ask again
}

func (m *noApiVersions) has(addr string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.until[addr])
}

func (m *noApiVersions) add(addr string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.until == nil {
		m.until = make(map[string]time.Time)
	}
	m.until[addr] = now.Add(askAgainAfter)
}

func (m *noApiVersions) remove(addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, addr)
}

// brokerVersions is what the broker supports. If ask is false, or if the broker answers even ApiVersions v0 with an error,
// it is what the configuration says, and fromBroker is false.
func (d *Dialer) brokerVersions(p peer, ask bool, m *connMetrics) (v versions, fromBroker bool, err error) {
	if !ask {
		return d.configured(), false, nil
	}
	v, err = d.askVersions(p, m)
	var code sarama.KError
	switch {
	case err == nil:
		d.answered.Store(true)
		return v, true, nil
	case errors.As(err, &code):
		d.Log.Printf("sluice: broker %s answers ApiVersions with %q: assuming Kafka %v\n", p.addr, code, configuredRelease(d.conf))
		d.logAssumed(p.addr, code)
		return d.configured(), false, nil
	case errors.Is(err, ErrMalformedAnswer), errors.Is(err, ErrUnexpectedAnswer):
		return nil, false, fmt.Errorf("asking broker %s for its versions: %w", p.addr, err)
	}
	return nil, false, &unansweredError{addr: p.addr, err: flow.External(err)}
}

// askVersions sends ApiVersions v3, which also names the client (KIP-511). A broker that does not know v3 answers in v0
// with the versions that it knows, and is asked again in one of these. After any other error it is asked in v0, as
// sarama does: the broker may object to the client's name. An error code to v0 is returned as a sarama.KError.
func (d *Dialer) askVersions(p peer, m *connMetrics) (versions, error) {
	req := apiVersionsRequest()
	req.Version = 3
	for {
		body, err := d.roundTrip(p, req, m, longestAnswer(0))
		if err != nil {
			return nil, err
		}
		code := errorCode(body)
		if code != sarama.ErrNoError {
			if req.Version == 0 {
				return nil, code
			}
			req.Version = versionAfter(code, body, req.Version)
			continue
		}
		kresp, err := readAnswer(req, body)
		if err != nil {
			return nil, err
		}
		resp := kresp.(*kmsg.ApiVersionsResponse)
		d.features.learn(resp)
		return versionsOf(resp), nil
	}
}

func apiVersionsRequest() *kmsg.ApiVersionsRequest {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "sluice", softwareVersion()
	return req
}

// errorCode reads the error code of an answer to ApiVersions. It comes first in every version.
func errorCode(body []byte) sarama.KError {
	if len(body) < 2 {
		return sarama.ErrNoError
	}
	return sarama.KError(binary.BigEndian.Uint16(body))
}

// versionAfter is the version to ask again in, lower than the one that was answered with code.
func versionAfter(code sarama.KError, body []byte, version int16) int16 {
	resp, err := readAnswer(kmsg.NewPtrApiVersionsRequest(), body) // v0
	if code != sarama.ErrUnsupportedVersion || err != nil {
		return 0
	}
	highest, _ := versionsOf(resp.(*kmsg.ApiVersionsResponse)).highest(keyApiVersions, version-1)
	return max(highest, 0)
}

// roundTrip sends a request over a connection that has no Conn yet. It returns the answer without the correlation id. Longer
// ones than longest are refused.
func (d *Dialer) roundTrip(p peer, req kmsg.Request, m *connMetrics, longest int) (body []byte, err error) {
	start := time.Now()
	defer func() {
		d.logDialRequest(p.id, p.addr, kmsg.NameForKey(req.Key()), req.GetVersion(), int64(len(body))+8, time.Since(start), err)
	}()
	if err := setTimeout(p.SetWriteDeadline, d.conf.Net.WriteTimeout); err != nil {
		return nil, err
	}
	correlationID := int32(req.GetVersion())
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID(d.conf.ClientID))
	n, err := p.Write(formatter.AppendRequest(nil, req, correlationID))
	m.requested(req.Key(), int64(n))
	if err == nil {
		body, err = d.awaitAnswer(p.Conn, correlationID, longest)
	}
	if err != nil {
		m.dropped()
		return nil, err
	}
	m.answered(int64(len(body))+8, time.Since(start))
	return body, nil
}

func (d *Dialer) awaitAnswer(nc net.Conn, correlationID int32, longest int) ([]byte, error) {
	if err := setTimeout(nc.SetReadDeadline, d.conf.Net.ReadTimeout); err != nil {
		return nil, err
	}
	return readFrame(nc, correlationID, longest)
}

func setTimeout(set func(time.Time) error, timeout time.Duration) error {
	if timeout <= 0 {
		return nil
	}
	return set(time.Now().Add(timeout))
}
