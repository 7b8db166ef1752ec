package wire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
)

// BenchmarkProduce is a round trip over loopback, five requests open. The broker answers without reading the request.
func BenchmarkProduce(b *testing.B) {
	for _, size := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("partitions=4/bytes=%d", size), func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			parts := make([]ProducePartition, 4)
			for p := range parts {
				parts[p] = partition("topic", int32(p), make([]byte, size))
			}
			go answerAll(l, parts)

			conf := testConfig()
			c, err := NewDialer(conf, 5).Dial(b.Context(), 1, l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			free := make(chan *ProduceRequest, 5)
			for range cap(free) {
				own := make([]ProducePartition, len(parts))
				for p := range own {
					own[p] = partition("topic", int32(p), make([]byte, size))
				}
				free <- &ProduceRequest{Acks: -1, Partitions: own, Done: func(r *ProduceRequest, err error) {
					if err != nil {
						b.Error(err)
					}
					free <- r
				}}
			}
			b.SetBytes(int64(4 * size))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Produce(context.Background(), <-free); err != nil {
					b.Fatal(err)
				}
			}
			for range cap(free) {
				<-free
			}
		})
	}
}

// answerAll accepts one connection and answers every request as if it had all of the partitions.
func answerAll(l net.Listener, parts []ProducePartition) {
	nc, err := l.Accept()
	if err != nil {
		return
	}
	defer nc.Close()
	var f frame
	if err := f.encode(&ProduceRequest{Acks: -1, Partitions: parts}, 10, 0, "test"); err != nil {
		return
	}
	request, err := parseRequest(bytes.Join(f.buffers, nil)[4:])
	if err != nil {
		return
	}
	answer := appendAnswer(nil, 0, accepted(request.body))
	r := bufio.NewReaderSize(nc, 64<<10)
	var head [12]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(head[:])) - 8); err != nil {
			return
		}
		copy(answer[4:8], head[8:])
		if _, err := nc.Write(answer); err != nil {
			return
		}
	}
}
