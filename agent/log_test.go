package agent

import (
	"bytes"
	"strings"
	"sync"
)

// lockedBuffer holds a log that is written and read at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// count is how many lines hold a text.
func (l *lockedBuffer) count(text string) (n int) {
	for line := range strings.SplitSeq(l.String(), "\n") {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
