package histogram

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A percentile differs from the exact one by at most Resolution.
func TestHistogram_PercentilesAreNear(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		var h Histogram
		var all []time.Duration
		for range 1 + random.IntN(5000) {
			d := time.Duration(math.Exp(random.Float64()*math.Log(3.6e12-1e6)) + 1e6) // 1 ms to an hour
			all = append(all, d)
			h.Add(d)
		}
		slices.Sort(all)
		var s Sum
		s.Add(h)
		for _, share := range []float64{0.01, 0.5, 0.95, 0.99, 1} {
			exact := all[max(int(math.Ceil(share*float64(len(all)))), 1)-1]
			if got := s.Percentile(share); math.Abs(float64(got-exact)) > Resolution*float64(exact) {
				t.Errorf("seed %d: P%v of %d is %v, want about %v", seed, 100*share, len(all), got, exact)
			}
		}
	}
}

// Every duration has a bucket, and longer ones never have an earlier one.
func TestHistogram_Buckets(t *testing.T) {
	last := 0
	for _, d := range []time.Duration{math.MinInt64, -1, 0, 1, 999_999, 1e6, 1_062_499, 1_062_500, 2e6, 3e6, 4e6, time.Second, time.Minute, time.Hour, 70 * time.Minute, 1000 * time.Hour, 1 << 60, math.MaxInt64} {
		b := bucketOf(d)
		if b < last || b >= buckets {
			t.Errorf("%v is in bucket %d, behind %d", d, b, last)
		}
		last = b
	}
	if last != buckets-1 {
		t.Errorf("the longest duration is in bucket %d of %d", last, buckets)
	}
	for b := 1; b < buckets-1; b++ {
		if got := bucketOf(middleOf(b)); got != b {
			t.Errorf("the middle of bucket %d, %v, is in %d", b, middleOf(b), got)
		}
	}
	if got := new(Sum).Percentile(0.99); got != 0 {
		t.Errorf("P99 of nothing is %v", got)
	}
}
