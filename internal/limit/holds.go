package limit

import (
	"math"
	"slices"
	"time"
)

// holds are how long attempts have recently held their leases.
type holds struct {
	recent [64]time.Duration // unended for those that the caller's deadline ended
	n      int               // in recent
	next   int

	stale  bool
	median time.Duration // 0: not known
	enough time.Duration
}

// unended is how long an attempt would have held its lease that its caller's deadline ended.
const unended = time.Duration(math.MaxInt64)

func (h *holds) add(d time.Duration) {
	h.recent[h.next] = d
	h.next = (h.next + 1) % len(h.recent)
	h.n = min(h.n+1, len(h.recent))
	h.stale = true
}

// usual returns the median; 0: not known.
func (h *holds) usual() time.Duration {
	h.refresh()
	return h.median
}

// needed returns how much time a caller should have left when its attempt begins.
//
// A place that is given to a caller with less time is often lost: the deadline ends the
// attempt when it has taken nearly as long as an answer. So needed is the time that yields
// the most answers for each second of a place, by the recent attempts. Where all answers
// take about as long, it is the longest of them. Where they differ much, it is short: the
// long ones that are lost leave their places early. It is the longest duration if too many
// attempts have not been answered in time, because nobody knows then what time they need.
func (h *holds) needed() time.Duration {
	h.refresh()
	return h.enough
}

// maxUnended is the share of attempts that deadlines may end.
const maxUnended = 0.1

func (h *holds) refresh() {
	if !h.stale {
		return
	}
	h.stale = false
	sorted := h.recent
	all := sorted[:h.n]
	slices.Sort(all)
	ended, _ := slices.BinarySearch(all, unended)
	h.median, h.enough = 0, unended
	if ended == 0 {
		return
	}
	h.median = all[ended/2]
	if float64(h.n-ended) > maxUnended*float64(h.n) {
		return
	}
	// With the time all[i], i+1 of the attempts end, and the others are cut at that time.
	best, sum := 0.0, 0.0
	var rates [len(h.recent)]float64
	for i, d := range all[:ended] {
		sum += d.Seconds()
		rates[i] = float64(i+1) / (sum + float64(h.n-i-1)*d.Seconds())
		best = max(best, rates[i])
	}
	const nearly = 0.98
	for i := range ended {
		if rates[i] >= nearly*best {
			h.enough = all[i]
			return
		}
	}
}
