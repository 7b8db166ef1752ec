package properties

import (
	"encoding/binary"
	"errors"
)

// checkJKS walks through a Java keystore, so that each length in it is one that the file has. keystore-go believes them: in a
// file that is damaged the number of certificates may ask for 160 GB, and Go then ends the process.
func checkJKS(data []byte) error {
	w := jksWalk{rest: data}
	w.skip(4) // the magic number
	version := w.number()
	w.eachOf(w.number(), func() {
		tag := w.number()
		w.skip(w.short()) // alias
		w.skip(8)         // time
		switch tag {
		case 1: // a key and its chain
			w.skip(w.number())
			w.eachOf(w.number(), func() { w.certificate(version) })
		case 2:
			w.certificate(version)
		default:
			w.bad = true
		}
	})
	if w.bad || version != 1 && version != 2 {
		return errors.New("the keystore is damaged")
	}
	return nil
}

// A jksWalk is what is left of a keystore. Once it is bad, nothing is.
type jksWalk struct {
	rest []byte
	bad  bool
}

func (w *jksWalk) skip(n uint32) []byte {
	if uint64(n) > uint64(len(w.rest)) {
		w.rest, w.bad = nil, true
		return nil
	}
	skipped := w.rest[:n]
	w.rest = w.rest[n:]
	return skipped
}

func (w *jksWalk) number() uint32 {
	if b := w.skip(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (w *jksWalk) short() uint32 {
	if b := w.skip(2); b != nil {
		return uint32(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (w *jksWalk) certificate(version uint32) {
	if version == 2 {
		w.skip(w.short()) // its type
	}
	w.skip(w.number())
}

// eachOf calls f n times, or until the walk is bad: f takes more than a byte.
func (w *jksWalk) eachOf(n uint32, f func()) {
	for ; n > 0 && !w.bad; n-- {
		f()
	}
}
