package audit

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Finding is something wrong with a file, at a line of it.
type Finding struct {
	File string `json:"file"`
	Line int    `json:"line"` // of the file, from 1; 0: the file as a whole
	Seq  uint64 `json:"seq,omitempty"`
	What string `json:"what"`
}

func (f Finding) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.What)
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.What)
}

// Piece is a file of the chain and what it holds.
type Piece struct {
	File  string `json:"file"`
	Lines int    `json:"lines"`
	First uint64 `json:"first_seq"`
	Last  uint64 `json:"last_seq"`
}

// Verdict is what became of a verification.
type Verdict struct {
	Pieces   []Piece   `json:"files"` // in the chain's order
	Lines    int       `json:"lines"`
	First    uint64    `json:"first_seq"` // greater than 1: earlier files were not given
	Head     Head      `json:"head"`      // the last line
	Findings []Finding `json:"findings"`
	More     int       `json:"more_findings,omitempty"` // that are not listed
	// Gaps are lines that say themselves that events are missing.
	Gaps []Finding `json:"gaps"`
}

// Intact says whether nothing was found.
func (v Verdict) Intact() bool { return len(v.Findings) == 0 }

// maxFindings bounds what is said: past it, more helps nobody.
const maxFindings = 50

// Verify reads files of one chain, in whatever order they are given, and says
// where it is broken. Expect, if its Seq is not 0, is a line that somebody noted
// elsewhere and that has to be there. An error means that a file could not be
// read, and says nothing of the chain.
func Verify(paths []string, expect Head) (Verdict, error) {
	c := check{expect: expect, v: Verdict{Findings: []Finding{}, Gaps: []Finding{}, Pieces: []Piece{}}}
	order, err := inOrder(paths)
	if err != nil {
		return c.v, err
	}
	for _, path := range order {
		if err := c.file(path); err != nil {
			return c.v, err
		}
	}
	c.close(order)
	return c.v, nil
}

// inOrder sorts the files by the number of their first line.
func inOrder(paths []string) ([]string, error) {
	type start struct {
		path string
		seq  uint64
	}
	var all []start
	for _, path := range paths {
		if strings.HasSuffix(path, ".head") {
			continue // a glob took it along
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		s := start{path: path}
		for r := bufio.NewReaderSize(f, 64<<10); s.seq == 0; {
			raw, _, err := nextLine(r)
			if len(raw) > 0 {
				if l, bad := decode(raw); bad == nil || errors.Is(bad, errSum) {
					s.seq = l.Seq
				}
			}
			if err != nil {
				break
			}
		}
		f.Close()
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b start) int { return cmp.Compare(a.seq, b.seq) })
	var out []string
	for _, s := range all {
		out = append(out, s.path)
	}
	return out, nil
}

// nextLine reads a line without its newline, in bounded memory: of one that is
// too long for an audit file the rest is skipped. whole is false where the file
// ends without a newline.
func nextLine(r *bufio.Reader) (line []byte, whole bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(line) <= MaxLine {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return line, false, err
		case len(line) > 0 && line[len(line)-1] == '\n':
			line = line[:len(line)-1]
		}
		return line, true, nil
	}
}

// check follows the chain through the files.
type check struct {
	v      Verdict
	expect Head
	met    bool // the expected line was there

	any     bool
	last    Head    // of the greatest number so far
	at      Finding // where that stands
	broken  bool    // it was found to be changed, and is not to be told twice
	garbage uint64  // lines after it that are none
	missing []span
}

// span is a run of numbers that have not been seen, and the place after which
// they belong.
type span struct {
	from, to uint64
	at       Finding
}

func (c *check) find(f Finding) {
	if len(c.v.Findings) >= maxFindings {
		c.v.More++
		return
	}
	c.v.Findings = append(c.v.Findings, f)
}

func (c *check) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	p := Piece{File: path}
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		raw, whole, err := nextLine(r)
		if len(raw) > 0 || whole {
			p.Lines++
			c.line(&p, raw, whole)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	c.v.Pieces = append(c.v.Pieces, p)
	c.v.Lines += p.Lines
	return nil
}

func (c *check) line(p *Piece, raw []byte, whole bool) {
	l, err := decode(raw)
	at := Finding{File: p.File, Line: p.Lines, Seq: l.Seq}
	say := func(format string, args ...any) {
		f := at
		f.What = fmt.Sprintf(format, args...)
		c.find(f)
	}
	if errors.Is(err, errNotALine) {
		if whole {
			say("changed, or never written by teal: %v", err)
		} else {
			say("cut off: the file ends in the middle of a line")
		}
		c.garbage++ // it may stand in the next one's place, or have been put between
		return
	}
	if !whole {
		say("cut off: the file ends without a newline")
	}
	if p.First == 0 {
		p.First = l.Seq
	}
	p.Last = max(p.Last, l.Seq)
	hash := digest(raw)
	if c.expect.Seq == l.Seq && c.expect.Hash == hash {
		c.met = true
	}
	if l.Kind == Gap && len(c.v.Gaps) < maxFindings {
		g := at
		g.What = fmt.Sprintf("line %d says: %s", l.Seq, l.Reason)
		c.v.Gaps = append(c.v.Gaps, g)
	}
	c.follow(l, at, hash, err != nil, say)
}

// follow holds a line against the one before it.
func (c *check) follow(l Line, at Finding, hash string, wrongSum bool, say func(string, ...any)) {
	if wrongSum {
		say("changed: line %d does not match its own sum", l.Seq)
	}
	switch {
	case !c.any:
		c.v.First = l.Seq
		if l.Seq == 1 && l.Prev != Origin && !wrongSum {
			say("changed, or not the first: line 1 names a line before it")
		}
	case l.Seq <= c.last.Seq:
		say("out of order: line %d stands after line %d", l.Seq, c.last.Seq)
		c.seen(l.Seq)
		return
	case l.Seq-c.last.Seq-1 > c.garbage:
		c.miss(span{c.last.Seq + 1, l.Seq - 1 - c.garbage, c.at})
	case l.Seq-c.last.Seq > 1: // those that are none stand for those that are not there
	case l.Prev != c.last.Hash && !c.broken && !wrongSum:
		f := c.at
		f.What = fmt.Sprintf("changed, with its sum made anew: line %d is not the one that line %d was written after", c.last.Seq, l.Seq)
		c.find(f)
	}
	c.any, c.last, c.at, c.broken, c.garbage = true, Head{l.Seq, hash}, at, wrongSum, 0
}

// maxMissing bounds how many runs of missing numbers are remembered: in a chain of so
// many holes, which of them another line fills helps nobody.
const maxMissing = 1000

func (c *check) miss(s span) {
	if len(c.missing) == maxMissing {
		c.v.More++
		return
	}
	c.missing = append(c.missing, s)
}

// seen takes a number out of those that are missing: it only stood elsewhere.
func (c *check) seen(seq uint64) {
	for i, s := range c.missing {
		if seq < s.from || seq > s.to {
			continue
		}
		var left []span
		if s.from < seq {
			left = append(left, span{s.from, seq - 1, s.at})
		}
		if seq < s.to {
			left = append(left, span{seq + 1, s.to, s.at})
		}
		if len(c.missing) == maxMissing && len(left) > 1 {
			left = left[:1]
		}
		c.missing = slices.Replace(c.missing, i, i+1, left...)
		return
	}
}

// close says what only the whole shows.
func (c *check) close(order []string) {
	for _, s := range c.missing {
		f := s.at
		f.What = fmt.Sprintf("missing after this line: line %d", s.from)
		if s.to > s.from {
			f.What = fmt.Sprintf("missing after this line: lines %d to %d", s.from, s.to)
		}
		c.find(f)
	}
	c.v.Head = c.last
	if len(order) == 0 {
		return
	}
	end := Finding{File: order[len(order)-1]}
	if known := readHead(end.File); known.Seq > c.last.Seq+c.garbage {
		end.What = fmt.Sprintf("cut off: it ends with line %d, and %s says that %d were written", c.last.Seq, headPath(end.File), known.Seq)
		c.find(end)
	} else if known.Seq > 0 && known.Seq == c.last.Seq && known.Hash != c.last.Hash && !c.broken {
		end.What = fmt.Sprintf("changed: line %d is not the one that %s names", known.Seq, headPath(end.File))
		c.find(end)
	}
	if c.expect.Seq > 0 && !c.met {
		end.What = fmt.Sprintf("line %d is not, or is no longer, the one with the hash %s: the chain was cut off before it, or written anew", c.expect.Seq, c.expect.Hash)
		c.find(end)
	}
	slices.SortStableFunc(c.v.Findings, func(a, b Finding) int {
		if byFile := cmp.Compare(slices.Index(order, a.File), slices.Index(order, b.File)); byFile != 0 {
			return byFile
		}
		return cmp.Compare(cmp.Or(a.Line, 1<<30), cmp.Or(b.Line, 1<<30))
	})
}
