package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// echoBroker answers each frame with the frame itself, and counts what arrives.
func echoBroker(t *testing.T) (addr string, arrived <-chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	frames := make(chan []byte, 100)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			for {
				frame, err := readFrame(r)
				if err != nil {
					break
				}
				frames <- frame
				conn.Write(frame)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-gone })
	return l.Addr().String(), frames
}

func readFrame(r *bufio.Reader) ([]byte, error) {
	length, err := frameLength(r)
	if err != nil {
		return nil, err
	}
	frame := make([]byte, length)
	_, err = io.ReadFull(r, frame)
	return frame, err
}

func frame(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

func dialProxy(t *testing.T, rates faultRates, addr string) (*faultProxy, net.Conn) {
	t.Helper()
	p := newFaultProxy(rates, 1, time.Second)
	t.Cleanup(p.close)
	conn, err := p.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return p, conn
}

func exchange(t *testing.T, conn net.Conn, text string) (string, error) {
	t.Helper()
	if _, err := conn.Write(frame(text)); err != nil {
		return "", err
	}
	answer, err := readFrame(bufio.NewReader(conn))
	if err != nil {
		return "", err
	}
	return string(answer[4:]), nil
}

func TestProxyPassesEverythingUntilItStarts(t *testing.T) {
	addr, _ := echoBroker(t)
	p, conn := dialProxy(t, faultRates{Cut: 1, Swallow: 1}, addr)
	for range 10 {
		if got, err := exchange(t, conn, "hello"); got != "hello" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
	p.start()
	if _, err := exchange(t, conn, "hello"); err == nil {
		t.Error("answered, though each request is cut")
	}
	if p.counts.cut.Load() == 0 || p.counts.connections.Load() != 1 {
		t.Error("not counted")
	}
}

// TestProxySwallowsAnswers shows that the broker has what the client is told nothing of.
func TestProxySwallowsAnswers(t *testing.T) {
	addr, arrived := echoBroker(t)
	p, conn := dialProxy(t, faultRates{Swallow: 1}, addr)
	p.start()
	for _, text := range []string{"one", "two"} {
		if _, err := conn.Write(frame(text)); err != nil {
			t.Fatal(err)
		}
		if got := <-arrived; !bytes.Equal(got, frame(text)) {
			t.Errorf("%q arrived", got)
		}
	}
	if got, err := io.ReadAll(conn); len(got) != 0 {
		t.Errorf("%q came back, %v", got, err)
	}
	if p.counts.swallowed.Load() != 1 {
		t.Error("not counted")
	}
}

func TestProxyDelaysAnswers(t *testing.T) {
	addr, _ := echoBroker(t)
	p, conn := dialProxy(t, faultRates{Delay: 1}, addr)
	p.start()
	if got, err := exchange(t, conn, "late"); got != "late" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if p.counts.delayed.Load() != 1 {
		t.Error("not counted")
	}
}

func TestProxyEndsWithItsBroker(t *testing.T) {
	if _, err := newFaultProxy(faultRates{}, 1, time.Second).Dial("tcp", "127.0.0.1:1"); err == nil {
		t.Error("connected to nothing")
	}
	addr, _ := echoBroker(t)
	p, conn := dialProxy(t, faultRates{}, addr)
	p.close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("open after close")
	}
	if _, err := p.Dial("tcp", addr); err == nil {
		t.Error("dialled after close")
	}
}

func TestFrameLength(t *testing.T) {
	for _, tt := range []struct {
		bytes []byte
		want  int64
	}{
		{[]byte{0, 0, 0, 8}, 12},
		{[]byte{0, 0, 0, 0}, 4}, // an empty token of SASL
		{[]byte{1, 0, 0, 0}, 1<<24 + 4},
		{[]byte{22, 3, 1, 1, 0}, 261}, // a TLS handshake
		{[]byte{23, 3, 3, 0x40, 0}, 16389},
		{[]byte{255, 0, 0, 0}, 0},
		{[]byte{0, 0, 0}, 0},
	} {
		if got, _ := frameLength(bufio.NewReader(bytes.NewReader(tt.bytes))); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.bytes, got, tt.want)
		}
	}
}
