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

// How a broker is asked for its versions, and what is done where it does not answer.

// unansweredError is a question for the versions that was not answered: the connection was lost, or timed out. It is of
// no more use.
type unansweredError struct {
	addr string
	err  error
}

func (e *unansweredError) Error() string {
	return fmt.Sprintf("asking broker %s for its versions: %v", e.addr, e.err)
}

func (e *unansweredError) Unwrap() error { return e.err }

// askAgainAfter is how long a broker that does not answer ApiVersions is not asked: it may be replaced by a newer one.
const askAgainAfter = time.Hour

// muteBrokers are the addresses of brokers that do not answer ApiVersions. Each question to a silent one costs
// Net.ReadTimeout, which a reconnect must not.
type muteBrokers struct {
	mu    sync.Mutex
	until map[string]time.Time // By address: when to ask again
}

func (m *muteBrokers) has(addr string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.until[addr])
}

func (m *muteBrokers) add(addr string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.until == nil {
		m.until = make(map[string]time.Time)
	}
	m.until[addr] = now.Add(askAgainAfter)
}

func (m *muteBrokers) remove(addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, addr)
}

// versionsOf is what the broker supports, and whether it said so itself. Where it is not asked, or answers with an error
// even to the oldest version of the question, it is what the configuration says.
func (d *Dialer) versionsOf(nc net.Conn, addr string, ask bool, m *connMetrics) (v versions, told bool, err error) {
	if !ask {
		return d.configured(), false, nil
	}
	v, err = d.askVersions(nc, m)
	var code sarama.KError
	switch {
	case err == nil:
		d.answered.Store(true)
		return v, true, nil
	case errors.As(err, &code):
		sarama.Logger.Printf("broker %s answers ApiVersions with %q: taking it for Kafka %v\n", addr, code, configuredRelease(d.conf))
		return d.configured(), false, nil
	case errors.Is(err, ErrMalformedAnswer), errors.Is(err, ErrUnexpectedAnswer):
		return nil, false, fmt.Errorf("asking broker %s for its versions: %w", addr, err)
	}
	return nil, false, &unansweredError{addr: addr, err: flow.External(err)}
}

// askVersions sends ApiVersions v3, by which the client also names itself (KIP-511). A broker that does not know v3
// says so in a v0 answer, which tells what it knows; then it is asked in that. After any other error it is asked in v0,
// as sarama does: the broker may object to the client's name. An error code of that answer is returned as a
// sarama.KError.
func (d *Dialer) askVersions(nc net.Conn, m *connMetrics) (versions, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "sluice", softwareVersion()
	req.Version = 3
	for {
		body, err := d.roundTrip(nc, req, m)
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
		resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
		if err := resp.ReadFrom(body); err != nil {
			return nil, fmt.Errorf("%w to ApiVersions v%d: %w", ErrMalformedAnswer, resp.Version, err)
		}
		return versionsOf(resp), nil
	}
}

// errorCode is that of an answer to ApiVersions: in each version it comes first.
func errorCode(body []byte) sarama.KError {
	if len(body) < 2 {
		return sarama.ErrNoError
	}
	return sarama.KError(binary.BigEndian.Uint16(body))
}

// versionAfter is in which version to ask again, lower than the one that was answered with code.
func versionAfter(code sarama.KError, body []byte, version int16) int16 {
	told := kmsg.NewPtrApiVersionsResponse() // v0
	if code != sarama.ErrUnsupportedVersion || told.ReadFrom(body) != nil {
		return 0
	}
	highest, _ := versionsOf(told).highest(keyApiVersions, version-1)
	return max(highest, 0)
}

// roundTrip sends a request over a connection that has no Conn yet and returns the answer without the correlation id.
func (d *Dialer) roundTrip(nc net.Conn, req kmsg.Request, m *connMetrics) ([]byte, error) {
	start := time.Now()
	if err := setTimeout(nc.SetWriteDeadline, d.conf.Net.WriteTimeout); err != nil {
		return nil, err
	}
	correlationID := int32(req.GetVersion())
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID(d.conf.ClientID))
	n, err := nc.Write(formatter.AppendRequest(nil, req, correlationID))
	m.requested(req.Key(), int64(n))
	var body []byte
	if err == nil {
		body, err = d.awaitAnswer(nc, correlationID)
	}
	if err != nil {
		m.dropped()
		return nil, err
	}
	m.answered(int64(len(body))+8, time.Since(start))
	return body, nil
}

func (d *Dialer) awaitAnswer(nc net.Conn, correlationID int32) ([]byte, error) {
	if err := setTimeout(nc.SetReadDeadline, d.conf.Net.ReadTimeout); err != nil {
		return nil, err
	}
	return readAnswer(nc, correlationID)
}

func setTimeout(set func(time.Time) error, timeout time.Duration) error {
	if timeout <= 0 {
		return nil
	}
	return set(time.Now().Add(timeout))
}
