//go:build !race

package breakwater

import (
	"context"
	"testing"
	"unsafe"
)

// The plainest calls allocate no more than this: the golden benchmarks, as a
// test. The race detector allocates for itself.
func TestAllocations(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context()) // as most calls have it
	defer cancel()
	plain := func(opts ...Option) func() {
		rt := transport(t, opts...)
		return func() { roundTrip(t, ctx, rt, chat2K) }
	}
	base := WithBase(memoryBase("application/json", goodJSON))
	one, three := only(ctx, "second"), transport(t, append(threeEndpoints(), base)...)
	for name, tt := range map[string]struct {
		do   func()
		most float64
	}{
		"default":         {plain(base), 28}, // one more than with a context that cannot end
		"named model":     {plain(WithBase(memoryBase("application/json", `{"model":"deepseek-flash","system_fingerprint":"fp_1",`+goodJSON[1:]))), 28},
		"three endpoints": {plain(append(threeEndpoints(), base)...), 35},
		"shares":          {plain(append(threeEndpoints(), base, WithBalance(BalancePolicy{Shift: 0.9}))...), 35},
		"one of three":    {func() { roundTrip(t, one, three, chat2K) }, 35},
		"without a key":   {plain(base, idempotent), 28},
		"key function":    {plain(base, WithEndpoints(withKeyFunc())), 29}, // two more than with APIKey
		"layers":          {layersAlone(t), 1},
		"stream event":    {streamEvents(t, oneEvent, StreamPolicy{}), 0},
		"checked event":   {streamEvents(t, manyEvents(), checked), 0},
		"cache hit":       {hits(t, chat2K), 9},
	} {
		if got := testing.AllocsPerRun(500, tt.do); got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, tt.most)
		}
	}
	// 1152 and 768 are size classes of the allocator, 8 bytes of which are its own.
	if size := unsafe.Sizeof(call{}); size > 1144 {
		t.Errorf("a call has %d bytes, want at most 1144", size)
	}
	if size := unsafe.Sizeof(attempt{}); size > 744 {
		t.Errorf("an attempt has %d bytes, want at most 744", size)
	}
}
