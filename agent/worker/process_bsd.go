//go:build unix && !linux

package worker

import "syscall"

func groupAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// adoptOrphans cannot be had: process 1 reaps them.
func adoptOrphans() {}
