package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/plainfile"
)

// file is what is used of an *os.File.
type file interface {
	io.ReaderAt
	io.Writer
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
	Close() error
}

// openFile opens the file for one writer.
func openFile(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is written by another process: give each agent a file of its own", path)
	}
	return f, nil
}

// writer knows the open file and the end of the chain.
type writer struct {
	cfg  Config
	f    file
	size int64
	head Head
	undo error // why there may be something beyond size, to be taken off first
}

// open opens the file and takes up the chain: after the file's last line, or,
// when the file is new or has lost lines, after the last one ever written, so
// that what was lost shows. found says what is not as it should be.
func (w *writer) open() (found string, err error) {
	w.close()
	f, err := w.cfg.open(w.cfg.Path)
	if err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return "", err
	}
	size := info.Size()
	last, torn, err := lastLine(f, size)
	if err == nil && torn > 0 {
		// A write that was never finished, and never acknowledged.
		size -= torn
		err = f.Truncate(size)
		found = fmt.Sprintf("%d bytes of an unfinished line were taken off", torn)
	}
	if err != nil {
		f.Close()
		return "", err
	}
	w.f, w.size = f, size
	known, first := w.head, w.head.Seq == 0
	if first {
		known = readHead(w.cfg.Path)
	}
	head, unclean, strange := endOf(last, known)
	w.head = head
	if !first {
		unclean = "" // by this very agent
	}
	var all []string
	for _, more := range []string{found, unclean, strange} {
		if more != "" {
			all = append(all, more)
		}
	}
	return strings.Join(all, "; "), nil
}

// endOf is where the chain goes on, given the file's last line and the last one
// that is known to have been written.
func endOf(last []byte, known Head) (head Head, unclean, strange string) {
	if last == nil {
		if known.Seq == 0 {
			known.Hash = Origin
		}
		return known, "", ""
	}
	l, err := decode(last)
	here := Head{l.Seq, digest(last)}
	switch {
	case err != nil && known.Seq == 0:
		return Head{0, here.Hash}, "", "the last line of the file is none of an audit file"
	case err != nil:
		return known, "", fmt.Sprintf("the last line of the file is not line %d as it was written", known.Seq)
	case here.Seq < known.Seq:
		return known, "", fmt.Sprintf("the file ends with line %d and %d were written", here.Seq, known.Seq)
	case here.Seq == known.Seq && here.Hash != known.Hash:
		return known, "", fmt.Sprintf("line %d is not as it was written", here.Seq)
	}
	if l.Kind != Closed {
		unclean = "it was not closed: what the agent had not yet written when it ended is missing"
	}
	return here, unclean, ""
}

// lastLine reads the last whole line of a file, nil when there is none, and how
// many bytes of an unfinished one follow it.
func lastLine(f io.ReaderAt, size int64) (line []byte, torn int64, err error) {
	from := max(0, size-MaxLine)
	buf := make([]byte, size-from)
	if _, err := f.ReadAt(buf, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	end := bytes.LastIndexByte(buf, '\n')
	if end < 0 {
		return nil, int64(len(buf)), nil
	}
	torn = int64(len(buf) - end - 1)
	return buf[bytes.LastIndexByte(buf[:end], '\n')+1 : end], torn, nil
}

// append writes entries as one piece, and makes sure of it. When that fails the
// file is as it was before.
func (w *writer) append(entries []Entry) error {
	if err := w.ready(); err != nil {
		return err
	}
	head := w.head
	var text []byte
	for _, e := range entries {
		line, err := encode(Line{Seq: head.Seq + 1, Prev: head.Hash, Entry: e})
		if err != nil {
			return err
		}
		head = Head{head.Seq + 1, digest(line)}
		text = append(append(text, line...), '\n')
	}
	_, err := w.f.Write(text)
	if err == nil {
		err = w.f.Sync()
	}
	if err != nil {
		if w.f.Truncate(w.size) != nil {
			w.undo = err
		}
		return err
	}
	w.size += int64(len(text))
	w.head = head
	writeHead(w.cfg.Path, head)
	return nil
}

// ready makes sure that the open file is the one at the path, which may have
// been moved away, and that it is not full.
func (w *writer) ready() error {
	if w.f != nil {
		there, err := os.Stat(w.cfg.Path)
		here, err2 := w.f.Stat()
		switch {
		case err2 != nil || err != nil || !os.SameFile(there, here):
			w.close()
		case w.undo != nil:
		case w.cfg.RotateAt > 0 && w.size >= w.cfg.RotateAt:
			w.rotate()
		}
	}
	if w.f != nil && w.undo != nil {
		info, err := w.f.Stat()
		if err != nil || info.Size() != w.size && w.f.Truncate(w.size) != nil {
			return w.undo
		}
		w.undo = nil
	}
	if w.f != nil {
		return nil
	}
	found, err := w.open()
	if err == nil && found != "" {
		w.cfg.Log.Warn("audit file is not as it was left", "path", w.cfg.Path, "found", found)
	}
	return err
}

// rotate moves a full file aside. Nothing ever removes it but people.
func (w *writer) rotate() {
	to := w.cfg.Path + "." + time.Now().UTC().Format("20060102T150405.000Z")
	if _, err := os.Lstat(to); err == nil {
		return // the next line will find another name
	}
	if err := os.Rename(w.cfg.Path, to); err != nil {
		w.cfg.Log.Warn("audit file not rotated; it grows on", "path", w.cfg.Path, "error", err)
		return
	}
	w.cfg.Log.Info("audit file rotated", "to", to, "line", w.head.Seq, "head", w.head.Hash)
	w.close()
}

func (w *writer) close() {
	if w.f != nil {
		w.f.Close()
		w.f, w.undo = nil, nil
	}
}

// headPath is the file beside that remembers the end of the chain where the
// file itself was moved away or cut.
func headPath(path string) string { return path + ".head" }

func readHead(path string) Head {
	var h Head
	raw, err := plainfile.Read(headPath(path), MaxLine)
	if err != nil || json.Unmarshal(raw, &h) != nil || len(h.Hash) != len(Origin) {
		return Head{}
	}
	return h
}

// writeHead is a help, not a proof: that it fails is no trouble. What somebody has
// put in its place, such as a link to a file of the agent's, is not written to.
func writeHead(path string, h Head) {
	raw, err := json.Marshal(h)
	if err != nil {
		return
	}
	partial := headPath(path) + ".partial"
	_ = os.Remove(partial) // of an agent that was killed
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return
	}
	_, err = f.Write(append(raw, '\n'))
	if errors.Join(err, f.Close()) == nil {
		_ = os.Rename(partial, headPath(path)) // an older one is as good
	}
}
