package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// chain is a file of n lines, as bytes without newlines.
func chain(t testing.TB, n int) [][]byte {
	t.Helper()
	head := Head{Hash: Origin}
	var lines [][]byte
	for i := range n {
		line, err := encode(Line{Seq: head.Seq + 1, Prev: head.Hash, Entry: Entry{
			At: time.Date(2026, 11, 24, 10, 0, i, 0, time.UTC), Agent: "a", Kind: "note", Service: "api",
			Reason: fmt.Sprintf("event %d, \"quoted\" <b> ,\"sum\":\"no\"}", i+1), Figures: map[string]string{"n": fmt.Sprint(i)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
		head = Head{head.Seq + 1, digest(line)}
	}
	return lines
}

func write(t *testing.T, path string, lines [][]byte) string {
	t.Helper()
	text := bytes.Join(append(slices.Clip(lines), nil), []byte("\n"))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// without, swapped and so on are what somebody may do to a file.
func changed(lines [][]byte, change func([][]byte) [][]byte) [][]byte {
	var copied [][]byte
	for _, l := range lines {
		copied = append(copied, bytes.Clone(l))
	}
	return change(copied)
}

// resummed replaces text in a line and makes its sum anew, as somebody would
// who knows how it is done.
func resummed(line []byte, old, with string) []byte {
	line = bytes.Replace(line, []byte(old), []byte(with), 1)
	at := bytes.LastIndex(line, []byte(sumField))
	return fmt.Appendf(bytes.Clone(line[:at]), `%s%s"}`, sumField, digest(line[:at]))
}

// Each way to change a file is found, and the line is named.
func TestVerifyNamesTheLine(t *testing.T) {
	lines := chain(t, 9)
	for name, c := range map[string]struct {
		change func([][]byte) [][]byte
		want   []string // of file:line: what
	}{
		"nothing": {func(l [][]byte) [][]byte { return l }, nil},
		"a word": {func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte("event 4"), []byte("event X"), 1)
			return l
		}, []string{":4: changed: line 4 does not match its own sum"}},
		"a word in the last line": {func(l [][]byte) [][]byte {
			l[8] = bytes.Replace(l[8], []byte("event 9"), []byte("event X"), 1)
			return l
		}, []string{":9: changed: line 9 does not match its own sum"}},
		"a word, sum made anew": {func(l [][]byte) [][]byte {
			l[3] = resummed(l[3], "event 4", "event X")
			return l
		}, []string{":4: changed, with its sum made anew: line 4 is not the one that line 5 was written after"}},
		"the first line, sum made anew": {func(l [][]byte) [][]byte {
			l[0] = resummed(l[0], "event 1", "event X")
			return l
		}, []string{":1: changed, with its sum made anew"}},
		"a line replaced by nonsense": {func(l [][]byte) [][]byte {
			l[3] = []byte("nonsense")
			return l
		}, []string{":4: changed, or never written by teal"}},
		"nonsense put between": {func(l [][]byte) [][]byte {
			return append(l[:4:4], append([][]byte{[]byte(`{"seq":5}`)}, l[4:]...)...)
		}, []string{":5: changed, or never written by teal"}},
		"a line taken out": {func(l [][]byte) [][]byte { return append(l[:3:3], l[4:]...) },
			[]string{":3: missing after this line: line 4"}},
		"three lines taken out": {func(l [][]byte) [][]byte { return append(l[:3:3], l[6:]...) },
			[]string{":3: missing after this line: lines 4 to 6"}},
		"two lines swapped": {func(l [][]byte) [][]byte { l[3], l[4] = l[4], l[3]; return l },
			[]string{":5: out of order: line 4 stands after line 5"}},
		"a line twice": {func(l [][]byte) [][]byte { return append(l[:4:4], l[3:]...) },
			[]string{":5: out of order: line 4 stands after line 4"}},
		"cut in the middle of the last line": {func(l [][]byte) [][]byte { l[8] = l[8][:40]; return l },
			[]string{":9: changed, or never"}}, // with its newline
		"an empty line": {func(l [][]byte) [][]byte { return append(l[:4:4], append([][]byte{{}}, l[4:]...)...) },
			[]string{":5: changed, or never"}},
		"lines taken out and one changed": {func(l [][]byte) [][]byte {
			l[7] = resummed(l[7], "event 8", "event X")
			return append(l[:3:3], l[4:]...)
		}, []string{":3: missing after this line: line 4", ":7: changed, with its sum made anew"}},
	} {
		path := write(t, filepath.Join(t.TempDir(), "audit.log"), changed(lines, c.change))
		v, err := Verify([]string{path}, Head{})
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Findings) != len(c.want) || v.Intact() != (len(c.want) == 0) {
			t.Errorf("%s: %v, want %v", name, v.Findings, c.want)
			continue
		}
		for i, want := range c.want {
			if got := v.Findings[i].String(); !strings.Contains(got, path+want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
}

// Whatever single byte is changed, and wherever the file is cut, it is found:
// the cut at the end of a line by what was noted of the end elsewhere.
func TestNoByteCanBeChanged(t *testing.T) {
	lines := chain(t, 3)
	path := write(t, filepath.Join(t.TempDir(), "audit.log"), lines)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head := Head{3, digest(lines[2])}
	verify := func(text []byte) Verdict {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := Verify([]string{path}, head)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := verify(text); !v.Intact() || v.Head != head || v.Lines != 3 {
		t.Fatalf("%+v", v)
	}
	for at := range text {
		other := bytes.Clone(text)
		other[at] ^= 1
		if verify(other).Intact() {
			t.Fatalf("a changed byte %d is not found", at)
		}
		if verify(text[:at]).Intact() {
			t.Fatalf("a file cut to %d bytes is not found", at)
		}
	}
}

// Who writes the whole chain anew from a line on leaves it whole in itself. A
// hash that was noted elsewhere finds that, and nothing else does.
func TestOnlyANotedHashFindsAChainWrittenAnew(t *testing.T) {
	old := chain(t, 6)
	head := Head{Hash: digest(old[2]), Seq: 3}
	noted := Head{6, digest(old[5])}
	forged := old[:3:3]
	for i := 3; i < 6; i++ {
		line, err := encode(Line{Seq: head.Seq + 1, Prev: head.Hash, Entry: Entry{Kind: "note", Reason: "it was otherwise"}})
		if err != nil {
			t.Fatal(err)
		}
		forged = append(forged, line)
		head = Head{head.Seq + 1, digest(line)}
	}
	path := write(t, filepath.Join(t.TempDir(), "audit.log"), forged)
	if v, err := Verify([]string{path}, Head{}); err != nil || !v.Intact() {
		t.Errorf("%v, %v: a chain cannot know of itself", v.Findings, err)
	}
	v, err := Verify([]string{path}, noted)
	if err != nil || v.Intact() || !strings.Contains(v.Findings[0].What, "line 6 is not, or is no longer, the one with the hash "+noted.Hash) {
		t.Errorf("%v, %v", v.Findings, err)
	}
	if v, _ := Verify([]string{path}, Head{3, digest(old[2])}); !v.Intact() {
		t.Errorf("a hash from before that is still there: %v", v.Findings)
	}
}

func TestVerifyOfManyFiles(t *testing.T) {
	dir := t.TempDir()
	lines := chain(t, 9)
	a := write(t, filepath.Join(dir, "audit.log.1"), lines[:3])
	b := write(t, filepath.Join(dir, "audit.log.2"), lines[3:6])
	c := write(t, filepath.Join(dir, "audit.log"), lines[6:])
	writeHead(c, Head{9, digest(lines[8])})
	v, err := Verify([]string{c, c + ".head", a, b}, Head{})
	if err != nil || !v.Intact() || len(v.Pieces) != 3 || v.Pieces[0].File != a || v.Pieces[2].Last != 9 || v.First != 1 || v.Lines != 9 {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err = Verify([]string{b, c}, Head{}); err != nil || !v.Intact() || v.First != 4 {
		t.Errorf("without the oldest: %+v, %v", v, err)
	}
	if v, err = Verify([]string{a, c}, Head{}); err != nil || len(v.Findings) != 1 || v.Findings[0].String() != a+":3: missing after this line: lines 4 to 6" {
		t.Errorf("without the middle: %+v, %v", v.Findings, err)
	}
	write(t, c, lines[6:8])
	if v, err = Verify([]string{a, b, c}, Head{}); err != nil || len(v.Findings) != 1 || !strings.Contains(v.Findings[0].What, "ends with line 8") {
		t.Errorf("cut at the end of a line: %+v, %v", v.Findings, err)
	}
	if _, err := Verify([]string{a, filepath.Join(dir, "nosuch")}, Head{}); err == nil {
		t.Error("a file that is not there")
	}
	huge := append(bytes.Repeat([]byte("x"), 3*MaxLine), '\n')
	if err := os.WriteFile(c, huge, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err = Verify([]string{a, b, c}, Head{}); err != nil || v.Intact() {
		t.Errorf("a line without end: %+v, %v", v, err)
	}
}

// However broken a file is, what is said of it is bounded.
func TestFindingsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, bytes.Repeat([]byte("nonsense\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := Verify([]string{path}, Head{})
	if err != nil || len(v.Findings) != maxFindings || v.More != 1000-maxFindings {
		t.Errorf("%d findings and %d more, %v", len(v.Findings), v.More, err)
	}
}
