//go:build replay

package controller

import _ "unsafe" // for go:linkname

// replays says that the runtime is that of testbed/replay.
const replays = true

// runtimeSeed is what the next bubble draws from.
//
//go:linkname runtimeSeed runtime.bubbleSeed
var runtimeSeed uint64

func seedRuntime(seed uint64) { runtimeSeed = seed }
