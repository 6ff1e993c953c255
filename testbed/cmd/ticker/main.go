// Command ticker is a background worker that does nothing but say that it is
// at work: every few milliseconds it appends a line to a file that all workers
// share. `teal work` runs it in `make faults`.
//
//	ticker <file> <interval> <job>
//
// A line is the machine's monotonic clock in nanoseconds, which no process and
// nobody who sets the time can move, the colour, the token and the process.
// After SIGTERM it goes on for as long as its job takes, as a worker does that
// finishes what it has begun, and ends.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ticker:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("%d arguments: expected a file, an interval and the length of a job", len(args))
	}
	every, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	job, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	file, err := os.OpenFile(args[0], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var over <-chan time.Time
	for {
		if err := say(file); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-end:
			over = time.After(job)
		case <-over:
			return say(file)
		}
	}
}

// say appends one line, which the kernel does in one step.
func say(file *os.File) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	_, err := fmt.Fprintf(file, "%d %s %s %d\n", now.Nano(), os.Getenv("ENVIRONMENT_NAME"), os.Getenv("TEAL_TOKEN"), os.Getpid())
	return err
}
