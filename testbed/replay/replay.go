// Package replay makes a Go runtime that does the same thing twice: what is
// random within a testing/synctest bubble is drawn from the bubble's own seed,
// and no goroutine is preempted. A test binary built with it and run with
// GOMAXPROCS=1 plays a simulation again to the byte.
//
// It changes no file of the toolchain: it writes patched copies and the
// -overlay file that has `go test` compile them in place of the originals.
// Nothing that ships is ever built with it. A clock that can be set while a program
// runs is made in the same way: see Clock.
package replay

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tag is the build tag that a binary with this runtime is built with: package
// controller's tests seed the runtime under it.
const Tag = "replay"

// Env is what such a binary must be run with.
var Env = []string{"GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1,adaptivestackstart=1", "GOGC=off"}

// Patch is one change of a file: each text in it must be there exactly once.
type Patch struct {
	File string // below the root it is applied to
	Edit []Edit
}

// Edit puts one text in another's place.
type Edit struct{ Old, New string }

// Runtime are the changes of the Go runtime, for files below GOROOT/src.
//
// A goroutine of a bubble draws from the bubble: the order in which select
// looks at its channels, the order of timers that fire at the same moment, and
// math/rand. All its maps have one order, so that a map that a cache makes once
// in a process's life draws nothing. Whatever runs outside goes on as before,
// so that nothing outside can shift what is drawn inside. The process's own
// seed is fixed, so that maps made before the bubble have one order too.
//
// Nothing depends on where things lie in memory: select takes channels, and
// with them their timers, in the order in which they were made, not in that of
// their addresses.
//
// Nothing depends on how long anything takes. The scheduler never takes the
// processor from a goroutine that runs, nor from one in a system call, after
// which it would stand at the end of the queue. One that wakes outside goes to
// the end of the queue, and does not push aside the one that was to run next.
// For a mutex too the time is the bubble's: waiting for a real millisecond
// would hand it over in another order.
var Runtime = []Patch{
	{"runtime/synctest.go", []Edit{
		{"	active  int // other sources of activity\n}", `	active  int // other sources of activity

	lots     uint64  // what the next draw comes from
	order    uint64  // of all its maps
	channels uintptr // so far
}

// bubbleSeed is what the next bubble begins with.
//
//go:linkname bubbleSeed
var bubbleSeed uint64

// draw is splitmix64.
//
//go:nosplit
func (b *synctestBubble) draw() uint64 {
	b.lots += 0x9e3779b97f4a7c15
	z := b.lots
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}`},
		{"		root:    gp,\n	}\n	const synctestBaseTime", "		root:    gp,\n		lots:    bubbleSeed,\n	}\n	bubble.order = bubble.draw()\n	const synctestBaseTime"},
	}},
	{"runtime/rand.go", []Edit{
		{"	globalRand.state.Init(*seed)\n", "	clear(seed[:])\n	seed[0] = 1\n	globalRand.state.Init(*seed)\n"},
		{"func rand32() uint32 {\n", "func rand32() uint32 {\n	if b := getg().bubble; b != nil {\n		return uint32(b.order)\n	}\n"},
		{"func maps_rand() uint64 {\n", "func maps_rand() uint64 {\n	if b := getg().bubble; b != nil {\n		return b.order\n	}\n"},
		{"	mp := getg().m\n	c := &mp.chacha8\n", "	if b := getg().bubble; b != nil {\n		return b.draw()\n	}\n	mp := getg().m\n	c := &mp.chacha8\n"},
	}},
	{"runtime/select.go", []Edit{
		{"		j := cheaprandn(uint32(norder + 1))\n", "		j := cheaprandn(uint32(norder + 1))\n		if b := getg().bubble; b != nil {\n			j = uint32(b.draw() % uint64(norder+1))\n		}\n"},
		{"func (c *hchan) sortkey() uintptr {\n", "func (c *hchan) sortkey() uintptr {\n	if c.bubble != nil {\n		return c.born\n	}\n"},
	}},
	{"runtime/chan.go", []Edit{
		{"	bubble   *synctestBubble\n", "	bubble   *synctestBubble\n	born     uintptr // which channel of the bubble it is\n"},
		{"		c.bubble = b\n", "		c.bubble = b\n		b.channels++\n		c.born = b.channels\n"},
	}},
	{"runtime/time.go", []Edit{
		{"			t.rand = cheaprand()\n", "			t.rand = uint32(getg().bubble.draw())\n"},
	}},
	// The contexts below one that ends are told in the order in which they were
	// made, not in that of their addresses.
	{"context/context.go", []Edit{
		{"	children map[canceler]struct{} // set to nil by the first cancel call\n",
			"	children map[canceler]uint64 // set to nil by the first cancel call\n"},
		{"				p.children = make(map[canceler]struct{})\n", "				p.children = make(map[canceler]uint64)\n"},
		{"			p.children[child] = struct{}{}\n", "			p.children[child] = born.Add(1)\n"},
		{"	for child := range c.children {\n", "	for _, child := range inOrder(c.children) {\n"},
		{"// cancel closes c.done, cancels each of c's children, and, if\n", `var born atomic.Uint64

func inOrder(children map[canceler]uint64) (all []canceler) {
	for child := range children {
		n := len(all)
		all = append(all, child)
		for ; n > 0 && children[all[n-1]] > children[child]; n-- {
			all[n] = all[n-1]
		}
		all[n] = child
	}
	return all
}

// cancel closes c.done, cancels each of c's children, and, if
`},
	}},
	{"runtime/proc.go", []Edit{
		{"const forcePreemptNS = 10 * 1000 * 1000 // 10ms\n", "const forcePreemptNS = 1 << 60 // never\n"},
		{"	runqput(mp.p.ptr(), gp, next)\n", "	runqput(mp.p.ptr(), gp, next && gp.bubble != nil)\n"},
		{"		runqput(pp, newg, true)\n", "		runqput(pp, newg, newg.bubble != nil)\n"},
		{"	status := readgstatus(gp) &^ _Gscan\n\n	// A goroutine is considered in a syscall, and may have a corresponding\n",
			"	if gp.bubble != nil {\n		return syscallingThread{}, false\n	}\n	status := readgstatus(gp) &^ _Gscan\n\n	// A goroutine is considered in a syscall, and may have a corresponding\n"},
	}},
	{"runtime/sema.go", []Edit{
		{"func internal_sync_nanotime() int64 {\n", "func internal_sync_nanotime() int64 {\n	if b := getg().bubble; b != nil {\n		return b.now\n	}\n"},
	}},
}

// Goroot is where the toolchain's own files are.
func Goroot() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src"), nil
}

// Overlay writes patched copies of files below root into dir and adds them to
// replace, the content of an overlay file.
func Overlay(dir, root string, patches []Patch, replace map[string]string) error {
	for _, p := range patches {
		path := filepath.Join(root, filepath.FromSlash(p.File))
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		out := string(text)
		for _, e := range p.Edit {
			if n := strings.Count(out, e.Old); n != 1 {
				return fmt.Errorf("%s: the text to change is there %d times, want once; the patch must be written anew:\n%s", path, n, e.Old)
			}
			out = strings.Replace(out, e.Old, e.New, 1)
		}
		to, err := filepath.Abs(filepath.Join(dir, strings.ReplaceAll(p.File, "/", "_")))
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, []byte(out), 0o644); err != nil {
			return err
		}
		replace[path] = to
	}
	return nil
}

// Write is the overlay file of these changes: its path, for go's -overlay.
func Write(dir string, replace map[string]string) (string, error) {
	text, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", "\t")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o644)
}

// Prepare writes the runtime's overlay into dir and returns the file's path.
func Prepare(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	root, err := Goroot()
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	if err := Overlay(dir, root, Runtime, replace); err != nil {
		return "", err
	}
	return Write(dir, replace)
}
