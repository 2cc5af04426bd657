package observers

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// Callers who name ten thousand hosts, models and keys make few series, in memory that does not grow, and
// nothing is lost from the sums.
func TestObservers_NamesAreBounded(t *testing.T) {
	const attack = 10_000
	a := newAll(t)
	base := breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		const answer = `{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}`
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(answer)), Header: http.Header{"Content-Type": {"application/json"}}, Request: req}, nil
	})
	rt, err := breakwater.New(append(a.observe, breakwater.WithBase(base))...) // without endpoints, callers choose hosts
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	a.watch(rt)
	asked := int64(0)
	ask := func() {
		for range attack {
			asked++
			n := asked
			req, err := kit.ChatRequest(t.Context(), fmt.Sprintf("https://host-%d.example", n), fmt.Sprint("sk-tenant-", n), fmt.Sprint("model-", n, strings.Repeat("x", int(n%300))), "q", false)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if n%100 == 0 { // what goes out is no memory of theirs
				a.log.Reset()
				a.spans.Reset()
			}
		}
	}
	ask()
	first := heap()
	ask()
	if second := heap(); second > first+1<<20 {
		t.Errorf("memory grew from %d to %d bytes", first, second)
	}
	prom, err := testutil.GatherAndCount(a.registry)
	if err != nil {
		t.Fatal(err)
	}
	points := a.points(t)
	page := a.load(t)
	if prom > 2000 || len(points) > 2000 || len(page.SLO[0].Endpoints) > 101 {
		t.Errorf("%d metrics of Prometheus, %d of OpenTelemetry, %d endpoints of the tracker", prom, len(points), len(page.SLO[0].Endpoints))
	}
	t.Logf("%d calls: %d metrics of Prometheus, %d of OpenTelemetry, %d endpoints of the tracker", asked, prom, len(points), len(page.SLO[0].Endpoints))
	shown := int64(0)
	for _, m := range a.minutes {
		shown += m.Answered
	}
	calls, _ := points.total("breakwater.calls")
	_, tokens := points.total("gen_ai.client.token.usage")
	attempts := int64(0)
	for _, e := range page.SLO[0].Endpoints {
		attempts += e.Windows[3].Answered
	}
	for what, got := range map[string]int64{
		"calls of Prometheus": int64(a.sum(t, "calls_total")), "calls of OpenTelemetry": calls, "calls of the tracker": page.SLO[0].Windows[3].Answered, "calls of the page": shown,
		"attempts of Prometheus": int64(a.sum(t, "attempts_total")), "attempts of the tracker": attempts,
		"tokens of Prometheus": int64(a.sum(t, "tokens_total")) / 4, "tokens of OpenTelemetry": int64(tokens) / 4,
	} {
		agrees(t, what, got, asked)
	}
	runtime.KeepAlive(a)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
