//go:build !replay

package controller

const replays = false

func seedRuntime(uint64) {}
