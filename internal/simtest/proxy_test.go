package simtest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// proxy stands between one connection of the producer and its broker, with three goroutines: one reads requests, as the
// broker's socket would, also those that it never gets to; one handles them in their order; one writes answers when
// they are due, so that a later request can be appended before an earlier one is answered.
type proxy struct {
	*clientConn
	socket  net.Conn // the other end of the producer's connection
	backend net.Conn // to the broker
	frames  chan []byte
	answers chan answer
}

type answer struct {
	frame []byte
	at    time.Time // not before; the latency is kept in any case
	cut   bool      // only a part of it arrives
	acked []numbers // batches that it acknowledges
	taken func()    // called when the producer has taken it whole
}

func newProxy(c *clientConn, socket, backend net.Conn) *proxy {
	return &proxy{clientConn: c, socket: socket, backend: backend, frames: make(chan []byte, 1000), answers: make(chan answer, 1000)}
}

func (p *proxy) run() {
	go p.read()
	written := make(chan struct{})
	go func() {
		defer close(written)
		p.write()
	}()
	p.handle()
	close(p.answers)
	<-written
	p.lose()
	p.socket.Close()
	p.backend.Close()
}

func (p *proxy) read() {
	defer close(p.frames)
	for {
		frame, err := p.readRequest()
		if err != nil {
			p.lose()
			return
		}
		p.network.flight.arrive(p.clientConn, frame)
		if c := p.network.coordinator; c != nil {
			c.arrive(frame)
		}
		p.frames <- frame
	}
}

// readRequest fails on a frame above the broker's own limit (socket.request.max.bytes). A broker sees the size alone; what
// its socket takes meanwhile is up to the buffers on the way: nothing more, or all of it.
func (p *proxy) readRequest() ([]byte, error) {
	limit := p.network.sc.frameLimit
	if limit == 0 {
		return readFrame(p.socket)
	}
	var size [4]byte
	if _, err := io.ReadFull(p.socket, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if n > limit {
		p.network.happens("a large request is closed on")
		p.network.trace("broker %s #%d: closes on %d bytes", p.addr, p.number, n)
		if p.network.sc.frameTaken {
			_, _ = io.CopyN(io.Discard, p.socket, int64(n))
		}
		return nil, errTooLarge
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(p.socket, frame)
	return frame, err
}

var errTooLarge = errors.New("simtest: a frame above the limit")

func readFrame(c net.Conn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c, frame)
	return frame, err
}

func writeFrame(c net.Conn, frame []byte) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	return err
}

func (p *proxy) write() {
	for a := range p.answers {
		p.pause(max(time.Until(a.at), latency))
		if p.lost.Load() {
			continue
		}
		if a.cut {
			whole := append(binary.BigEndian.AppendUint32(nil, uint32(len(a.frame))), a.frame...)
			_, _ = p.socket.Write(whole[:len(whole)/2])
			p.lose()
			continue
		}
		p.network.flight.answered(p.clientConn, a.frame, a.acked)
		if err := writeFrame(p.socket, a.frame); err != nil {
			p.lose()
		} else if a.taken != nil {
			a.taken()
		}
	}
}

// handle takes requests in their order. Those that were read before the connection was lost may still be handled, or
// may not be.
func (p *proxy) handle() {
	for frame := range p.frames {
		if p.lost.Load() && !p.chance(p.network.sc.lateWrites) {
			continue
		}
		for p.network.isDeaf(p.addr) && !p.lost.Load() {
			p.pause(20 * time.Millisecond)
		}
		if !p.request(frame) {
			p.lose()
		}
	}
}

func (p *proxy) chance(percent float64) bool { return percent > 0 && p.faults.Float64()*100 < percent }

// request handles one request. It returns false if the connection is to end.
func (p *proxy) request(frame []byte) bool {
	if p.network.coordinator != nil {
		if handle := p.transactional(frame); handle != nil {
			return handle(frame)
		}
	}
	switch kmsg.Key(binary.BigEndian.Uint16(frame)) {
	case kmsg.Produce:
		return p.produce(frame)
	case kmsg.Metadata:
		return p.metadata(frame)
	case kmsg.InitProducerID:
		return p.initProducerID(frame)
	}
	return p.passOn(frame, nil)
}

// roundTrip asks the broker.
func (p *proxy) roundTrip(frame []byte) ([]byte, error) {
	if err := writeFrame(p.backend, frame); err != nil {
		return nil, err
	}
	return readFrame(p.backend)
}

// passOn asks the broker and answers what edit makes of its answer.
func (p *proxy) passOn(frame []byte, edit func([]byte) []byte) bool {
	resp, err := p.roundTrip(frame)
	if err != nil {
		return false
	}
	if edit != nil {
		resp = edit(resp)
	}
	p.answers <- answer{frame: resp}
	return true
}

// parse reads a request's header and body. What comes before the body is returned to be sent on.
func parse(frame []byte) (req kmsg.Request, header []byte) {
	key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	req = kmsg.RequestForKey(key)
	req.SetVersion(version)
	size := 10
	if id := int16(binary.BigEndian.Uint16(frame[8:])); id > 0 {
		size += int(id)
	}
	if req.IsFlexible() {
		size++ // no tags
	}
	if err := req.ReadFrom(frame[size:]); err != nil {
		panic(err) // the producer's request is malformed, or the proxy is wrong
	}
	return req, frame[:size:size]
}

// encodeAnswer makes the answer's frame.
func encodeAnswer(request []byte, resp kmsg.Response) []byte {
	frame := append([]byte(nil), request[4:8]...) // correlation id
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		frame = append(frame, 0)
	}
	return resp.AppendTo(frame)
}

// decodeAnswer reads a broker's answer.
func decodeAnswer(frame []byte, resp kmsg.Response) error {
	body := frame[4:]
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		body = body[1:]
	}
	return resp.ReadFrom(body)
}
