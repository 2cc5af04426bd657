// Command bench measures breakwater beside what else one could put under a
// client, in one run, turn by turn, and prints tables with ratios:
//
//	go run .            # all
//	go run . overhead   # added time and memory per call
//	go run . stream     # per event of a stream
//	go run . loopback   # requests a second, p50 and p99
//	go run . open       # memory of streams that are open
//	go run . scale      # how costs grow with callers, endpoints, models, answers, streams
//	go run . recovery   # what a call gets when its host fails, and when
//	go run . faults     # what becomes of each fault of breakwatertest
//	go run . outage     # what callers get while hosts fail in turn
//	go run . proxy      # breakwater proxy beside nginx and net/http's ReverseProxy
//	go run . gate       # whether speed holds: compares with bounds, in six minutes
//
// BenchmarkCacheHit has the peers with a cache.
//
// The pictures in docs/pictures are drawn from what is kept in testdata, so that they
// can be drawn again without measuring:
//
//	go run . -save faults overhead outage   # measures, and keeps the figures
//	go run . record                         # records examples/quickstart in a terminal
//	go run . charts                         # draws
package main
