package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzVerify: whatever stands in an audit file, reading it ends, what is called whole
// is a chain that was written as it stands, and what is said of it is bounded.
func FuzzVerify(f *testing.F) {
	whole := bytes.Join(chain(f, 4), []byte("\n"))
	f.Add(whole, uint64(0))
	f.Add(append(bytes.Clone(whole), '\n'), uint64(4))
	f.Add(append([]byte("{}\n\n\x1b[2J\n"), whole...), uint64(2))
	greatest, err := encode(Line{Seq: 1<<64 - 2, Prev: Origin, Entry: Entry{Kind: Gap, Reason: "\x1b[2J\n", Lost: 3}})
	if err != nil {
		f.Fatal(err)
	}
	last, err := encode(Line{Seq: 1<<64 - 1, Prev: digest(greatest)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(string(greatest)+"\n"+string(last)+"\n"), uint64(1<<64-1))
	f.Add([]byte(string(greatest)+"\n{}\n{}\n"+string(last)+"\n"), uint64(1<<64-1))
	f.Add([]byte(string(last)+"\n"+string(greatest)+"\n"), uint64(1))
	f.Add([]byte(`{"seq":1,"seq":2,"prev":"","sum":""}`), uint64(1))
	f.Add([]byte(strings.Repeat("x", 100)+sumField+Origin+`"}`+"\n"), uint64(0))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte, expected uint64) {
		path := filepath.Join(dir, "audit.log")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := Verify([]string{path}, Head{expected, Origin})
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Findings) > maxFindings || len(v.Gaps) > maxFindings || v.More > 0 && len(v.Findings) < maxFindings {
			t.Fatalf("%d findings, %d more, %d gaps", len(v.Findings), v.More, len(v.Gaps))
		}
		if expected > 0 && v.Intact() {
			t.Fatalf("a line with the hash %s is there", Origin)
		}
		there := map[uint64]bool{}
		for _, raw := range bytes.Split(text, []byte("\n")) {
			if l, err := decode(raw); err == nil {
				there[l.Seq] = true
			}
		}
		for _, f := range append(v.Findings, v.Gaps...) {
			if f.What == "" || f.Line > v.Lines {
				t.Fatalf("%+v", f)
			}
			var from, to uint64
			if n, _ := fmt.Sscanf(f.What, "missing after this line: line %d", &from); n == 1 && there[from] {
				t.Fatalf("%+v, and it is there", f)
			}
			if n, _ := fmt.Sscanf(f.What, "missing after this line: lines %d to %d", &from, &to); n == 2 && (from >= to || there[from] || there[to]) {
				t.Fatalf("%+v", f)
			}
		}
		if v, err = Verify([]string{path}, Head{}); err != nil || !v.Intact() {
			return
		}
		// Whole is what encode makes of it, and nothing else.
		var want Head
		for i, raw := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
			if len(text) == 0 {
				break
			}
			l, err := decode(raw)
			if err != nil || i > 0 && (l.Seq != want.Seq+1 || l.Prev != want.Hash) {
				t.Fatalf("line %d, %s %v, is called whole", i+1, raw, err)
			}
			want = Head{l.Seq, digest(raw)}
			again, err := encode(l)
			if err != nil {
				continue // a moment that RFC 3339 cannot tell
			}
			if back, err := decode(again); err != nil || !same(t, back, l) {
				t.Fatalf("%+v\nwritten and read again is\n%+v %v", l, back, err)
			}
		}
		if v.Head != want {
			t.Fatalf("the last line is %+v, said to be %+v", want, v.Head)
		}
	})
}

func same(t *testing.T, a, b Line) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

// A file of holes, in whatever order, takes no more memory or time than one without.
func TestVerifyOfManyHoles(t *testing.T) {
	var lines [][]byte
	for i := range 5000 {
		line, err := encode(Line{Seq: uint64(10 * (i + 1)), Prev: Origin})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	for i := range 5000 {
		line, err := encode(Line{Seq: uint64(10*(i+1) - 5), Prev: Origin})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	c := check{}
	p := &Piece{File: "x"}
	for _, raw := range lines {
		p.Lines++
		if c.line(p, raw, true); len(c.missing) > maxMissing || len(c.v.Findings) > maxFindings {
			t.Fatalf("%d holes and %d findings are remembered", len(c.missing), len(c.v.Findings))
		}
	}
	if c.close(nil); c.v.More < 8000 {
		t.Errorf("%d more findings", c.v.More)
	}
}
