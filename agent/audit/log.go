package audit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Meter is told what became of lines, for /v1/metrics.
type Meter interface {
	AuditWritten(lines int)
	AuditLost(events int)
	AuditFailing(failing bool)
}

// Config is what a Log needs.
type Config struct {
	Path     string
	Agent    string
	RotateAt int64 // bytes; 0: never
	Meter    Meter
	Log      hclog.Logger

	// open opens the file; tests give one that fails.
	open func(path string) (file, error)
}

const (
	// maxQueue is how many events wait while the file cannot be written.
	maxQueue = 1024
	// batch is how many lines one write and one sync make durable.
	batch = 64

	retryFirst = 500 * time.Millisecond
	retryMost  = 15 * time.Second
)

// Log appends to the file. Create it with New; Append does nothing on nil.
type Log struct {
	cfg Config

	mu      sync.Mutex
	queue   []Entry
	missed  missed
	stopped bool
	head    Head
	trouble string
	changed chan struct{} // closed when head or trouble change
	wake    chan struct{}

	// Only Run's goroutine uses it.
	w *writer
}

// missed are events for which there was no room.
type missed struct {
	n           uint64
	first, last time.Time
}

// New makes a log. It does no I/O and starts nothing.
func New(cfg Config) *Log {
	if cfg.open == nil {
		cfg.open = openFile
	}
	return &Log{cfg: cfg, changed: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// Append hands over what happened. It never blocks: with no room left it only
// counts, and the count is written down in the event's place.
func (l *Log) Append(e Entry) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || len(l.queue) >= maxQueue {
		if l.missed.n == 0 {
			l.missed.first = e.At
		}
		l.missed.n++
		l.missed.last = e.At
		l.cfg.Meter.AuditLost(1)
		return
	}
	l.fill()
	e.Agent = l.cfg.Agent
	l.queue = append(l.queue, e)
	l.poke()
}

// fill puts the line about missed events where they would be.
func (l *Log) fill() {
	if l.missed.n == 0 {
		return
	}
	until := l.missed.last.UTC()
	why := l.trouble
	if why == "" {
		why = "too many came at once"
	}
	l.queue = append(l.queue, Entry{At: l.missed.first.UTC(), Agent: l.cfg.Agent, Kind: Gap, Lost: l.missed.n, Until: &until,
		Reason: fmt.Sprintf("%d events were not written: %s", l.missed.n, why)})
	l.missed = missed{}
}

func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Now is the last line written, what is wrong (empty: nothing), and a channel
// that is closed when either changes.
func (l *Log) Now() (Head, string, <-chan struct{}) {
	if l == nil {
		return Head{}, "", nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head, l.trouble, l.changed
}

// Run writes until ctx ends, and then what is left. It never fails: trouble
// with the file is told, and tried again.
func (l *Log) Run(ctx context.Context) error {
	l.w = &writer{cfg: l.cfg}
	defer l.w.close()
	pause := retryFirst
	began := false
	for {
		var err error
		if !began {
			if err = l.begin(); err == nil {
				began = true
			}
		}
		if err == nil {
			err = l.drain()
		}
		l.tell(err)
		if err == nil {
			pause = retryFirst
			select {
			case <-ctx.Done():
			case <-l.wake:
			}
		} else { // whoever appends does not make the file be tried again each time
			timer := time.NewTimer(pause)
			pause = min(2*pause, retryMost)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
		if ctx.Err() != nil {
			l.end(began)
			return nil
		}
	}
}

// begin opens the file and writes that it did.
func (l *Log) begin() error {
	found, err := l.w.open()
	if err != nil {
		return err
	}
	reason := "a new file"
	if l.w.head.Seq > 0 {
		reason = fmt.Sprintf("goes on after line %d", l.w.head.Seq)
	}
	if found != "" {
		reason += "; " + found
		l.cfg.Log.Warn("audit file is not as it was left", "path", l.cfg.Path, "found", found)
	}
	return l.write([]Entry{{At: time.Now().UTC(), Agent: l.cfg.Agent, Kind: Opened, Reason: reason}})
}

// drain writes all that waits.
func (l *Log) drain() error {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.fill()
		}
		some := l.queue[:min(batch, len(l.queue))]
		l.mu.Unlock()
		if len(some) == 0 {
			return nil
		}
		if err := l.write(some); err != nil {
			return err
		}
		l.mu.Lock()
		l.queue = l.queue[len(some):]
		if len(l.queue) == 0 {
			l.queue = nil // let what it held go
		}
		l.mu.Unlock()
	}
}

// write makes entries durable, or none of them.
func (l *Log) write(entries []Entry) error {
	if err := l.w.append(entries); err != nil {
		return err
	}
	l.cfg.Meter.AuditWritten(len(entries))
	l.cfg.Log.Info("audit", "line", l.w.head.Seq, "head", l.w.head.Hash)
	l.mu.Lock()
	l.head = l.w.head
	l.announce()
	l.mu.Unlock()
	return nil
}

// announce wakes those who watch; the lock is held.
func (l *Log) announce() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// tell says once that writing fails, and once that it does not any more.
func (l *Log) tell(err error) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	l.mu.Lock()
	was := l.trouble
	l.trouble = now
	if was != now {
		l.announce()
	}
	waiting := len(l.queue)
	l.mu.Unlock()
	l.cfg.Meter.AuditFailing(err != nil)
	switch {
	case err != nil && was != now:
		l.cfg.Log.Error("audit file cannot be written; releases go on, and what does not fit in memory will be a gap in it",
			"path", l.cfg.Path, "error", err, "waiting", waiting, "room", maxQueue)
	case err == nil && was != "":
		l.cfg.Log.Info("audit file is written again", "path", l.cfg.Path)
	}
}

// end writes what is left, once, and that this is the end.
func (l *Log) end(began bool) {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	err := fmt.Errorf("%s was never opened", l.cfg.Path)
	if began {
		if err = l.drain(); err == nil {
			err = l.write([]Entry{{At: time.Now().UTC(), Agent: l.cfg.Agent, Kind: Closed}})
		}
	}
	if err != nil {
		l.mu.Lock()
		lost := len(l.queue)
		l.mu.Unlock()
		l.cfg.Log.Error("audit file could not be written to its end", "path", l.cfg.Path, "error", err, "lost", lost)
	}
}
