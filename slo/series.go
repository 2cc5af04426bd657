package slo

import (
	"time"

	"github.com/breakwater-go/breakwater/internal/histogram"
)

// A resolution is how a window of time is divided into slots. A window slides by one slot, so
// its length is exact to one slot.
type resolution struct {
	length, slot time.Duration
}

var resolutions = [...]resolution{
	{5 * time.Minute, 10 * time.Second},
	{time.Hour, time.Minute},
	{6 * time.Hour, 5 * time.Minute},
	{30 * 24 * time.Hour, 6 * time.Hour},
}

// A verdict is what a call or an attempt counts as.
type verdict uint8

const (
	answered verdict = iota // in full
	failed                  // for a reason that is not the caller's
	mistaken                // the caller's own mistake: a request that no host would answer
	canceled                // the caller left
	verdicts
)

// A slot counts what ended in one slot of time.
type slot struct {
	number              int64 // of the slot, since the Unix epoch
	ends                [verdicts]uint64
	firstPayload, whole histogram.Histogram
}

// A series counts calls, or the attempts at one endpoint, in all windows. Its memory is
// bounded: slots are used again, and those that nothing ended in need none.
type series struct {
	rings [len(resolutions)][]*slot
}

// end counts one that ended now, after so long.
func (s *series) end(now time.Time, v verdict, whole time.Duration) {
	for i, r := range resolutions {
		at := s.slot(i, r, now)
		at.ends[v]++
		if v == answered {
			at.whole.Add(whole)
		}
	}
}

// begin counts an answer whose first payload came now, after so long.
func (s *series) begin(now time.Time, firstPayload time.Duration) {
	for i, r := range resolutions {
		s.slot(i, r, now).firstPayload.Add(firstPayload)
	}
}

// slot returns the slot of the present time in one of the rings, cleared if it was another
// time's.
func (s *series) slot(ring int, r resolution, now time.Time) *slot {
	if s.rings[ring] == nil {
		s.rings[ring] = make([]*slot, r.length/r.slot)
	}
	number := now.UnixNano() / int64(r.slot)
	at := &s.rings[ring][number%int64(len(s.rings[ring]))]
	switch {
	case *at == nil:
		*at = &slot{number: number}
	case (*at).number != number:
		(*at).reset(number)
	}
	return *at
}

// reset makes the slot that of another time.
func (s *slot) reset(number int64) {
	s.firstPayload.Reset()
	s.whole.Reset()
	*s = slot{number: number, firstPayload: s.firstPayload, whole: s.whole}
}

// window adds up the slots of one of the windows.
func (s *series) window(ring int, now time.Time) Window {
	r := resolutions[ring]
	last := now.UnixNano() / int64(r.slot)
	w := Window{Length: r.length}
	var first, whole histogram.Sum
	for _, at := range s.rings[ring] {
		if at == nil || at.number > last || at.number <= last-int64(len(s.rings[ring])) {
			continue
		}
		w.Answered += at.ends[answered]
		w.Failed += at.ends[failed]
		w.Mistaken += at.ends[mistaken]
		w.Canceled += at.ends[canceled]
		first.Add(at.firstPayload)
		whole.Add(at.whole)
	}
	w.FirstPayload, w.Whole = percentilesOf(&first), percentilesOf(&whole)
	return w
}

func percentilesOf(s *histogram.Sum) Percentiles {
	return Percentiles{P50: s.Percentile(0.50), P95: s.Percentile(0.95), P99: s.Percentile(0.99)}
}
