//go:build !race

package breakwater

import (
	"bytes"
	"context"
	"io"
	"net/http"
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
		return func() {
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(chat2K))
			req.Header.Set("Authorization", "Bearer sk-caller")
			req.Header.Set("Content-Type", "application/json")
			resp, err := rt.RoundTrip(req)
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	base := WithBase(memoryBase("application/json", goodJSON))
	for name, tt := range map[string]struct {
		do   func()
		most float64
	}{
		"default":         {plain(base), 28}, // one more than with a context that cannot end
		"three endpoints": {plain(append(threeEndpoints(), base)...), 35},
		"layers":          {layersAlone(t), 1},
		"stream event":    {streamEvents(t), 0},
		"cache hit":       {hits(t, chat2K), 9},
	} {
		if got := testing.AllocsPerRun(500, tt.do); got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, tt.most)
		}
	}
	// 768 is a size class of the allocator, 8 bytes of which are its own.
	if size := unsafe.Sizeof(attempt{}); size > 760 {
		t.Errorf("an attempt has %d bytes, want at most 760", size)
	}
}
