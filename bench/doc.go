// Package bench measures breakwater beside what else one could put under a
// client: its tests check that each peer does what its row says, its
// benchmarks take the time.
package bench
