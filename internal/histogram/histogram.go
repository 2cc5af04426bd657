// Package histogram counts durations in bounded memory.
package histogram

import (
	"math"
	"math/bits"
	"time"
)

// Durations are counted in log-linear buckets, as HdrHistogram does: each power of two of
// milliseconds has subBuckets of equal width, so a percentile errs by at most half of a
// bucket, 1/32 of its value. One bucket is for all that is shorter than 1 ms, one for all that
// is longer than the last power of two, about 70 minutes.
const (
	subBuckets = 16
	octaves    = 22
	buckets    = 1 + octaves*subBuckets + 1
)

// Resolution is the largest error of a percentile, as a share of its value. Below 1 ms the error
// is at most 1 ms.
const Resolution = 1.0 / (2 * subBuckets)

// A Histogram counts durations. The zero Histogram is ready.
type Histogram struct {
	counts *[buckets]uint32 // nil: nothing was counted
}

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) int {
	d = min(max(d, 0), time.Millisecond<<octaves)
	units := uint64(d) * subBuckets / uint64(time.Millisecond) // sixteenths of a millisecond
	if units < subBuckets {
		return 0
	}
	octave := bits.Len64(units) - bits.Len64(subBuckets) // 0: 1 to 2 ms
	if octave >= octaves {
		return buckets - 1
	}
	return 1 + octave*subBuckets + int(units>>octave) - subBuckets
}

// middleOf returns the middle of a bucket.
func middleOf(bucket int) time.Duration {
	switch bucket {
	case 0:
		return time.Millisecond / 2
	case buckets - 1:
		return time.Millisecond << octaves
	}
	octave, sub := (bucket-1)/subBuckets, (bucket-1)%subBuckets
	width := time.Millisecond << octave / subBuckets
	return time.Millisecond<<octave + time.Duration(sub)*width + width/2
}

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) {
	if h.counts == nil {
		h.counts = new([buckets]uint32)
	}
	if n := &h.counts[bucketOf(d)]; *n < math.MaxUint32 {
		*n++
	}
}

// A Sum is Histograms added up.
type Sum struct {
	counts [buckets]uint64
	n      uint64
}

// Add adds a Histogram.
func (s *Sum) Add(h Histogram) {
	if h.counts == nil {
		return
	}
	for i, n := range h.counts {
		s.counts[i] += uint64(n)
		s.n += uint64(n)
	}
}

// Percentile returns the duration that a share of all durations do not exceed, or 0 if there are
// none.
func (s *Sum) Percentile(share float64) time.Duration {
	if s.n == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(share*float64(s.n))), 1)
	for i, n := range s.counts {
		if rank <= n {
			return middleOf(i)
		}
		rank -= n
	}
	return middleOf(buckets - 1)
}

// Reset forgets what was counted, and keeps the memory.
func (h *Histogram) Reset() {
	if h.counts != nil {
		clear(h.counts[:])
	}
}
