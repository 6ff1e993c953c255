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

// Text is a packed text. The zero value is none.
type Text []byte

// packers are kept: each is some hundred kilobytes.
var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic("no such level: " + err.Error())
	}
	return w
}}

// Pack packs a text; nil stays nil.
func Pack(raw []byte) Text {
	if raw == nil {
		return nil
	}
	var out bytes.Buffer
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(&out)
	_, _ = w.Write(raw) // a buffer takes everything
	_ = w.Close()
	return bytes.Clone(out.Bytes())
}

// Unpack is the text again.
func (t Text) Unpack() []byte {
	if t == nil {
		return nil
	}
	raw, err := io.ReadAll(flate.NewReader(bytes.NewReader(t)))
	if err != nil {
		panic("a packed text cannot be unpacked: " + err.Error()) // it was in nobody else's hands
	}
	return raw
}
