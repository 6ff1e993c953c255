package replay

// ClockVariable names the file that a binary with the patches of Clock takes
// its clock's error from.
const ClockVariable = "TEAL_TESTBED_CLOCK"

// Clock gives a program a wall clock that can be set while it runs, without
// setting the machine's: eight bytes in a file, which is mapped into the
// program's memory, are the seconds by which its clock is wrong. The monotonic
// clock, and with it timers, goes on as before, as it does when somebody sets
// a machine's clock. For files below GOROOT/src.
var Clock = []Patch{
	{"time/time.go", []Edit{
		{"	sec, nsec, mono := runtimeNow()\n	if mono == 0 {\n", "	sec, nsec, mono := runtimeNow()\n	sec += wrongBy()\n	if mono == 0 {\n"},
	}},
	{"time/sys_unix.go", []Edit{
		{"	\"runtime\"\n	\"syscall\"\n)\n", `	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"
)

var wrong *int64 // seconds

func init() {
	path, ok := syscall.Getenv("` + ClockVariable + `")
	if !ok {
		return
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("time: " + path + ": " + err.Error())
	}
	page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("time: " + path + ": " + err.Error())
	}
	wrong = (*int64)(unsafe.Pointer(&page[0]))
}

func wrongBy() int64 {
	if wrong == nil {
		return 0
	}
	return atomic.LoadInt64(wrong)
}
`},
	}},
}
