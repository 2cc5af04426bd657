package pace

import (
	"math"
	"time"
)

const (
	// So many refusals in a row say that the host takes nothing at all now, if that many come
	// by chance less often than byChance.
	shortRow, longRow = 3, 8
	byChance          = 0.02
	shareOver         = 8.0             // requests
	taken             = 2.0             // requests in a row that are not refused show that the host takes some again
	rowTakes          = 5 * time.Second // and longer: a long row
)

// A row is the refusals of a host since it took a request.
type row struct {
	length   int
	since    time.Time
	taken    float64 // requests since the latest refusal that was news
	share    float64 // of the latest requests that were refused
	usual    float64 // that share before the row
	unproved bool    // there was one refusal, and nothing says that the host takes anything
}

// newRow returns the row of a host that has refused its first request. serving says that it
// has just taken others.
func newRow(serving bool) row {
	if !serving {
		return row{unproved: true}
	}
	return row{share: 0.5, usual: 0.5}
}

// Doubts reports whether several requests were refused in a row. At a host that takes only
// some, that is chance at times.
func (r *row) Doubts() bool { return r.length >= r.enough()-1 }

// TakesNothing reports whether the host seems to refuse everything now.
func (r *row) TakesNothing() bool { return r.length >= r.enough() || r.unproved }

// isLonger reports whether not even what is within the rate is taken.
func (r *row) isLonger() bool { return r.length > r.enough() }

// enough returns how many refusals in a row are no chance.
func (r *row) enough() int {
	if r.usual <= 0 {
		return shortRow
	}
	return min(max(int(math.Log(byChance)/math.Log(r.usual)), shortRow), longRow)
}

// send notes a request. It reports whether that ended a long row: several were not refused.
func (r *row) send(now time.Time) (ended bool) {
	r.taken++
	return r.taken == taken && r.isLong(now)
}

// isLong reports whether the host took nothing for long. What it did meanwhile is no rate.
func (r *row) isLong(now time.Time) bool { return r.length >= longRow && now.Sub(r.since) > rowTakes }

// refuse notes a refusal that is news. It reports whether that ended a long row, because the
// host took requests since the latest one.
func (r *row) refuse(now time.Time) (ended bool) {
	if r.length++; r.length == 1 {
		r.since = now
	}
	if r.taken--; r.taken > 0 {
		ended = r.isLong(now)
		r.share *= math.Pow(1-1/shareOver, r.taken)
		r.length, r.usual, r.since, r.unproved = 0, r.share, now, false
	}
	r.share += (1 - r.share) / shareOver
	r.taken = 0
	return ended
}
