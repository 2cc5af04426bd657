package main

import (
	"slices"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
)

// counts are the calls of one contender by what its callers got.
type counts struct{ ok, failed, wrong int }

// A tally sums the outcomes of one contender's calls.
type tally struct {
	mu                         sync.Mutex // guards what follows
	ok, told                   int
	fromCache, stale           int // of ok
	sent, attempts, failedOver int // of calls that went to a host
	missed, wrong              []error
	took                       []time.Duration
	opened                     string // endpoints whose circuit was open at some time
}

func (t *tally) note(o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = append(t.took, o.took)
	switch o.verdict {
	case right:
		t.ok++
	case told:
		t.told++
	case missed:
		t.missed = append(t.missed, o.says)
	case wrong:
		t.wrong = append(t.wrong, o.says)
	}
	switch {
	case o.verdict != right:
	case o.stale:
		t.stale++
	case o.cached:
		t.fromCache++
	}
	t.noteTrail(o.attempts)
}

func (t *tally) noteTrail(trail []breakwater.Attempt) {
	endpoints := make(map[string]bool)
	for _, a := range trail {
		if a.N > 0 {
			t.attempts++
			endpoints[a.Endpoint] = true
		}
	}
	if len(endpoints) > 0 {
		t.sent++
	}
	if len(endpoints) > 1 {
		t.failedOver++
	}
}

func (t *tally) counts() counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return counts{ok: t.ok, failed: t.told + len(t.missed), wrong: len(t.wrong)}
}

// add adds a tally that no longer changes.
func (t *tally) add(o *tally) {
	t.ok += o.ok
	t.told += o.told
	t.fromCache += o.fromCache
	t.stale += o.stale
	t.sent += o.sent
	t.attempts += o.attempts
	t.failedOver += o.failedOver
	t.missed = append(t.missed, o.missed...)
	t.wrong = append(t.wrong, o.wrong...)
	t.took = append(t.took, o.took...)
}

// attemptsPerCall is over the calls that went to a host.
func (t *tally) attemptsPerCall() float64 { return float64(t.attempts) / float64(max(t.sent, 1)) }

// quantile returns the time within which the share q of all calls were over.
func (t *tally) quantile(q float64) time.Duration {
	if len(t.took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t.took))
	return sorted[int(q*float64(len(sorted)-1))].Round(time.Millisecond)
}
