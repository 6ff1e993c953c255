package agent

import (
	"errors"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/plainfile"
)

// maxToken bounds a file with a token, which has some dozens of bytes.
const maxToken = 64 << 10

// tokenFile is a token that somebody else renews, as Nomad does with a
// workload's identity.
type tokenFile struct {
	path    string
	log     hclog.Logger
	renewed func() // may be nil

	mu    sync.Mutex
	last  string // the last one that could be read
	asked bool
	told  bool
}

// TokenOf is the token in a file that somebody else renews, read each time it
// is asked for. renewed, which may be nil and must not wait, is called when it
// is not the one any more that was given out before.
func TokenOf(path string, log hclog.Logger, renewed func()) func() string {
	return newTokenFile(path, log, renewed).token
}

func newTokenFile(path string, log hclog.Logger, renewed func()) *tokenFile {
	return &tokenFile{path: path, log: log, renewed: renewed}
}

// token reads the file, every time: it is small, and no time stamp tells of
// every change. While it cannot be read, or is empty because it is just being
// written, the last token stays.
func (f *tokenFile) token() string {
	text, err := plainfile.Read(f.path, maxToken)
	read := strings.TrimSpace(string(text))
	if err == nil && read == "" {
		err = errors.New("it is empty")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		if f.told {
			f.log.Info("the token file is readable again", "path", f.path)
		}
		if f.asked && read != f.last && f.renewed != nil {
			f.renewed()
		}
		f.last, f.told = read, false
	case !f.told:
		f.told = true
		f.log.Warn("cannot read the token file; going on with the last token, if there was one", "path", f.path, "error", err)
	}
	f.asked = true
	return f.last
}
