package controller

import (
	"bytes"
	"compress/flate"
	"io"
	"sync"
)

// packed is a record's text as the tenure keeps it: ten thousand of some
// kilobytes each would be most of what an agent holds in memory.
type packed []byte

// packers are kept: each is some hundred kilobytes.
var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic("no such level: " + err.Error())
	}
	return w
}}

func pack(raw []byte) packed {
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

func (p packed) unpack() []byte {
	if p == nil {
		return nil
	}
	raw, err := io.ReadAll(flate.NewReader(bytes.NewReader(p)))
	if err != nil {
		panic("a packed record cannot be unpacked: " + err.Error()) // it was in nobody else's hands
	}
	return raw
}
