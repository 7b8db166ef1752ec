package wire

import (
	"encoding/binary"
	"math"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// decoder reads a message without copying it. Past its end everything reads as zero and bad is set.
type decoder struct {
	src      []byte
	flexible bool
	bad      bool
}

func (d *decoder) fail() { d.bad, d.src = true, nil }

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.src) {
		d.fail()
		return nil
	}
	b := d.src[:n]
	d.src = d.src[n:]
	return b
}

func (d *decoder) bool() bool {
	b := d.take(1)
	return b != nil && b[0] != 0
}

func (d *decoder) int16() int16 {
	if b := d.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (d *decoder) int32() int32 {
	if b := d.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (d *decoder) int64() int64 {
	if b := d.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// uvarint reads KIP-482's unsigned 32-bit number.
func (d *decoder) uvarint() int {
	v, n := binary.Uvarint(d.src)
	if n <= 0 || n > 5 || v > math.MaxUint32 {
		d.fail()
		return 0
	}
	d.src = d.src[n:]
	return int(v)
}

// count reads an array's length, 0 if it is null. least is the size of its smallest element: a length that the bytes that are
// left cannot hold is refused, before memory is taken for it.
func (d *decoder) count(least int) int {
	var n int
	if d.flexible {
		n = d.uvarint() - 1
	} else {
		n = int(d.int32())
	}
	if int64(n)*int64(least) > int64(len(d.src)) {
		d.fail()
		return 0
	}
	return max(n, 0)
}

// byFormat is one of two least sizes: of the older format, or of KIP-482's.
func (d *decoder) byFormat(older, flexible int) int {
	if d.flexible {
		return flexible
	}
	return older
}

// string reads a string that must not be null.
func (d *decoder) string() []byte { return d.take(d.stringLen()) }

// nullableString reads a string; null reads as empty.
func (d *decoder) nullableString() []byte {
	if n := d.stringLen(); n >= 0 {
		return d.take(n)
	}
	return nil
}

// bytes reads a byte array. -1 reads as empty, as in kmsg: Azure Event Hubs says that.
func (d *decoder) bytes() []byte {
	n := 0
	if d.flexible {
		n = d.uvarint() - 1
	} else {
		n = int(d.int32())
	}
	if n == -1 {
		return nil
	}
	return d.take(n)
}

func (d *decoder) stringLen() int {
	if d.flexible {
		return d.uvarint() - 1
	}
	return int(d.int16())
}

// longestText is how many bytes of a text are kept. It is somewhat more than flow.BrokerText shows.
const longestText = 4*300 + 4

// cutText is a text that is for people, such as an error message. flow.BrokerText makes it fit for errors and logs.
func cutText(text []byte) string { return string(text[:min(len(text), longestText)]) }

// longestName is how many bytes the name of a host, a rack or a cluster has at most; DNS has no longer ones.
const longestName = 255

// nameText is such a name. It goes into many errors and logs, so it is made fit for these at once. Of one that is not, and is
// of no use anyway, only the beginning is kept: there may be many.
func nameText(name []byte) string {
	s, ok := plainName(name)
	if !ok {
		s = flow.BrokerText(s[:min(len(s), 16)]) + "…"
	}
	return s
}

// plainName is such a name, cut, and whether it is fit for errors and logs.
func plainName(name []byte) (s string, ok bool) {
	s = string(name[:min(len(name), longestName)])
	return s, len(name) <= longestName && flow.IsPrintable(s)
}

// tags reads tagged fields (KIP-482), handing each to field, if there is one.
func (d *decoder) tags(field func(tag int, value []byte)) {
	if !d.flexible {
		return
	}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		tag := d.uvarint()
		value := d.take(d.uvarint())
		if field != nil && !d.bad {
			field(tag, value)
		}
	}
}
