package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/deployment"
)

// desk is an audit file and who writes it.
type desk struct {
	*testing.T
	path string
	disk *disk

	mu            sync.Mutex
	log           bytes.Buffer
	written, lost int
	failing       bool
}

func (d *desk) AuditWritten(n int)      { d.mu.Lock(); d.written += n; d.mu.Unlock() }
func (d *desk) AuditLost(n int)         { d.mu.Lock(); d.lost += n; d.mu.Unlock() }
func (d *desk) AuditFailing(wrong bool) { d.mu.Lock(); d.failing = wrong; d.mu.Unlock() }

func (d *desk) Write(p []byte) (int, error) { d.mu.Lock(); defer d.mu.Unlock(); return d.log.Write(p) }
func (d *desk) said() string                { d.mu.Lock(); defer d.mu.Unlock(); return d.log.String() }

func newDesk(t *testing.T) *desk {
	d := &desk{T: t, path: filepath.Join(t.TempDir(), "audit.log"), disk: &disk{}}
	return d
}

// opens starts a log; the function ends it as an agent's stop does.
func (d *desk) opens(rotateAt int64) (*Log, func()) {
	d.Helper()
	l := New(Config{Path: d.path, Agent: "teal-1", RotateAt: rotateAt, Meter: d, Log: hclog.New(&hclog.LoggerOptions{Output: d}), open: d.disk.open})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return l, func() {
		d.Helper()
		cancel()
		if err := <-done; err != nil {
			d.Error(err)
		}
	}
}

// event is the n-th thing that happened.
func event(n int) Entry {
	return Entry{At: time.Now().UTC(), Kind: "note", Service: "api", Reason: fmt.Sprint("event ", n)}
}

// kinds reads the files, oldest first, and says what is in them.
func (d *desk) kinds(v Verdict) (kinds []string, lines []Line) {
	d.Helper()
	for _, p := range v.Pieces {
		text, err := os.ReadFile(p.File)
		if err != nil {
			d.Fatal(err)
		}
		for _, raw := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
			var l Line
			if err := json.Unmarshal(raw, &l); err != nil {
				d.Fatal(err)
			}
			kinds, lines = append(kinds, l.Kind), append(lines, l)
		}
	}
	return kinds, lines
}

func (d *desk) verify() Verdict {
	d.Helper()
	paths, err := filepath.Glob(d.path + "*")
	if err != nil {
		d.Fatal(err)
	}
	v, err := Verify(paths, Head{})
	if err != nil {
		d.Fatal(err)
	}
	return v
}

func (d *desk) intact() ([]string, []Line) {
	d.Helper()
	v := d.verify()
	if !v.Intact() || v.First != 1 {
		d.Fatalf("not intact: %+v\n%s", v, d.said())
	}
	return d.kinds(v)
}

// disk fails on demand. What it is told to write while it is full it writes in
// part, as a disk does.
type disk struct {
	mu   sync.Mutex
	full bool
	hang chan struct{}
	// noUndo fails also what would take the part off again.
	noUndo bool
	// unsynced says that something was written and not made sure of.
	unsynced bool
}

func (k *disk) set(change func(*disk)) { k.mu.Lock(); change(k); k.mu.Unlock() }

func (k *disk) open(path string) (file, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	return diskFile{f, k}, nil
}

type diskFile struct {
	file
	k *disk
}

func (f diskFile) Write(p []byte) (int, error) {
	f.k.mu.Lock()
	full, hang := f.k.full, f.k.hang
	f.k.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if full {
		n, _ := f.file.Write(p[:len(p)/2])
		return n, &fs.PathError{Op: "write", Path: "audit.log", Err: syscall.ENOSPC}
	}
	f.k.set(func(k *disk) { k.unsynced = true })
	return f.file.Write(p)
}

func (f diskFile) Sync() error {
	f.k.set(func(k *disk) { k.unsynced = false })
	return f.file.Sync()
}

func (f diskFile) Truncate(size int64) error {
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	if f.k.noUndo {
		return syscall.EIO
	}
	return f.file.Truncate(size)
}

// The chain goes on through restarts, through files that the agent moves aside
// and through files that logrotate does, while it runs and while it does not.
func TestChainGoesOn(t *testing.T) {
	d := newDesk(t)
	l, stop := d.opens(0)
	l.Append(event(1))
	stop()
	l, stop = d.opens(0)
	l.Append(event(2))
	stop()
	if err := os.Rename(d.path, d.path+".1"); err != nil { // nobody writes
		t.Fatal(err)
	}
	l, stop = d.opens(0)
	l.Append(event(3))
	await(t, l, 3+3+2)
	d.disk.set(func(k *disk) {
		if k.unsynced {
			t.Error("a line is said to be written, and may be lost with the power")
		}
	})
	if err := os.Rename(d.path, d.path+".2"); err != nil { // somebody does
		t.Fatal(err)
	}
	if err := os.WriteFile(d.path, nil, 0o600); err != nil { // as logrotate's create does
		t.Fatal(err)
	}
	l.Append(event(4))
	await(t, l, 9)
	if text, err := os.ReadFile(d.path); err != nil || !bytes.Contains(text, []byte("event 4")) {
		t.Errorf("it still writes to the file that was moved away: %v", err)
	}
	stop()
	l, stop = d.opens(900) // it moves them itself
	for n := range 20 {
		l.Append(event(n))
		await(t, l, 12+uint64(n))
		time.Sleep(2 * time.Millisecond) // names are by the millisecond
	}
	stop()
	kinds, lines := d.intact()
	if got := strings.Join(kinds[:10], " "); got != "opened note closed opened note closed opened note note closed" || len(lines) != 32 {
		t.Errorf("%d lines: %s", len(lines), got)
	}
	if files, _ := filepath.Glob(d.path + ".2*"); len(files) < 4 {
		t.Errorf("rotated to %q", files)
	}
	if head, trouble, _ := l.Now(); head.Seq != 32 || trouble != "" || d.written != 32 || d.lost != 0 {
		t.Errorf("%+v %q; %d written, %d lost", head, trouble, d.written, d.lost)
	}
}

// await waits until a line is written.
func await(t *testing.T, l *Log, seq uint64) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		head, trouble, changed := l.Now()
		if head.Seq >= seq {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("line %d is not written; at %d, %s", seq, head.Seq, trouble)
		}
	}
}

// The disk is full for a while. Nobody waits; what there was room for in memory
// comes out in order, the rest is a gap that says so, and the chain is whole.
func TestFullDisk(t *testing.T) {
	for _, noUndo := range []bool{false, true} {
		d := newDesk(t)
		synctest.Test(t, func(t *testing.T) {
			l, stop := d.opens(0)
			l.Append(event(0))
			synctest.Wait()
			d.disk.set(func(k *disk) { k.full, k.noUndo = true, noUndo })
			for n := range maxQueue + 500 {
				l.Append(event(n + 1))
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if _, trouble, _ := l.Now(); !strings.Contains(trouble, "no space left") && !noUndo || trouble == "" {
				t.Errorf("trouble %q", trouble)
			}
			if !d.failing || d.lost != 500 || strings.Count(d.said(), "cannot be written") == 0 {
				t.Errorf("failing %v, lost %d\n%s", d.failing, d.lost, d.said())
			}
			if n := strings.Count(d.said(), "cannot be written"); n > 3 {
				t.Errorf("said %d times", n)
			}
			d.disk.set(func(k *disk) { k.full, k.noUndo = false, false })
			time.Sleep(time.Minute)
			synctest.Wait()
			if _, trouble, _ := l.Now(); trouble != "" || d.failing {
				t.Errorf("still %q", trouble)
			}
			l.Append(event(-1))
			stop()
		})
		kinds, lines := d.intact()
		if n := len(lines); n != 1+1+maxQueue+1+1+1 {
			t.Fatalf("%d lines: %v", n, kinds[max(0, n-5):])
		}
		gap := lines[len(lines)-3]
		if gap.Kind != Gap || gap.Lost != 500 || gap.Until == nil || lines[len(lines)-2].Reason != "event -1" || lines[2].Reason != "event 1" {
			t.Errorf("the gap: %+v", gap)
		}
		if v := d.verify(); len(v.Gaps) != 1 || !strings.Contains(v.Gaps[0].What, "500 events were not written") {
			t.Errorf("gaps %v", v.Gaps)
		}
	}
}

// A write that hangs makes nobody wait.
func TestHungDisk(t *testing.T) {
	d := newDesk(t)
	l, stop := d.opens(0)
	l.Append(event(0))
	await(t, l, 2)
	hang := make(chan struct{})
	d.disk.set(func(k *disk) { k.hang = hang })
	began := time.Now()
	for n := range 3 * maxQueue {
		l.Append(event(n + 1))
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("appending took %s", took)
	}
	d.disk.set(func(k *disk) { k.hang = nil })
	close(hang)
	stop()
	_, lines := d.intact()
	lost, written := uint64(0), uint64(0)
	for _, l := range lines {
		lost += l.Lost
		if l.Kind == "note" {
			written++
		}
	}
	if written+lost != 3*maxQueue+1 || lost == 0 {
		t.Errorf("%d events and a gap of %d", written, lost)
	}
}

// A crash in the middle of a write leaves half a line: it is taken off, and the
// next line says so, and that the file was not closed.
func TestTornLine(t *testing.T) {
	d := newDesk(t)
	l, stop := d.opens(0)
	l.Append(event(1))
	await(t, l, 2)
	text, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := os.WriteFile(d.path, append(text, `{"seq":3,"prev":"12`...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(headPath(d.path)); err != nil {
		t.Fatal(err)
	}
	_, stop = d.opens(0)
	stop()
	kinds, lines := d.intact()
	if strings.Join(kinds, " ") != "opened note opened closed" || !strings.Contains(lines[2].Reason, "19 bytes of an unfinished line") || !strings.Contains(lines[2].Reason, "not closed") {
		t.Errorf("%v: %s", kinds, lines[2].Reason)
	}
}

// Lines taken off the end while no agent ran do not go unseen: the chain goes
// on where it was, and not where somebody wants it to.
func TestLinesTakenOffTheEnd(t *testing.T) {
	d := newDesk(t)
	l, stop := d.opens(0)
	for n := range 5 {
		l.Append(event(n))
	}
	await(t, l, 6)
	stop()
	text, _ := os.ReadFile(d.path)
	lines := bytes.SplitAfter(text, []byte("\n"))
	if err := os.WriteFile(d.path, bytes.Join(lines[:3], nil), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop = d.opens(0)
	stop()
	v := d.verify()
	if len(v.Findings) != 1 || !strings.Contains(v.Findings[0].String(), "audit.log:3: missing after this line: lines 4 to 7") {
		t.Errorf("%v", v.Findings)
	}
	if _, lines := d.kinds(v); !strings.Contains(lines[3].Reason, "the file ends with line 3 and 7 were written") {
		t.Errorf("%+v", lines[3])
	}
	if !strings.Contains(d.said(), "not as it was left") {
		t.Error("the log does not say so")
	}
}

// Two agents on one file would break its chain.
func TestOneWriterAFile(t *testing.T) {
	d := newDesk(t)
	one, stop := d.opens(0)
	await(t, one, 1)
	two, stop2 := d.opens(0)
	_, trouble, changed := two.Now()
	if trouble == "" {
		<-changed
		_, trouble, _ = two.Now()
	}
	if !strings.Contains(trouble, "another process") {
		t.Errorf("%q", trouble)
	}
	stop()
	stop2()
	if kinds, _ := d.intact(); len(kinds) != 2 {
		t.Errorf("%v", kinds)
	}
}

// Without an audit file there is nothing to do, and nobody has to ask.
func TestNoFile(t *testing.T) {
	var l *Log
	l.Append(event(1))
	if head, trouble, _ := l.Now(); head.Seq != 0 || trouble != "" {
		t.Errorf("%v %q", head, trouble)
	}
}

// What an event comes to, and that it is bounded.
func TestOf(t *testing.T) {
	at := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	after := deployment.Service{Name: "api", Active: deployment.Green, Deployment: &deployment.Deployment{
		ID: "d7", State: deployment.RollingBack, Candidate: deployment.Candidate{Version: "2.0.0", Vars: map[string]string{"password": "hunter2"}},
	}}
	figures := map[string]string{}
	for n := range 500 {
		figures[fmt.Sprint(n)] = strings.Repeat("9", 5000)
	}
	e, ok := Of(after, deployment.Event{Kind: deployment.Trigger, At: at, By: "teal", Reason: strings.Repeat("why ", 5000), Figures: figures})
	if !ok || e.Kind != "trigger" || e.Deployment != "d7" || e.Version != "2.0.0" || e.State != "rolling-back" || e.Active != "green" || e.By != "teal" || !e.At.Equal(at) {
		t.Errorf("%+v", e)
	}
	line, err := encode(Line{Seq: 1, Prev: Origin, Entry: e})
	if err != nil || len(line) > 64<<10 || bytes.Contains(line, []byte("hunter2")) {
		t.Errorf("%d bytes, %v", len(line), err)
	}
	for range 1000 {
		e.Gates = append(e.Gates, deployment.GateRecord{Kind: "http", Name: "smoke", Reason: strings.Repeat("x", 600)})
	}
	if line, err = encode(Line{Seq: 1, Prev: Origin, Entry: e}); err != nil || len(line) > MaxLine {
		t.Errorf("%d bytes, %v", len(line), err)
	}
	if _, err := decode(line); err != nil {
		t.Error(err)
	}
	if _, ok := Of(after, deployment.Event{Kind: deployment.Progress}); ok {
		t.Error("progress is no decision")
	}
	after.Deployment.State, after.Deployment.Ended = deployment.Done, at
	if e, _ := Of(after, deployment.Event{Kind: deployment.RoutedBack, At: at}); e.Deployment != "d7" {
		t.Error("the end of a release names it")
	}
	if e, _ := Of(after, deployment.Event{Kind: deployment.Hold, At: at.Add(time.Hour)}); e.Deployment != "" {
		t.Error("what comes long after a release is none of it")
	}
	if errors.Is(errSum, errNotALine) {
		t.Error("they are told apart")
	}
}
