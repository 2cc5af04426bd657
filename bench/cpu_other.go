//go:build !unix

package main

import (
	"runtime"
	"time"
)

var started = time.Now()

// cpuTime is what an undisturbed process takes that keeps its cores busy.
func cpuTime() time.Duration { return time.Since(started) * time.Duration(runtime.GOMAXPROCS(0)) }
