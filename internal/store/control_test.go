package store

import (
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestParseControl(t *testing.T) {
	nothing := Control{MaxAge: Unlimited, StaleIfError: Unlimited}
	asking := func(change func(*Control)) Control { c := nothing; change(&c); return c }
	habit := http.Header{"Cache-Control": {"no-cache"}}
	if got := ParseControl(habit, "", true); got != nothing {
		t.Errorf("ParseControl(%v) of a stream = %+v, want %+v", habit, got, nothing)
	}
	if got := ParseControl(habit, "no-cache", true); !got.NoCache {
		t.Errorf("ParseControl(%v, no-cache) of a stream = %+v, want no-cache", habit, got)
	}
	for _, tt := range []struct {
		in       []string
		override string
		want     Control
	}{
		{nil, "", nothing},
		{[]string{""}, "", nothing},
		{[]string{"no-cache, no-store"}, "", asking(func(c *Control) { c.NoCache, c.NoStore = true, true })},
		{[]string{"no-cache", "no-store"}, "", asking(func(c *Control) { c.NoCache, c.NoStore = true, true })},
		{[]string{"no-cache"}, "no-store", asking(func(c *Control) { c.NoCache, c.NoStore = true, true })},
		{[]string{"NO-CACHE"}, "", asking(func(c *Control) { c.NoCache = true })},
		{[]string{"no-cachex"}, "", nothing},
		{[]string{"only-if-cached"}, "", asking(func(c *Control) { c.OnlyIfCached = true })},
		{[]string{" max-age=5 ,stale-if-error=\"7\""}, "", asking(func(c *Control) { c.MaxAge, c.StaleIfError = 5*time.Second, 7*time.Second })},
		{[]string{"max-age=5, min-fresh=3"}, "max-age=6", asking(func(c *Control) { c.MaxAge, c.MinFresh = 6*time.Second, 3*time.Second })},
		{[]string{"max-stale"}, "", asking(func(c *Control) { c.MaxStale = Unlimited })},
		{[]string{"max-stale=9"}, "", asking(func(c *Control) { c.MaxStale = 9 * time.Second })},
		{[]string{"max-stale=x"}, "", nothing},
		{[]string{"max-age"}, "", nothing},
		{[]string{"max-age=-1"}, "", nothing},
		{[]string{"max-age=1e9"}, "", nothing},
		{[]string{"max-age=2147483647"}, "", asking(func(c *Control) { c.MaxAge = 2147483647 * time.Second })},
		{[]string{"max-age=99999999999999999999"}, "", asking(func(c *Control) { c.MaxAge = (1<<31 - 1) * time.Second })},
	} {
		if got := ParseControl(http.Header{"Cache-Control": tt.in}, tt.override, false); got != tt.want {
			t.Errorf("ParseControl(%q, %q) = %+v, want %+v", tt.in, tt.override, got, tt.want)
		}
	}
}

func TestFreshness(t *testing.T) {
	const s = time.Second
	policy := Lifetime{TTL: 100 * s, StaleIfError: 50 * s, StaleWhileRevalidate: 20 * s}
	for _, tt := range []struct {
		name   string
		policy Lifetime
		asks   string
		age    time.Duration
		want   Freshness
	}{
		{"within its TTL", policy, "", 99 * s, Fresh},
		{"at its TTL", policy, "", 100 * s, StaleWhileRevalidate},
		{"while it may be renewed", policy, "", 119 * s, StaleWhileRevalidate},
		{"behind that", policy, "", 120 * s, StaleIfError},
		{"while it may stand in for a failure", policy, "", 149 * s, StaleIfError},
		{"behind all", policy, "", 150 * s, Unusable},
		{"no-cache", policy, "no-cache", 0, Unusable},
		{"max-age", policy, "max-age=10", 9 * s, Fresh},
		{"beyond max-age", policy, "max-age=10", 10 * s, StaleIfError},
		{"min-fresh", policy, "min-fresh=30", 69 * s, Fresh},
		{"less than min-fresh", policy, "min-fresh=30", 70 * s, StaleIfError},
		{"more min-fresh than TTL", policy, "min-fresh=1000", 0, StaleIfError},
		{"max-stale", policy, "max-stale=10", 109 * s, Fresh},
		{"beyond max-stale", policy, "max-stale=10", 110 * s, StaleWhileRevalidate},
		{"max-stale of any age", policy, "max-stale", 149 * s, Fresh},
		{"max-stale behind all", policy, "max-stale", 150 * s, Unusable},
		{"stale-if-error of the caller's", policy, "max-age=0, stale-if-error=5", 104 * s, StaleIfError},
		{"beyond that", policy, "max-age=0, stale-if-error=5", 105 * s, Unusable},
		{"no TTL", Lifetime{StaleIfError: 50 * s}, "", 0, StaleIfError},
		{"a TTL without end", Lifetime{TTL: Unlimited, StaleIfError: Unlimited}, "", Unlimited - 1, Fresh},
	} {
		c := ParseControl(http.Header{"Cache-Control": {tt.asks}}, "", false)
		if got := tt.policy.Freshness(tt.age, c); got != tt.want {
			t.Errorf("%s: Freshness(%v, %q) = %v, want %v", tt.name, tt.age, tt.asks, got, tt.want)
		}
	}
	for policy, want := range map[Lifetime]time.Duration{
		{TTL: 3 * s, StaleIfError: 1 * s, StaleWhileRevalidate: 2 * s}: 5 * s,
		{TTL: Unlimited, StaleIfError: s}:                              Unlimited,
		{}:                                                             0,
	} {
		if got := policy.Total(); got != want {
			t.Errorf("%+v.Total() = %v, want %v", policy, got, want)
		}
	}
}

// A host's word about its answer shortens the policy's times, and lengthens none.
func TestLifetime_Of(t *testing.T) {
	const s = time.Second
	policy := Lifetime{TTL: 100 * s, StaleIfError: 50 * s, StaleWhileRevalidate: 20 * s}
	for _, tt := range []struct {
		e    Entry
		want Lifetime
	}{
		{Entry{}, policy},
		{Entry{TTL: 7 * s}, Lifetime{TTL: 7 * s, StaleIfError: 50 * s, StaleWhileRevalidate: 20 * s}},
		{Entry{TTL: 700 * s}, policy},
		{Entry{TTL: 700 * s, NoStale: true}, Lifetime{TTL: 100 * s}},
	} {
		if got := policy.Of(&tt.e); got != tt.want {
			t.Errorf("Of(%+v) = %+v, want %+v", tt.e, got, tt.want)
		}
	}
	for age, want := range map[string]time.Duration{"": 0, "7": 7 * s, "7, 9": 7 * s, "-7": 0, "7.5": 0, "x": 0, "99999999999": (1<<31 - 1) * s} {
		if got := AgeOf(http.Header{"Age": {age}}); got != want {
			t.Errorf("AgeOf(%q) = %v, want %v", age, got, want)
		}
	}
}

func TestRestriction(t *testing.T) {
	for _, tt := range []struct {
		header http.Header
		shared bool
		want   Restriction
	}{
		{nil, true, Restriction{}},
		{http.Header{"Cache-Control": {"no-cache, max-age=0, must-revalidate"}}, true, Restriction{}},
		{http.Header{"Cache-Control": {"no-store"}}, false, Restriction{NoStore: true}},
		{http.Header{"Cache-Control": {"max-age=1", "No-Store"}}, false, Restriction{NoStore: true, TTL: time.Second}},
		{http.Header{"Cache-Control": {"max-age=60, s-maxage=30"}}, false, Restriction{TTL: time.Minute}},
		{http.Header{"Cache-Control": {"max-age=60, s-maxage=30"}}, true, Restriction{TTL: 30 * time.Second, NoStale: true}},
		{http.Header{"Cache-Control": {"max-age=60, must-revalidate"}}, false, Restriction{TTL: time.Minute, NoStale: true}},
		{http.Header{"Cache-Control": {"max-age=60, proxy-revalidate"}}, false, Restriction{TTL: time.Minute}},
		{http.Header{"Cache-Control": {"max-age=60, proxy-revalidate"}}, true, Restriction{TTL: time.Minute, NoStale: true}},
		{http.Header{"Cache-Control": {"no-cache, must-revalidate"}}, true, Restriction{}},
		{http.Header{"Cache-Control": {"no-cache, max-age=60"}}, false, Restriction{NoStore: true, TTL: time.Minute}},
		{http.Header{"Cache-Control": {`no-cache="x-mine", max-age=60`}}, false, Restriction{TTL: time.Minute, Fields: []string{"x-mine"}}},
		{http.Header{"Cache-Control": {"max-age=60, max-age=5"}}, false, Restriction{TTL: time.Minute}},
		{http.Header{"Cache-Control": {"max-age=x, max-age=5"}}, false, Restriction{TTL: 5 * time.Second}},
		{http.Header{"Cache-Control": {"max-age=-5"}}, false, Restriction{}},
		{http.Header{"Expires": {"Thu, 01 Jan 2026 00:01:00 GMT"}, "Date": {"Thu, 01 Jan 2026 00:00:00 GMT"}}, false, Restriction{TTL: time.Minute}},
		{http.Header{"Expires": {"Thu, 01 Jan 2026 00:01:00 GMT"}, "Date": {"Thu, 01 Jan 2026 00:00:00 GMT"}, "Cache-Control": {"max-age=5"}}, false, Restriction{TTL: 5 * time.Second}},
		{http.Header{"Expires": {"-1"}}, false, Restriction{}},
		{http.Header{"Expires": {"Thu, 01 Jan 1970 00:00:00 GMT"}}, false, Restriction{}},
		{http.Header{"Vary": {"Accept-Encoding, Origin"}}, true, Restriction{}},
		{http.Header{"Vary": {"Origin", " *"}}, false, Restriction{NoStore: true}},
		{http.Header{"vary": {"x-api-key"}}, true, Restriction{Private: true}},
		{http.Header{"Vary": {"Authorization"}}, false, Restriction{}},
		{http.Header{"cache-control": {"no-store"}}, false, Restriction{NoStore: true}},
		{http.Header{"Cache-Control": {"private"}}, true, Restriction{Private: true}},
		{http.Header{"Cache-Control": {"private"}}, false, Restriction{}},
		{http.Header{"Cache-Control": {`private="X-Mine, x-yours"`}}, true, Restriction{Fields: []string{"x-mine", "x-yours"}}},
		{http.Header{"Cache-Control": {`private="X-Mine"`}}, false, Restriction{}},
		{http.Header{"Cache-Control": {`no-cache="x-mine", private="X-YOURS"`}}, true, Restriction{Fields: []string{"x-mine", "x-yours"}}},
		{http.Header{"Cache-Control": {`no-cache=X-Mine`}}, false, Restriction{Fields: []string{"x-mine"}}},
		{http.Header{"Cache-Control": {`x="no-store, private"`}}, true, Restriction{}},
		{http.Header{"Cache-Control": {`x="a\", no-store"`}}, true, Restriction{}},
		{http.Header{"Cache-Control": {`x="a, no-store`}}, true, Restriction{NoStore: true}},
		{http.Header{"Cache-Control": {`=, ,no-store=`}}, true, Restriction{NoStore: true}},
	} {
		got := RestrictionOf(tt.header, tt.shared)
		slices.Sort(got.Fields)
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("RestrictionOf(%v, %v) = %+v, want %+v", tt.header, tt.shared, got, tt.want)
		}
	}
}
