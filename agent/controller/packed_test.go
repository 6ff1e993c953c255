package controller

import (
	"bytes"
	"strings"
	"testing"
)

func TestPackedRecords(t *testing.T) {
	for _, raw := range [][]byte{nil, {}, []byte("{"), []byte(strings.Repeat(`{"state":"done","reason":"1 of 1"},`, 1000))} {
		p := pack(raw)
		if got := p.unpack(); !bytes.Equal(got, raw) || (got == nil) != (raw == nil) {
			t.Errorf("%d bytes came back as %d", len(raw), len(got))
		}
		if len(raw) > 1000 && len(p) > len(raw)/10 {
			t.Errorf("%d bytes that say the same take %d", len(raw), len(p))
		}
	}
}
