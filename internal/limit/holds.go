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

	added           int // since what follows was computed
	median          time.Duration
	enough, longest time.Duration // see needed
}

// unended is how long an attempt would have held its lease that its caller's deadline ended.
const unended = time.Duration(math.MaxInt64)

func (h *holds) add(d time.Duration) {
	h.recent[h.next] = d
	h.next = (h.next + 1) % len(h.recent)
	h.n = min(h.n+1, len(h.recent))
	h.added++
}

// usual returns the median; 0: not known.
func (h *holds) usual() time.Duration {
	h.refresh()
	return h.median
}

// needed returns how much time a caller should have left when its attempt begins.
//
// A place that is given to a caller with less time is often lost: the deadline ends the
// attempt when it has taken nearly as long as an answer. What is needed is the time that
// yields the most answers, by the recent attempts: nearly the longest of them if each
// attempt costs the same, as with a limit of the rate. If attempts cost the time that they
// last, it is the time with the most answers for each second. That is shorter where answers
// differ much, because the long ones that are lost leave their places early. It is the
// longest duration if too many attempts have not been answered in time, because nobody
// knows then what time they need.
func (h *holds) needed(costTime bool) time.Duration {
	h.refresh()
	if costTime {
		return h.enough
	}
	return h.longest
}

const (
	maxUnended = 0.1  // the share of attempts that deadlines may end
	nearly     = 0.98 // of the most answers
)

// refresh computes what is known of the recent attempts, if an eighth of them are new.
func (h *holds) refresh() {
	if h.added == 0 || h.added < h.n/8 {
		return
	}
	h.added = 0
	sorted := h.recent
	all := sorted[:h.n]
	slices.Sort(all)
	ended, _ := slices.BinarySearch(all, unended)
	h.median, h.enough, h.longest = 0, unended, unended
	if ended == 0 {
		return
	}
	h.median = all[ended/2]
	if float64(h.n-ended) > maxUnended*float64(h.n) {
		return
	}
	h.longest = all[int(nearly*float64(ended-1))]
	// With the time all[i], i+1 of the attempts end, and the others are cut at that time.
	best, sum := 0.0, 0.0
	var rates [len(h.recent)]float64
	for i, d := range all[:ended] {
		sum += d.Seconds()
		rates[i] = float64(i+1) / (sum + float64(h.n-i-1)*d.Seconds())
		best = max(best, rates[i])
	}
	h.enough = all[slices.IndexFunc(rates[:], func(rate float64) bool { return rate >= nearly*best })]
}
