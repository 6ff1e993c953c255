// Package packed keeps texts small that are held for long and read rarely:
// the records and jobspecs of thousands of idle services would be most of what
// an agent holds in memory.
package packed

import (
	"bytes"
	"compress/flate"
	"io"
	"sync"
)

// Text is a packed text. The zero value is none. It can be unpacked only by
// the Alike that packed it.
type Text []byte

// Alike packs texts that resemble one another, as the records of services do:
// the first is what the others are told by. The zero value is ready. It may be
// used by many at once.
type Alike struct {
	mu    sync.Mutex
	first []byte // the end of the first text, at most window
	// packers are kept: each is most of a megabyte.
	packers sync.Pool
}

// window is how far back a text may refer, in bytes: what is further back in
// the first text is of no use.
const window = 32 << 10

// level is the quickest one that takes account of the first text.
const level = 2

// Pack packs a text; nil stays nil.
func (a *Alike) Pack(raw []byte) Text {
	if raw == nil {
		return nil
	}
	var out bytes.Buffer
	w, _ := a.packers.Get().(*flate.Writer)
	if w == nil {
		w = a.packer(raw)
	}
	defer a.packers.Put(w)
	w.Reset(&out)
	_, _ = w.Write(raw) // a buffer takes everything
	_ = w.Close()
	return bytes.Clone(out.Bytes())
}

func (a *Alike) packer(raw []byte) *flate.Writer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.first == nil {
		a.first = bytes.Clone(raw[max(0, len(raw)-window):])
	}
	w, err := flate.NewWriterDict(nil, level, a.first)
	if err != nil {
		panic("no such level: " + err.Error())
	}
	return w
}

// Unpack is the text again.
func (a *Alike) Unpack(t Text) []byte {
	if t == nil {
		return nil
	}
	a.mu.Lock()
	first := a.first
	a.mu.Unlock()
	raw, err := io.ReadAll(flate.NewReaderDict(bytes.NewReader(t), first))
	if err != nil {
		panic("a packed text cannot be unpacked: " + err.Error()) // it was in nobody else's hands
	}
	return raw
}
