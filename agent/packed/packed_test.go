package packed

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// What is packed comes back, whatever came first, and takes less.
func TestPacked(t *testing.T) {
	texts := [][]byte{nil, {}, []byte("{"), bytes.Repeat([]byte("0123456789abcde\n"), 10_000), []byte(strings.Repeat(`{"state":"done","reason":"1 of 1"},`, 1000))}
	for i := range texts {
		var a Alike
		var packed []Text
		order := append(texts[i:len(texts):len(texts)], texts[:i]...)
		for _, raw := range order {
			packed = append(packed, a.Pack(raw))
		}
		for i, p := range packed {
			raw := order[i]
			if got := a.Unpack(p); !bytes.Equal(got, raw) || (got == nil) != (raw == nil) {
				t.Errorf("%d bytes came back as %d", len(raw), len(got))
			}
			if len(raw) > 1000 && len(p) > len(raw)/10 {
				t.Errorf("%d bytes that say the same take %d", len(raw), len(p))
			}
		}
	}
}

// A text that says much the same as the first takes little, though nothing in
// it is said twice.
func TestAlikeTakesLittle(t *testing.T) {
	text := func(service string) []byte {
		var b strings.Builder
		for i := range 40 {
			fmt.Fprintf(&b, "%x %s says %d\n", i*i*7919, service, i*104729)
		}
		return []byte(b.String())
	}
	var a Alike
	a.Pack(text("web-1"))
	second := a.Pack(text("web-2"))
	if len(second) > len(text("web-2"))/6 {
		t.Errorf("%d bytes take %d beside such as are like them", len(text("web-2")), len(second))
	}
	if got := a.Unpack(second); !bytes.Equal(got, text("web-2")) {
		t.Errorf("it came back as %s", got)
	}
}

// Packing at once from many sides keeps to one first text.
func TestAlikeForMany(t *testing.T) {
	var a Alike
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			raw := []byte(strings.Repeat(fmt.Sprint(i, " is said; "), 50))
			for range 20 {
				if got := a.Unpack(a.Pack(raw)); !bytes.Equal(got, raw) {
					t.Errorf("%q came back as %q", raw, got)
				}
			}
		})
	}
	all.Wait()
}
