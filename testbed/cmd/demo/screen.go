package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Intervals of the live part: often enough to be lively on a terminal, seldom
// enough to be readable in a file.
const (
	redrawEvery = 200 * time.Millisecond
	plainEvery  = 5 * time.Second
)

// screen tells the story: lines that stay, and beneath them on a terminal two
// that are drawn again and again, the step under way and the traffic.
type screen struct {
	out   io.Writer
	width int // of the terminal; 0: not a terminal
	ink   bool

	mu      sync.Mutex
	step    string
	detail  string
	began   time.Time
	traffic func() string // nil while there is no load
	drawn   int           // live lines on the terminal now
	frame   int

	stop chan struct{}
	done chan struct{}
}

func newScreen(out *os.File) *screen {
	s := &screen{out: out, stop: make(chan struct{}), done: make(chan struct{})}
	if size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ); err == nil && os.Getenv("TERM") != "dumb" {
		s.width = max(int(size.Col), 40)
		s.ink = os.Getenv("NO_COLOR") == ""
	}
	go s.live()
	return s
}

func (s *screen) live() {
	defer close(s.done)
	every := redrawEvery
	if s.width == 0 {
		every = plainEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.mu.Lock()
			s.frame++
			if s.width > 0 {
				s.wipe()
				s.draw()
			} else if s.traffic != nil {
				fmt.Fprintf(s.out, "      %s\n", s.traffic())
			}
			s.mu.Unlock()
		}
	}
}

// quiet ends the live part.
func (s *screen) quiet() {
	select {
	case <-s.stop:
		return
	default:
	}
	close(s.stop)
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
}

// show sets what says how the traffic is.
func (s *screen) show(traffic func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traffic = traffic
}

// begin starts a step.
func (s *screen) begin(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step, s.detail, s.began = fmt.Sprintf(format, args...), "", time.Now()
	if s.width == 0 {
		fmt.Fprintf(s.out, "  ... %s\n", s.step)
		return
	}
	s.wipe()
	s.draw()
}

// say sets what the step is at.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detail = fmt.Sprintf(format, args...)
}

// note adds a line to the step.
func (s *screen) note(format string, args ...any) {
	s.line("      " + s.paint(dim, s.fit(fmt.Sprintf(format, args...), 6)))
}

// fit shortens a text to what is left of a terminal's line.
func (s *screen) fit(text string, taken int) string {
	if s.width == 0 {
		return text
	}
	return cut(text, s.width-taken)
}

// ok ends the step well.
func (s *screen) ok(format string, args ...any) {
	s.mu.Lock()
	took := time.Since(s.began)
	s.step = ""
	s.mu.Unlock()
	text := s.fit(fmt.Sprintf(format, args...), 16)
	s.line(fmt.Sprintf("  %s %s%s %s", s.paint(green, "ok"), text, pad(text, 78), s.paint(dim, fmt.Sprintf("%6.1f s", took.Seconds()))))
}

// title begins a chapter.
func (s *screen) title(format string, args ...any) {
	s.line("\n" + s.paint(bold, fmt.Sprintf(format, args...)))
}

// line prints something that stays.
func (s *screen) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	fmt.Fprintln(s.out, text)
	s.draw()
}

// Write lets whoever builds servers say so.
func (s *screen) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		s.note("%s", strings.TrimSuffix(line, "\n"))
	}
	return len(text), nil
}

func (s *screen) wipe() {
	for range s.drawn {
		fmt.Fprint(s.out, "\033[1A\033[2K")
	}
	s.drawn = 0
}

func (s *screen) draw() {
	if s.width == 0 {
		return
	}
	var lines []string
	if s.step != "" {
		spinner := string([]rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[s.frame%10])
		text := s.step
		if s.detail != "" {
			text += ": " + s.detail
		}
		took := fmt.Sprintf(" %.0f s", time.Since(s.began).Seconds())
		lines = append(lines, "  "+s.paint(cyan, spinner)+"  "+cut(text, s.width-6-len(took))+s.paint(dim, took))
	}
	if s.traffic != nil {
		lines = append(lines, "  "+s.traffic())
	}
	for _, l := range lines {
		fmt.Fprintln(s.out, l)
	}
	s.drawn = len(lines)
}

// The colours of the terminal.
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	blue  = "34"
	cyan  = "36"
)

func (s *screen) paint(code, text string) string {
	if !s.ink {
		return text
	}
	return "\033[" + code + "m" + text + "\033[0m"
}

// cut shortens a text to a width.
func cut(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:max(0, width-1)]) + "…"
	}
	return text
}

// pad fills a column up.
func pad(text string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}
