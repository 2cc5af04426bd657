package breakwater

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// A place in a queue is given up for somebody who could serve, and for nobody
// else: not for another endpoint of the same account, which would count as the
// same, nor for one whose limit would turn the call away.
func TestFailover_NoPlaceIsGivenUpForNothing(t *testing.T) {
	one := at("a", "b")
	one[0].Account, one[1].Account = "one", "one"
	full := at("a", "b")
	full[1].Limits = map[string]RatePolicy{"": {InFlight: 1, MaxWait: Off}}
	for _, tt := range []struct {
		name      string
		endpoints []Endpoint
		holds     bool // the other endpoint's only permit is taken
		want      string
	}{
		{"another of the same account", one, false, "a"},
		{"one that is full", full, true, "a"},
		{"another account", at("a", "b"), false, "b"},
		{"one with a permit left", full, false, "b"},
	} {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(fakehost.After(2*time.Minute, gives(200, asStream, wholeStream)))
			base.Set("b", gives(200, asStream, wholeStream))
			rt := over(t, base, WithEndpoints(tt.endpoints[:1]...), WithBackup(tt.endpoints[1]))
			if tt.holds {
				rt.now().tiers[1][0].limits.Get("m", [32]byte{}).Acquire(t.Context(), new(limit.Lease), limit.Use{Prompt: 1})
			}
			got := asks(t.Context(), rt, chatStream)
			if got.header("Breakwater-Endpoint") != tt.want || got.body != wholeStream || base.Count("a") != 1 {
				t.Errorf("%s: %v after %d requests to a, want %s to answer, and one request", tt.name, got, base.Count("a"), tt.want)
			}
		})
	}
}

// The first trouble is what the caller hears of, its body intact, and the SDK
// above is told not to try again.
func TestFailover_FirstTroubleIsShown(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b handler // in this order
		want string
		body string
	}{
		{"503 then 500", gives(503, asJSON, "a"), gives(500, asJSON, "b"), `503 Endpoint="a"`, "a"},
		{"500 then 429", gives(500, asJSON, "a"), gives(429, asJSON, "b"), `500 Endpoint="a"`, "a"},
		{"no response then 503", refusing, gives(503, asJSON, "b"), `503 Endpoint="b"`, "b"},
		{"503 then the backup's own 400", gives(503, asJSON, "a"), gives(400, asJSON, "b"), `503 Endpoint="a"`, "a"},
		{"503 then the backup's own 401", gives(503, asJSON, "a"), gives(401, asJSON, "b"), `503 Endpoint="a"`, "a"},
		{"400", gives(400, asJSON, "a"), gives(200, asJSON, goodJSON), `400 Endpoint="a"`, "a"},
		{"cut json then 500", gives(200, asJSON, `{"choices":[`), gives(500, asJSON, "b"), `502 Endpoint="a"`, `{"choices":[`},
		{"error inside then 500", gives(200, asJSON, `{"error":{"code":429}}`), gives(500, asJSON, "b"), `429 Endpoint="a"`, `{"error":{"code":429}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := newHosts(nil)
			base.Set("a", tt.a)
			base.Set("b", tt.b)
			rt := over(t, base, once, WithEndpoints(at("a", "b")...))
			rt.now().turn.Store(1)
			got := asks(t.Context(), rt, chatJSON)
			if s := got.String(); !strings.HasPrefix(s, tt.want) || got.body != tt.body || got.err != nil {
				t.Errorf("the caller sees %s, want %s with %q", s, tt.want, tt.body)
			}
			if want := map[bool]string{true: "false", false: ""}[got.status() != 400]; got.header(headerRetry) != want {
				t.Errorf("%s = %q, want %q", headerRetry, got.header(headerRetry), want)
			}
		})
	}
}
