package packed

import (
	"bytes"
	"strings"
	"testing"
)

// What is packed comes back, and takes less.
func TestPacked(t *testing.T) {
	for _, raw := range [][]byte{nil, {}, []byte("{"), []byte(strings.Repeat(`{"state":"done","reason":"1 of 1"},`, 1000))} {
		p := Pack(raw)
		if got := p.Unpack(); !bytes.Equal(got, raw) || (got == nil) != (raw == nil) {
			t.Errorf("%d bytes came back as %d", len(raw), len(got))
		}
		if len(raw) > 1000 && len(p) > len(raw)/10 {
			t.Errorf("%d bytes that say the same take %d", len(raw), len(p))
		}
	}
}
