package breakwater

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/store"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// What comes out of the cache is what the first caller read, byte for byte.
func TestCache_ReplaysByteForByte(t *testing.T) {
	odd := "event: x\r\nid: 1\r\ndata:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\\u00e9\\n\"}}],\"unknown\": 1.50}\r\n\r\n"
	for _, tt := range []struct {
		name, ask, contentType, text string
		opts                         []Option
	}{
		{"json", chatJSON, asJSON, goodJSON, nil},
		{"json with odd spaces", chatJSON, "application/json; charset=utf-8", "{ \"a\":1.50,\r\n" + goodJSON[1:] + "\n\n", nil},
		{"json behind blank lines", chatJSON, asJSON, "\n\n\n" + goodJSON, nil},
		{"stream", chatStream, asStream, wholeStream, nil},
		{"stream with usage", chatStream, asStream, goodEvent + endEvent + usageEvent + doneEvent, nil},
		{"stream without the terminator", chatStream, asStream, goodEvent + endEvent, nil},
		{"stream with odd fields", chatStream, asStream, odd + endEvent + doneEvent, nil},
		{"stream with comments", chatStream, asStream, ": keep-alive\n\n" + goodEvent + ": keep-alive\n\n" + endEvent + doneEvent, nil},
		{"stream with comments kept", chatStream, asStream, ": keep-alive\n\n" + goodEvent + ": keep-alive\n\n" + endEvent + doneEvent,
			[]Option{WithStream(StreamPolicy{KeepComments: true})}},
	} {
		for _, reader := range []struct {
			name string
			read func(io.Reader) io.Reader
		}{{"at once", func(r io.Reader) io.Reader { return r }}, {"byte by byte", iotest.OneByteReader}} {
			t.Run(tt.name+"/"+reader.name, func(t *testing.T) {
				base := newHosts(func(*http.Request) (*http.Response, error) {
					return answerFrom(200, tt.contentType, reader.read(strings.NewReader(tt.text))), nil
				})
				rt := over(t, base, append(tt.opts, WithCache(CachePolicy{}))...)
				first := asks(t.Context(), rt, tt.ask)
				second := asks(t.Context(), rt, tt.ask)
				if first.err != nil || first.body == "" {
					t.Fatalf("first call: %v, want an answer", first)
				}
				if base.Count("") != 1 {
					t.Fatalf("the base was asked %d times, want 1", base.Count(""))
				}
				if second.err != nil || second.status() != 200 || second.body != first.body {
					t.Errorf("second call: %v, want %v", second, first)
				}
				if got := second.header("Content-Type"); got != tt.contentType {
					t.Errorf("Content-Type = %q, want %q", got, tt.contentType)
				}
				if second.resp.ContentLength != int64(len(first.body)) || second.resp.Request == nil {
					t.Errorf("replay has ContentLength %d and Request %v", second.resp.ContentLength, second.resp.Request)
				}
				if got := second.header(headerAttempts); got != "" {
					t.Errorf("a replay claims %s attempts", got)
				}
				if trail := TrailOf(second.resp); len(trail) != 0 {
					t.Errorf("TrailOf(replay) = %v, want none", trail)
				}
			})
		}
	}
}

// Two callers never share an answer but in one scope.
func TestCache_Scope(t *testing.T) {
	scoped := func(scope string) func(*http.Request) {
		return func(req *http.Request) { *req = *req.WithContext(WithCall(req.Context(), Call{Scope: scope})) }
	}
	key := func(name, value string) func(*http.Request) {
		return func(req *http.Request) {
			req.Header.Del("Authorization")
			req.Header.Set(name, value)
		}
	}
	tenant := func(req *http.Request) string { return req.Header.Get("X-Tenant") }
	none := func(*http.Request) {}
	for _, tt := range []struct {
		name   string
		policy CachePolicy
		first  func(*http.Request)
		second func(*http.Request)
		shared bool
	}{
		{"same caller", CachePolicy{}, none, none, true},
		{"same caller, other headers", CachePolicy{}, with("User-Agent", "1"), with("User-Agent", "2"), true},
		{"same caller, a header that a gateway may go by", CachePolicy{}, with("X-Gateway-Account", "1"), with("X-Gateway-Account", "2"), false},
		{"other bearer", CachePolicy{}, none, key("Authorization", "Bearer sk-other"), false},
		{"other X-Api-Key", CachePolicy{}, key("X-Api-Key", "1"), key("X-Api-Key", "2"), false},
		{"other Api-Key", CachePolicy{}, key("Api-Key", "1"), key("Api-Key", "2"), false},
		{"one key as another header", CachePolicy{}, key("X-Api-Key", "1"), key("Api-Key", "1"), false},
		{"a second key beside the first", CachePolicy{}, none, with("X-Api-Key", "1"), false},
		{"a key and none", CachePolicy{}, none, func(req *http.Request) { req.Header.Del("Authorization") }, false},
		{"one tenant, other keys", CachePolicy{Scope: tenant}, with("X-Tenant", "1"),
			func(req *http.Request) { key("Authorization", "Bearer sk-other")(req); req.Header.Set("X-Tenant", "1") }, true},
		{"other tenant, one key", CachePolicy{Scope: tenant}, with("X-Tenant", "1"), with("X-Tenant", "2"), false},
		{"one call scope, other keys", CachePolicy{}, scoped("team"),
			func(req *http.Request) { key("Authorization", "Bearer sk-other")(req); scoped("team")(req) }, true},
		{"other call scope", CachePolicy{}, scoped("team"), scoped("other"), false},
		{"call scope and none", CachePolicy{}, scoped("team"), none, false},
		{"call scope goes over the policy's", CachePolicy{Scope: func(req *http.Request) string { return req.UserAgent() }}, scoped("1"),
			func(req *http.Request) { req.Header.Set("User-Agent", "2"); scoped("1")(req) }, true},
		{"a scope that is another's credential", CachePolicy{}, none, scoped("Authorization\x00Bearer sk-caller\x00"), false},
		{"other query", CachePolicy{}, none, func(req *http.Request) { req.URL.RawQuery = "a=1" }, false},
		{"other base path", CachePolicy{}, none, func(req *http.Request) { req.URL.Path = "/v1" + req.URL.Path }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := over(t, base, WithCache(tt.policy))
			asks(t.Context(), rt, chatJSON, tt.first)
			asks(t.Context(), rt, chatJSON, tt.second)
			if shared := base.Count("") == 1; shared != tt.shared {
				t.Errorf("shared = %v, want %v", shared, tt.shared)
			}
		})
	}
}

// Only complete answers are kept (invariant 6).
func TestCache_KeepsOnlyWholeAnswers(t *testing.T) {
	lengthEvent := strings.Replace(endEvent, `"stop"`, `"length"`, 1)
	outOfResources := strings.Replace(endEvent, `"stop"`, `"insufficient_system_resource"`, 1)
	errorEvent := "data: {\"error\":{\"message\":\"no\"}}\n\n"
	two := `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"},{"index":1,"message":{"content":"b"},"finish_reason":"stop"}]}`
	all := func(resp *http.Response, _ context.CancelFunc) { io.Copy(io.Discard, resp.Body); resp.Body.Close() }
	// reads takes n events and leaves.
	reads := func(n int) func(*http.Response, context.CancelFunc) {
		return func(resp *http.Response, _ context.CancelFunc) {
			for got := ""; strings.Count(got, "\n\n") < n; {
				buf := make([]byte, 1)
				k, err := resp.Body.Read(buf)
				if got += string(buf[:k]); err != nil {
					break
				}
			}
			resp.Body.Close()
		}
	}
	cancels := func(resp *http.Response, cancel context.CancelFunc) {
		resp.Body.Read(make([]byte, 1))
		cancel()
		all(resp, nil)
	}
	hanging := func(req *http.Request) (*http.Response, error) {
		rest := fakehost.ReaderFunc(func([]byte) (int, error) { <-req.Context().Done(); return 0, req.Context().Err() })
		return answerFrom(200, asStream, io.MultiReader(strings.NewReader(goodEvent), rest)), nil
	}
	for _, tt := range []struct {
		name string
		ask  string
		base handler
		read func(*http.Response, context.CancelFunc)
		kept bool
	}{
		{"whole json", chatJSON, gives(200, asJSON, goodJSON), all, true},
		{"whole json, never read", chatJSON, gives(200, asJSON, goodJSON), reads(0), true},
		{"json of another 2xx", chatJSON, gives(202, asJSON, goodJSON), all, false},
		{"json cut by its length", chatJSON, gives(200, asJSON, strings.Replace(goodJSON, `"stop"`, `"length"`, 1)), all, false},
		{"json against a filter", chatJSON, gives(200, asJSON, strings.Replace(goodJSON, `"stop"`, `"content_filter"`, 1)), all, false},
		{"json that ended for a host's own reason", chatJSON, gives(200, asJSON, strings.Replace(goodJSON, `"stop"`, `"abort"`, 1)), all, false},
		{"json without a text", chatJSON, gives(200, asJSON, strings.Replace(goodJSON, `"hi"`, `null`, 1)), all, false},
		{"json without finish_reason", chatJSON, gives(200, asJSON, strings.Replace(goodJSON, `"stop"`, `null`, 1)), all, false},
		{"json of a kind that nobody knows", chatJSON, gives(200, asJSON, `{"answer":"x"}`), all, false},
		{"json cut", chatJSON, gives(200, asJSON, goodJSON[:40]), all, false},
		{"json reset", chatJSON, breaks(asJSON, goodJSON), all, false},
		{"json with an error inside", chatJSON, gives(200, asJSON, `{"error":{"message":"no"}}`), all, false},
		{"json out of resources", chatJSON, gives(200, asJSON, strings.Replace(goodJSON, `"stop"`, `"insufficient_system_resource"`, 1)), all, false},
		{"json packed", chatJSON, gives(200, asJSON, goodJSON, "Content-Encoding", "br"), all, false},
		{"refusal", chatJSON, gives(400, asJSON, `{"error":{"message":"no"}}`), all, false},
		{"server error", chatJSON, gives(500, asJSON, goodJSON), all, false},
		{"several choices", `{"model":"m","n":2}`, gives(200, asJSON, two), all, true},
		{"one choice of several", `{"model":"m","n":3}`, gives(200, asJSON, two), all, false},

		{"json with a tool call", chatJSON, gives(200, asJSON, toolJSON(`{\"a\":1}`)), all, true},
		{"json with a tool call without arguments", chatJSON, gives(200, asJSON, toolJSON(``)), all, true},
		{"json with a tool call cut short", chatJSON, gives(200, asJSON, toolJSON(`{\"a\":`)), all, false},

		{"whole stream", chatStream, gives(200, asStream, wholeStream), all, true},
		{"stream with a tool call", chatStream, gives(200, asStream, toolEvents(`{\"a`, `\":1}`)), all, true},
		{"stream with a tool call cut short", chatStream, gives(200, asStream, toolEvents(`{\"a`, `\":`)), all, false},
		{"whole stream, left at the terminator", chatStream, gives(200, asStream, wholeStream), reads(3), true},
		{"stream without the terminator, read to its end", chatStream, gives(200, asStream, goodEvent+endEvent), all, true},
		{"stream never read", chatStream, gives(200, asStream, wholeStream), reads(0), false},
		{"stream left in the middle", chatStream, gives(200, asStream, goodEvent+goodEvent+wholeStream), reads(1), false},
		{"stream left before its usage and terminator", chatStream, gives(200, asStream, goodEvent+endEvent+usageEvent+doneEvent), reads(2), false},
		{"stream in one event left before its usage", chatStream, gives(200, asStream, strings.Replace(endEvent, `{}`, `{"content":"hi"}`, 1)+usageEvent+doneEvent), reads(0), false},
		{"stream cancelled", chatStream, hanging, cancels, false},
		{"stream cut by its length", chatStream, gives(200, asStream, goodEvent+lengthEvent+doneEvent), all, false},
		{"stream ended early", chatStream, gives(200, asStream, goodEvent), all, false},
		{"stream with only the terminator", chatStream, gives(200, asStream, goodEvent+doneEvent), all, false},
		{"stream reset", chatStream, breaks(asStream, goodEvent), all, false},
		{"stream malformed", chatStream, gives(200, asStream, goodEvent+"data: {\n\n"+endEvent+doneEvent), all, false},
		{"stream with an error frame", chatStream, gives(200, asStream, goodEvent+errorEvent+endEvent+doneEvent), all, false},
		{"stream whose last event ends it and tells of an error", chatStream, fakehost.EndsAtOnce(goodEvent + strings.Replace(endEvent, `{"choices"`, `{"error":{"message":"no"},"choices"`, 1)), all, false},
		{"stream out of resources", chatStream, gives(200, asStream, goodEvent+outOfResources+doneEvent), all, false},
		{"stream packed", chatStream, gives(200, asStream, wholeStream, "Content-Encoding", "br"), all, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(tt.base)
				rt := over(t, base, WithCache(CachePolicy{}), WithRetry(RetryPolicy{Attempts: 1}))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, _ := post(ctx, "https://a", tt.ask)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				tt.read(resp, cancel)
				synctest.Wait()
				if kept := rt.Status().Cache.Entries == 1; kept != tt.kept {
					t.Errorf("kept = %v, want %v", kept, tt.kept)
				}
				base.Set("", gives(200, asStream, wholeStream))
				before := base.Count("")
				asks(t.Context(), rt, tt.ask)
				if hit := base.Count("") == before; hit != tt.kept {
					t.Errorf("the next call was a hit: %v, want %v", hit, tt.kept)
				}
			})
		})
	}
}

// toolJSON is an answer that calls a tool with such arguments, toolEvents a
// stream that does.
func toolJSON(arguments string) string {
	return `{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"` +
		arguments + `"}}]},"finish_reason":"tool_calls"}],"usage":{"total_tokens":3}}`
}

func toolEvents(first, second string) string {
	return `data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"` + first + `"}}]}}]}` + "\n\n" +
		`data: {"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"` + second + `"}}]}}]}` + "\n\n" +
		strings.Replace(endEvent, "stop", "tool_calls", 1) + doneEvent
}

func TestCache_BoundsEntries(t *testing.T) {
	base := newHosts(gives(200, asJSON, goodJSON))
	rt := over(t, base, WithCache(CachePolicy{MaxEntries: 2}))
	for _, step := range []struct {
		question int
		hit      bool
	}{
		{1, false}, {2, false}, {1, true},
		{3, false},           // pushes 2 out: 1 was used later
		{1, true}, {3, true}, // both still there
		{2, false}, {1, false}, // 2 pushed 1 out
	} {
		before := base.Count("")
		asks(t.Context(), rt, question(step.question))
		if hit := base.Count("") == before; hit != step.hit {
			t.Errorf("question %d: hit = %v, want %v", step.question, hit, step.hit)
		}
		if n := rt.Status().Cache.Entries; n > 2 {
			t.Fatalf("%d entries, want at most 2", n)
		}
	}
	if got := rt.Status().Cache; got.Evictions != 3 || got.Hits != 3 || got.Misses != 5 || got.Stores != 5 {
		t.Errorf("Status().Cache = %+v, want 3 evictions, 3 hits, 5 misses, 5 stores", got)
	}
}

// jsonOf is a whole JSON answer of n bytes.
func jsonOf(n int) string {
	return strings.Replace(goodJSON, `"hi"`, `"`+strings.Repeat("x", n-len(goodJSON)+2)+`"`, 1)
}

func TestCache_BoundsBytes(t *testing.T) {
	const maxBytes = 10_000
	size := 2000
	base := newHosts(func(*http.Request) (*http.Response, error) { return answer(200, asJSON, jsonOf(size)), nil })
	rt := over(t, base, WithCache(CachePolicy{MaxBytes: maxBytes}))
	for n := range 50 {
		size = 1000 + 37*(n%50)
		asks(t.Context(), rt, question(n))
		s := rt.Status().Cache
		if s.Bytes > maxBytes {
			t.Fatalf("after %d answers the cache holds %d bytes, want at most %d", n+1, s.Bytes, maxBytes)
		}
	}
	before := rt.Status().Cache
	if before.Entries < 2 {
		t.Fatalf("%d entries, want several", before.Entries)
	}
	// One question again and again takes the place of its own answer.
	for range 5 {
		asks(t.Context(), rt, question(49), with("Cache-Control", "no-cache"))
	}
	if after := rt.Status().Cache; after.Entries != before.Entries || after.Bytes != before.Bytes || after.Evictions != before.Evictions {
		t.Errorf("the same answer kept again: %+v, want %+v", after, before)
	}
}

// An answer larger than the whole cache is not kept, and pushes nobody out.
func TestCache_BoundsBytesAgainstOneLargeAnswer(t *testing.T) {
	size := 1000
	base := newHosts(func(*http.Request) (*http.Response, error) { return answer(200, asJSON, jsonOf(size)), nil })
	rt := over(t, base, WithCache(CachePolicy{MaxBytes: 10_000}))
	for n := range 3 {
		asks(t.Context(), rt, question(n))
	}
	size = 20_000
	asks(t.Context(), rt, question(3))
	if s := rt.Status().Cache; s.Entries != 3 || s.Bytes > 10_000 {
		t.Errorf("%d entries of %d bytes, want the 3 that were there", s.Entries, s.Bytes)
	}
}

func TestCache_BoundsOneEntry(t *testing.T) {
	const limit = 1000
	stream := func(n int) string {
		return strings.Replace(goodEvent, "hi", strings.Repeat("x", n-len(wholeStream)+2), 1) + endEvent + doneEvent
	}
	for _, tt := range []struct {
		name, ask, contentType, text string
		kept                         bool
	}{
		{"json of the limit", chatJSON, asJSON, jsonOf(limit), true},
		{"json above it", chatJSON, asJSON, jsonOf(limit + 1), false},
		{"stream of the limit", chatStream, asStream, stream(limit), true},
		{"stream above it", chatStream, asStream, stream(limit + 1), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rt := over(t, newHosts(gives(200, tt.contentType, tt.text)), WithCache(CachePolicy{MaxEntryBytes: limit}))
			if got := asks(t.Context(), rt, tt.ask); got.body != tt.text {
				t.Fatalf("the caller got %v", got)
			}
			if kept := rt.Status().Cache.Entries == 1; kept != tt.kept {
				t.Errorf("kept = %v, want %v", kept, tt.kept)
			}
		})
	}
}

// Age and Cache-Status say what the cache did (RFC 9111, RFC 9211), and the
// request's Cache-Control is obeyed.
func TestCache_Timeline(t *testing.T) {
	down := handler(refusing)
	type step struct {
		after   time.Duration // since the last step
		control string        // the request's Cache-Control
		base    handler       // from now on; nil: as before
		want    string        // Cache-Status
		age     string
		asked   int // attempts of this step
	}
	for _, tt := range []struct {
		name   string
		policy CachePolicy
		steps  []step
	}{
		{"fresh for TTL", CachePolicy{TTL: 5 * time.Minute}, []step{
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{0, "", nil, "breakwater; hit; ttl=300", "0", 0},
			{61500 * time.Millisecond, "", nil, "breakwater; hit; ttl=238", "61", 0},
			{238500*time.Millisecond - 1, "", nil, "breakwater; hit; ttl=0", "299", 0},
			{1, "", nil, "breakwater; fwd=stale", "", 1},
			{time.Minute, "", nil, "breakwater; hit; ttl=240", "60", 0},
		}},
		{"no-store bypasses and keeps nothing", CachePolicy{}, []step{
			{0, "no-store", nil, "breakwater; fwd=bypass", "", 1},
			{0, "No-Store", nil, "breakwater; fwd=bypass", "", 1},
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{0, "no-store", nil, "breakwater; fwd=bypass", "", 1},
			{0, "", nil, "breakwater; hit; ttl=300", "0", 0},
		}},
		{"no-cache asks anew and keeps the new", CachePolicy{}, []step{
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{time.Minute, "no-cache", nil, "breakwater; fwd=request", "", 1},
			{time.Minute, "", nil, "breakwater; hit; ttl=240", "60", 0},
		}},
		{"max-age", CachePolicy{}, []step{
			{0, "max-age=10", nil, "breakwater; fwd=uri-miss", "", 1},
			{10*time.Second - 1, "max-age=10", nil, "breakwater; hit; ttl=290", "9", 0},
			{1, "max-age=10", nil, "breakwater; fwd=request", "", 1},
			{0, "max-age=0", nil, "breakwater; fwd=request", "", 1},
			{time.Minute, `foo, max-age="60"`, nil, "breakwater; fwd=request", "", 1},
			{6 * time.Minute, "max-age=3600", nil, "breakwater; fwd=stale", "", 1}, // beyond our own TTL
			{time.Second, "max-age=x", nil, "breakwater; hit; ttl=299", "1", 0},    // nonsense asks nothing
		}},
		{"stale when all failed", CachePolicy{TTL: time.Minute, StaleIfError: time.Minute}, []step{
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{90 * time.Second, "", down, "breakwater; hit; ttl=-30; detail=stale-if-error", "90", 1},
			{30*time.Second - 1, "", nil, "breakwater; hit; ttl=-59; detail=stale-if-error", "119", 1},
			{1, "", nil, "breakwater; fwd=stale", "", 1},
		}},
		{"the request bounds stale-if-error", CachePolicy{TTL: time.Minute}, []step{
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{90 * time.Second, "stale-if-error=30", down, "breakwater; fwd=stale", "", 1},
			{0, "stale-if-error=31", nil, "breakwater; hit; ttl=-30; detail=stale-if-error", "90", 1},
			{0, "stale-if-error=0", nil, "breakwater; fwd=stale", "", 1},
			{time.Hour, "stale-if-error=999999", nil, "breakwater; fwd=stale", "", 1}, // beyond our own window
		}},
		{"StaleIfError Off", CachePolicy{TTL: time.Minute, StaleIfError: Off}, []step{
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{time.Minute, "", down, "breakwater; fwd=stale", "", 1},
		}},
		{"TTL Off serves when all failed only", CachePolicy{TTL: Off, StaleIfError: time.Hour}, []step{
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{0, "", nil, "breakwater; fwd=stale", "", 1},
			{30 * time.Minute, "", down, "breakwater; hit; ttl=-1800; detail=stale-if-error", "1800", 1},
			{30 * time.Minute, "", nil, "breakwater; fwd=stale", "", 1},
		}},
		{"max-stale takes what is past its time", CachePolicy{TTL: time.Minute, StaleIfError: time.Minute}, []step{
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{90 * time.Second, "max-stale=31", nil, "breakwater; hit; ttl=-30", "90", 0},
			{0, "max-stale", nil, "breakwater; hit; ttl=-30", "90", 0},
			{0, "max-stale, max-age=90", nil, "breakwater; fwd=stale", "", 1},
			{90 * time.Second, "max-stale=30", nil, "breakwater; fwd=stale", "", 1},
			{2 * time.Minute, "max-stale", nil, "breakwater; fwd=stale", "", 1}, // beyond what is kept for anything
		}},
		{"min-fresh wants time left", CachePolicy{TTL: time.Minute}, []step{
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{30 * time.Second, "min-fresh=29", nil, "breakwater; hit; ttl=30", "30", 0},
			{0, "min-fresh=30", nil, "breakwater; fwd=request", "", 1},
			{0, "min-fresh=999", nil, "breakwater; fwd=request", "", 1},
		}},
		{"only-if-cached asks nobody", CachePolicy{TTL: time.Minute}, []step{
			{0, "only-if-cached", nil, "breakwater; detail=only-if-cached", "", 0},
			{0, "only-if-cached, no-store", nil, "breakwater; detail=only-if-cached", "", 0},
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{0, "only-if-cached", nil, "breakwater; hit; ttl=60", "0", 0},
			{90 * time.Second, "only-if-cached", nil, "breakwater; detail=only-if-cached", "", 0},
			{0, "only-if-cached, max-stale=60", nil, "breakwater; hit; ttl=-30", "90", 0},
		}},
		{"stale while it is renewed", CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Minute, StaleIfError: Off}, []step{
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{90 * time.Second, "", nil, "breakwater; hit; ttl=-30; detail=stale-while-revalidate", "90", 1},
			{0, "", nil, "breakwater; hit; ttl=60", "0", 0},
			{90 * time.Second, "max-age=80", nil, "breakwater; fwd=stale", "", 1},
			{90 * time.Second, "", down, "breakwater; hit; ttl=-30; detail=stale-while-revalidate", "90", 1},
			{30 * time.Second, "", nil, "breakwater; fwd=stale", "", 1},
		}},
		{"what is the request's fault is no reason for stale", CachePolicy{TTL: time.Minute}, []step{
			{0, "", nil, "breakwater; fwd=uri-miss", "", 1},
			{2 * time.Minute, "", gives(400, asJSON, "{}"), "breakwater; fwd=stale", "", 1},
			{0, "", gives(503, asJSON, "{}"), "breakwater; hit; ttl=-60; detail=stale-if-error", "120", 1},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, asErrors := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					base := newHosts(gives(200, asJSON, goodJSON))
					opts := []Option{WithCache(tt.policy), WithRetry(RetryPolicy{Attempts: 1}), WithBreaker(BreakerPolicy{FailureRate: Off, Consecutive: Off})}
					if asErrors {
						opts = append(opts, WithErrors())
					}
					rt := over(t, base, opts...)
					for i, s := range tt.steps {
						elapse(s.after)
						if s.base != nil {
							base.Set("", s.base)
						}
						before := base.Count("")
						got := asks(t.Context(), rt, chatJSON, with("Cache-Control", s.control))
						synctest.Wait() // for what is done in the background
						if asErrors && got.resp == nil && !strings.Contains(s.want, "hit") {
							continue // the same, as a Go error: it has no headers
						}
						if got.header("Cache-Status") != s.want || got.header("Age") != s.age || base.Count("")-before != s.asked {
							t.Errorf("step %d: Cache-Status %q, Age %q, %d attempts, want %q, %q, %d", i+1,
								got.header("Cache-Status"), got.header("Age"), base.Count("")-before, s.want, s.age, s.asked)
						}
						if hit := strings.Contains(s.want, "hit"); hit && (got.status() != 200 || got.body != goodJSON || got.err != nil) {
							t.Errorf("step %d: a hit gave %v", i+1, got)
						}
					}
				})
			}
		})
	}
}

// A host's own Cache-Status comes before ours, and is not replayed as ours.
func TestCache_StatusOfTheHostStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, newHosts(gives(200, asJSON, goodJSON, "Cache-Status", "edge; hit", "Age", "7")), WithCache(CachePolicy{}))
		if got := asks(t.Context(), rt, chatJSON).header("Cache-Status"); got != "edge; hit, breakwater; fwd=uri-miss" {
			t.Errorf("Cache-Status = %q", got)
		}
		got := asks(t.Context(), rt, chatJSON)
		if got.header("Cache-Status") != "breakwater; hit; ttl=293" || got.header("Age") != "7" {
			t.Errorf("replay: Cache-Status %q, Age %q", got.header("Cache-Status"), got.header("Age"))
		}
	})
}

// A gateway may have kept an answer, or say for how long it is fresh: that counts from when
// it was made, and only ever shortens the policy's times.
func TestCache_TimesOfTheHost(t *testing.T) {
	scope := func(*http.Request) string { return "team" }
	for _, tt := range []struct {
		name    string
		headers []string
		scope   func(*http.Request) string
		after   time.Duration
		want    string // Cache-Status
		age     string
	}{
		{"aged", []string{"Age", "250"}, nil, 49 * time.Second, "breakwater; hit; ttl=1", "299"},
		{"aged, no more fresh", []string{"Age", "250"}, nil, 50 * time.Second, "breakwater; fwd=stale", "250"},
		{"too old from the start", []string{"Age", "300"}, nil, 0, "breakwater; fwd=stale", "300"},
		{"an Age that is none", []string{"Age", "-5"}, nil, 0, "breakwater; hit; ttl=300", "0"},
		{"max-age", []string{"Cache-Control", "max-age=60"}, nil, 59 * time.Second, "breakwater; hit; ttl=1", "59"},
		{"max-age and Age", []string{"Cache-Control", "max-age=60", "Age", "50"}, nil, 10 * time.Second, "breakwater; fwd=stale", "50"},
		{"max-age beyond the policy's", []string{"Cache-Control", "max-age=3600"}, nil, 300 * time.Second, "breakwater; fwd=stale", ""},
		{"s-maxage, one credential", []string{"Cache-Control", "s-maxage=60"}, nil, 61 * time.Second, "breakwater; hit; ttl=239", "61"},
		{"s-maxage, a scope by name", []string{"Cache-Control", "s-maxage=60"}, scope, 61 * time.Second, "breakwater; fwd=stale", ""},
		{"a habit", []string{"Cache-Control", "no-cache, max-age=0, must-revalidate", "Pragma", "no-cache", "Expires", "0"}, scope, time.Minute, "breakwater; hit; ttl=240", "60"},
	} {
		for name, form := range map[string][3]string{"JSON": {chatJSON, asJSON, goodJSON}, "stream": {chatStream, asStream, wholeStream}} {
			bubble(t, tt.name+"/"+name, func(t *testing.T) {
				rt := over(t, newHosts(gives(200, form[1], form[2], tt.headers...)), WithCache(CachePolicy{Scope: tt.scope}))
				asks(t.Context(), rt, form[0])
				elapse(tt.after)
				if got := asks(t.Context(), rt, form[0]); got.header("Cache-Status") != tt.want || got.header("Age") != tt.age || got.body != form[2] {
					t.Errorf("got %v, Age %q, want %q, %q", got, got.header("Age"), tt.want, tt.age)
				}
			})
		}
	}
	bubble(t, "must-revalidate with a time", func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON, "Cache-Control", "max-age=60, must-revalidate"))
		rt := over(t, base, WithCache(CachePolicy{StaleWhileRevalidate: time.Hour}), once)
		asks(t.Context(), rt, chatJSON)
		elapse(time.Minute)
		base.Set("", failing503)
		if got := asks(t.Context(), rt, chatJSON); got.status() != 503 {
			t.Errorf("got %v, want no stale answer", got)
		}
	})
}

// An answer that varies with a header that is in no key is for requests with the same value
// only: kept, under way, and in a Store.
func TestCache_Vary(t *testing.T) {
	for _, tt := range []struct {
		vary         string
		first, other func(*http.Request)
		sent         int // by two callers with each header
	}{
		{"Accept-Encoding", with("Accept-Encoding", "br"), with("Accept-Encoding", "gzip"), 1},
		{"Origin", with("Origin", "https://a"), with("Origin", "https://b"), 2},
		{"Origin", with("Origin", "https://a"), with("Origin", "https://a"), 1},
		{"Accept-Language, X-Nobody-Sends", with("Accept-Language", "de"), with("X-Request-Id", "2"), 2},
		{"X-Nobody-Sends, Referer", with("X-Request-Id", "1"), with("X-Request-Id", "2"), 1},
		{"*", with("X-Request-Id", "1"), with("X-Request-Id", "1"), 4},
		{"Authorization", with("Authorization", "Bearer a"), with("Authorization", "Bearer b"), 4},
		{"X-Tenant", with("X-Tenant", "1"), with("X-Tenant", "2"), 2},
	} {
		for name, form := range map[string][3]string{"JSON": {chatJSON, asJSON, goodJSON}, "stream": {chatStream, asStream, wholeStream}} {
			host := func(*http.Request) (*http.Response, error) {
				elapse(time.Second)
				return gives(200, form[1], form[2], "Vary", tt.vary)(nil)
			}
			bubble(t, strings.Join([]string{tt.vary, name}, "/"), func(t *testing.T) {
				kept := &memoryStore{}
				policy := CachePolicy{Scope: func(*http.Request) string { return "team" }, Store: kept}
				ask := func(edits ...func(*http.Request)) int {
					base := newHosts(host)
					rt := over(t, base, WithCache(policy))
					for _, edit := range edits {
						if got := asks(t.Context(), rt, form[0], edit); got.body != form[2] {
							t.Errorf("got %v", got)
						}
					}
					synctest.Wait()
					return base.Count("")
				}
				if n := ask(tt.first, tt.first, tt.other, tt.other); n != tt.sent {
					t.Errorf("%d requests, one after the other, want %d", n, tt.sent)
				}
				if n := ask(tt.other); n != tt.sent/4 {
					t.Errorf("%d requests although the Store has the answer", n)
				}
				base := newHosts(host)
				rt := over(t, base, WithCache(CachePolicy{Scope: policy.Scope}))
				var all []*caller
				for _, edit := range []func(*http.Request){tt.first, tt.first, tt.other, tt.other} {
					all = append(all, calls(t, rt, form[0], edit))
				}
				elapse(time.Minute)
				synctest.Wait()
				for _, c := range all {
					if c.err != nil || c.read.String() != form[2] || c.ended != io.EOF {
						t.Errorf("a caller got %v, %q", c.err, c.read.String())
					}
				}
				want := tt.sent
				if tt.vary == "Authorization" {
					want = 2 // callers of one credential may share
				}
				if n := base.Count(""); n != want {
					t.Errorf("%d requests at once, want %d", n, want)
				}
			})
		}
	}
}

// Under a tracing agent, each request has headers of its own. They tell no questions apart.
func TestCache_UnderTracingAgents(t *testing.T) {
	agents := []string{"traceparent", "Elastic-Apm-Traceparent", "newrelic", "X-INSTANA-T", "sw8", "X-dynaTrace", "singularityheader", "x-datadog-trace-id", "X-Amzn-Trace-Id", "Request-Id", "x-ms-client-request-id", "ot-tracer-spanid", "uberctx-x", "Idempotency-Key", "X-Stainless-Retry-Count"}
	for _, policy := range []CachePolicy{{}, {Scope: func(*http.Request) string { return "team" }}} {
		for _, ask := range []string{chatJSON, chatStream} {
			bubble(t, fmt.Sprint(policy.Scope != nil, len(ask)), func(t *testing.T) {
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					elapse(time.Second)
					if callOf(req.Context()).params.Stream {
						return answer(200, asStream, wholeStream), nil
					}
					return answer(200, asJSON, goodJSON), nil
				})
				rt := over(t, base, WithCache(policy))
				for range 2 { // under way, then kept
					for n := range 3 {
						calls(t, rt, ask, func(req *http.Request) {
							for _, name := range agents {
								req.Header[name] = []string{fmt.Sprint(n)}
							}
						})
					}
					elapse(time.Minute)
				}
				synctest.Wait()
				if n := base.Count(""); n != 1 {
					t.Errorf("%d requests, want 1", n)
				}
			})
		}
	}
}

// A format that no call for inference has may change the answer, or have it refused.
func TestCache_FormatsThatAreNotOrdinary(t *testing.T) {
	for name, values := range map[string][]string{
		"Accept":       {"application/json", "*/*", "application/json, text/plain, */*", "Application/JSON;q=0.9", "text/event-stream;q=0, application/json", "text/csv", "application/vnd.a+json"},
		"Content-Type": {"application/json", "application/json; charset=utf-8", "text/plain", "application/vnd.a+json"},
	} {
		for n, value := range values {
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := over(t, base, WithCache(CachePolicy{}))
			for _, v := range []string{"application/json", value} {
				asks(t.Context(), rt, chatJSON, with(name, v))
			}
			ordinary := !strings.Contains(value, "vnd") && !strings.Contains(value, "csv") && (name != "Content-Type" || n < 2)
			if strings.Contains(value, "event-stream") {
				continue // see TestCache_FormsThatAreUnclear
			}
			if sent := base.Count(""); sent == 1 != ordinary {
				t.Errorf("%s %q: %d requests", name, value, sent)
			}
		}
	}
}

// The caller's cancel is its own: no stale answer hides it. Of a deadline, the
// host has nine tenths, if nobody but the cache could take over.
func TestCache_StaleAndTheCallersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithCache(CachePolicy{TTL: time.Minute}))
		asks(t.Context(), rt, chatJSON)
		elapse(2 * time.Minute)
		base.Set("", hanging)
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if got := asks(ctx, rt, chatJSON); !errors.Is(got.err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("a cancelled call gave %v after %v", got, time.Since(start))
		}
		start = time.Now()
		ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if got := asks(ctx, rt, chatJSON); got.body != goodJSON || got.header("Age") != "139" || time.Since(start) != 18*time.Second {
			t.Errorf("a call with 20s left gave %v after %v, want the stale answer shortly before their end", got, time.Since(start))
		}
	})
}

// While every circuit is open, a call gets a kept answer at once, and one request in
// the background checks whether an endpoint has recovered.
func TestCache_StaleAtOnceWhileAllCircuitsAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithCache(CachePolicy{TTL: time.Minute}), WithEndpoints(at("a", "b")...), WithRetry(RetryPolicy{Attempts: 1}))
		defer rt.Close()
		asks(t.Context(), rt, chatJSON)
		elapse(2 * time.Minute)
		base.Set("", func(*http.Request) (*http.Response, error) {
			elapse(2 * time.Second)
			return nil, errors.New("refused")
		})
		for n := range 10 {
			asks(t.Context(), rt, question(n))
		}
		for _, e := range rt.Status().Endpoints {
			if e.Circuits[0].State == "closed" {
				t.Fatalf("the circuit of %s is still closed: nothing is tested", e.Name)
			}
		}
		for range 20 {
			start := time.Now()
			if got := asks(t.Context(), rt, chatJSON); got.body != goodJSON || !strings.Contains(got.header("Cache-Status"), "detail=stale-if-error") || time.Since(start) != 0 {
				t.Fatalf("all circuits open: %v after %v, want the stale answer at once", got, time.Since(start))
			}
			elapse(time.Second)
		}
		base.Set("", gives(200, asJSON, goodJSON))
		for range 2 * 60 {
			asks(t.Context(), rt, chatJSON)
			elapse(time.Second)
		}
		if got := asks(t.Context(), rt, chatJSON); strings.Contains(got.header("Cache-Status"), "stale-if-error") || got.status() != 200 {
			t.Errorf("two minutes after the endpoints came back: %v, want no stale answer", got)
		}
	})
}

// A kept answer never makes a call worse off than none would.
func TestCache_FallbackHurtsNobody(t *testing.T) {
	// A stream of which no JSON can be made: its choice has a message beside the delta.
	odd := "data: {\"choices\":[{\"index\":0,\"message\":{\"content\":\"x\"},\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n" + doneEvent
	failing := func(n int) handler { // so many times
		return func(req *http.Request) (*http.Response, error) {
			if n--; n >= 0 {
				return failing503(req)
			}
			return answer(200, asJSON, goodJSON), nil
		}
	}
	for _, tt := range []struct {
		name   string
		first  string
		kept   string
		then   handler
		within time.Duration // of the caller; 0: all the time there is
		fresh  bool
	}{
		{"that cannot be had as the call wants it", chatStream, odd, failing(2), 0, true},
		{"while the host takes 6 s of 10", chatJSON, goodJSON, fakehost.After(6*time.Second, gives(200, asJSON, goodJSON)), 10 * time.Second, true},
		{"while the host takes all the time there is", chatJSON, goodJSON, fakehost.After(time.Minute, gives(200, asJSON, goodJSON)), 10 * time.Second, false},
		{"while the host fails once", chatJSON, goodJSON, failing(1), 0, true},
		{"while the host fails for good", chatJSON, goodJSON, failing(100), 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				contentType := asJSON
				if tt.first == chatStream {
					contentType = asStream
				}
				base := newHosts(gives(200, contentType, tt.kept))
				rt := over(t, base, WithCache(CachePolicy{TTL: time.Minute}), WithEndpoints(at("a")...))
				asks(t.Context(), rt, tt.first)
				if rt.Status().Cache.Entries != 1 {
					t.Fatal("nothing was kept: nothing is tested")
				}
				elapse(2 * time.Minute)
				base.Set("", tt.then)
				ctx := t.Context()
				if tt.within > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.within)
					defer cancel()
				}
				got := asks(ctx, rt, chatJSON)
				if fresh := got.header("Age") == ""; got.body != goodJSON || fresh != tt.fresh {
					t.Errorf("got %v, want an answer, fresh: %v", got, tt.fresh)
				}
			})
		})
	}
}

// Behind the commit a kept answer is nobody who could go on: keep-alives buy
// the stream its time as they do without one.
func TestCache_FallbackDoesNotHurryAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asStream, wholeStream))
		rt := over(t, base, WithCache(CachePolicy{TTL: time.Minute}), WithEndpoints(at("a")...))
		asks(t.Context(), rt, chatStream)
		elapse(2 * time.Minute)
		base.Set("", func(*http.Request) (*http.Response, error) {
			beats := 0
			return answerFrom(200, asStream, io.MultiReader(strings.NewReader(goodEvent), fakehost.ReaderFunc(func(p []byte) (int, error) {
				elapse(10 * time.Second)
				if beats++; beats > 10 {
					return 0, io.EOF
				}
				return copy(p, ": keep-alive\n\n"), nil
			}), strings.NewReader(endEvent+doneEvent))), nil
		})
		if got := asks(t.Context(), rt, chatStream); got.err != nil || got.body != wholeStream {
			t.Errorf("got %v, want the whole stream", got)
		}
	})
}

// With a cache and without one, a stream that lives on keep-alives stalls as soon
// as another endpoint could serve: one that failed the call before may do that
// again.
func TestCache_StreamsStallAsWithoutOne(t *testing.T) {
	for name, opts := range map[string][]Option{"with": {WithCache(CachePolicy{})}, "without": nil} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				return answerFrom(200, asStream, io.MultiReader(strings.NewReader(goodEvent), fakehost.ReaderFunc(func(p []byte) (int, error) {
					return copy(p, ": keep-alive\n\n"), sleep(req.Context(), 10*time.Second)
				}))), nil
			})
			base.Set("a", failing503)
			rt := over(t, base, append(opts, once, WithEndpoints(at("a")...), WithBackup(at("b")...), WithStream(StreamPolicy{Stall: 25 * time.Second}))...)
			start := time.Now()
			if got := asks(t.Context(), rt, chatStream); !errors.Is(got.err, ErrStalled) || time.Since(start) != 25*time.Second {
				t.Errorf("%v after %v, want a stall after 25s", got.err, time.Since(start))
			}
		})
	}
}

// After an outage in which every host hung, and every caller has a kept answer,
// the endpoints are found to be back within a minute.
func TestCache_RecoveryWhileAllHaveFallbacks(t *testing.T) {
	for _, keys := range []int{1, 40} {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := over(t, base, WithCache(CachePolicy{TTL: time.Minute}), WithEndpoints(at("a", "b")...))
			for n := range keys {
				asks(t.Context(), rt, question(n))
			}
			elapse(2 * time.Minute)
			base.Set("", hanging)
			ask := func(n int) seen {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				return asks(ctx, rt, question(n%keys))
			}
			for n := range 5 * 60 {
				if got := ask(n); got.body != goodJSON {
					t.Fatalf("while all hang: %v", got)
				}
				elapse(time.Second)
			}
			base.Set("", gives(200, asJSON, goodJSON))
			back := time.Now()
			for n := 0; ; n++ {
				if got := ask(n); !strings.Contains(got.header("Cache-Status"), "stale-if-error") {
					break
				}
				if time.Since(back) > 5*time.Minute {
					break
				}
				elapse(time.Second)
			}
			if d := time.Since(back); d > time.Minute {
				t.Errorf("with %d questions, stale answers for %v after the endpoints came back", keys, d)
			}
		})
	}
}

// There is one renewal for the same content, a bounded number in all, each takes a
// bounded time, and none begins after Close.
func TestCache_Renewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var renewing atomic.Int32
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, noBreaker, WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Hour}))
		for n := range 50 {
			asks(t.Context(), rt, question(n))
		}
		elapse(2 * time.Minute)
		base.Set("", func(req *http.Request) (*http.Response, error) {
			renewing.Add(1)
			defer renewing.Add(-1)
			return hanging(req)
		})
		before := base.Count("")
		for range 3 {
			if got := asks(t.Context(), rt, question(0)); got.body != goodJSON {
				t.Fatalf("while it is renewed: %v", got)
			}
		}
		synctest.Wait()
		if n := base.Count("") - before; n != 1 {
			t.Errorf("%d renewals of one question, want 1", n)
		}
		for n := range 50 {
			asks(t.Context(), rt, question(n))
		}
		synctest.Wait()
		if n := renewing.Load(); n != maxRenewals { // none has ended
			t.Errorf("%d renewals at once, want %d", n, maxRenewals)
		}
		elapse(renewWait)
		synctest.Wait()
		if n := renewing.Load(); n != 0 {
			t.Errorf("%d renewals go on after %v", n, renewWait)
		}
		asks(t.Context(), rt, question(0))
		synctest.Wait()
		if renewing.Load() != 1 {
			t.Fatal("no renewal under way: nothing is tested")
		}
		rt.Close()
		if n := renewing.Load(); n != 0 {
			t.Errorf("%d renewals go on behind Close", n)
		}
		asks(t.Context(), rt, question(0))
		synctest.Wait()
		if n := renewing.Load(); n != 0 || rt.Status().Cache.Stale == 0 {
			t.Errorf("%d renewals begin behind Close", n)
		}
	})
}

// Renewals take what callers leave of a limit: new questions are asked at once, whatever is
// being renewed, and go first where they would have to wait.
func TestCache_RenewalsGiveWay(t *testing.T) {
	const stale = 8
	for name, tt := range map[string]struct {
		limit  RatePolicy
		asked  int // new questions at once
		within time.Duration
		renews int // at least, at once
	}{
		"InFlight 4":       {RatePolicy{InFlight: 4}, 1, 0, 2},
		"InFlight 4, full": {RatePolicy{InFlight: 4}, 4, 0, 2},
		"InFlight 1":       {RatePolicy{InFlight: 1}, 1, 0, 1},
		"InFlight 2":       {RatePolicy{InFlight: 2}, 2, 0, 1},
		"InFlight 40":      {RatePolicy{InFlight: 40}, 32, 0, stale},
		"Adaptive":         {RatePolicy{InFlight: 4, Adaptive: true}, 1, 0, 2},
		"PerSecond":        {RatePolicy{PerSecond: 4, Burst: 8}, 4, 0, 1},
		"PerSecond, one":   {RatePolicy{PerSecond: 1, Burst: 1}, 1, time.Second, 1},
		"tokens":           {RatePolicy{TokensPerMinute: 100_000}, 10, 0, stale},
		"no limit":         {RatePolicy{}, 32, 0, stale},
	} {
		for _, stream := range []bool{false, true} {
			bubble(t, fmt.Sprint(name, "/", stream), func(t *testing.T) {
				body := func(n int) string { return strings.Replace(question(n), "{", fmt.Sprintf(`{"stream":%t,`, stream), 1) }
				var takes time.Duration
				var open, most, canceled int
				var mu sync.Mutex
				rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
					mu.Lock()
					open++
					most = max(most, open)
					mu.Unlock()
					err := sleep(req.Context(), takes)
					mu.Lock()
					defer mu.Unlock()
					open--
					switch {
					case err != nil:
						canceled++
						return nil, err
					case stream:
						return answer(200, asStream, wholeStream), nil
					}
					return answer(200, asJSON, goodJSON), nil
				}), WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Hour}), WithRateLimit(tt.limit))
				for n := range stale {
					if got := asks(t.Context(), rt, body(n)); got.status() != 200 {
						t.Fatalf("got %v", got)
					}
				}
				elapse(2 * time.Minute)
				takes, most = 20*time.Second, 0
				for n := range stale {
					if got := asks(t.Context(), rt, body(n)); !strings.Contains(got.header("Cache-Status"), "stale-while-revalidate") {
						t.Fatalf("got %v", got)
					}
				}
				synctest.Wait()
				if most < tt.renews {
					t.Errorf("%d renewals began, want %d", most, tt.renews)
				}
				start := time.Now()
				var callers sync.WaitGroup
				for n := range tt.asked {
					callers.Go(func() {
						if got := asks(t.Context(), rt, body(100+n)); got.status() != 200 || time.Since(start) > takes+tt.within {
							t.Errorf("a new question got %v after %v", got, time.Since(start))
						}
					})
				}
				callers.Wait()
				elapse(time.Minute)
				synctest.Wait()
				if left := stillHeld(rt); left != "" {
					t.Errorf("%s left", left)
				}
				takes = 0
				for range 3 { // nobody else asks, so all can be renewed
					for n := range stale {
						asks(t.Context(), rt, body(n))
						elapse(2 * time.Second)
					}
				}
				for n := range stale {
					if got := asks(t.Context(), rt, body(n)); !strings.HasPrefix(got.header("Cache-Status"), "breakwater; hit; ttl=") || strings.Contains(got.header("Cache-Status"), "stale") {
						t.Errorf("question %d was never renewed: %v", n, got)
					}
				}
			})
		}
	}
}

// Renewals that fail take no extra attempts out of the budget of callers.
func TestCache_RenewalsTakeNoneOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails atomic.Int32
		base := newHosts(func(req *http.Request) (*http.Response, error) {
			if fails.Add(-1) >= 0 {
				return failing503(req)
			}
			return answer(200, asJSON, goodJSON), nil
		})
		rt := over(t, base, noBreaker, WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Hour}))
		for n := range 16 {
			asks(t.Context(), rt, question(n))
		}
		elapse(10 * time.Minute)
		synctest.Wait()
		before := base.Count("")
		for range 10 {
			fails.Store(1000)
			for n := range 16 {
				asks(t.Context(), rt, question(n))
			}
			elapse(time.Second)
		}
		synctest.Wait()
		if n := base.Count("") - before; n != 160 {
			t.Errorf("%d attempts for 160 renewals, want one each", n)
		}
		for n := range 5 {
			fails.Store(2)
			if got := asks(t.Context(), rt, question(100+n)); got.status() != 200 || got.header("Breakwater-Attempts") != "3" {
				t.Errorf("a caller got %v, want an answer by the third attempt", got)
			}
		}
	})
}

// Renewals draw no turns at the end of a pause, nor behind a probe: a new question goes as
// early as without them.
func TestCache_RenewalsWaitForNoTurn(t *testing.T) {
	for name, fails := range map[string]func(*http.Request) (*http.Response, error){
		"a pause":         gives(429, asJSON, `{"error":{}}`, "Retry-After", "10"),
		"a pause of ours": gives(429, asJSON, `{"error":{}}`),
		"an open circuit": failing503,
	} {
		bubble(t, name, func(t *testing.T) {
			var took []time.Duration
			for _, renewals := range []int{0, 16} {
				var bad atomic.Bool
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					elapse(time.Second)
					if bad.Load() {
						return fails(req)
					}
					return answer(200, asJSON, goodJSON), nil
				})
				rt := over(t, base, WithCache(CachePolicy{TTL: time.Minute, StaleIfError: Off, StaleWhileRevalidate: time.Hour}), WithBreaker(BreakerPolicy{Consecutive: 2}))
				for n := range renewals {
					asks(t.Context(), rt, question(n))
				}
				elapse(2 * time.Minute)
				bad.Store(true)
				calls(t, rt, question(99))
				elapse(2 * time.Second)
				for n := range renewals {
					asks(t.Context(), rt, question(n))
				}
				synctest.Wait()
				bad.Store(false)
				start := time.Now()
				if got := asks(t.Context(), rt, question(100)); got.status() != 200 {
					t.Errorf("%d renewals: a new question got %v", renewals, got)
				}
				took = append(took, time.Since(start))
				elapse(time.Minute)
				rt.Close()
			}
			if took[1] > took[0]+pauseStep { // it goes first, or after the one that caused the pause
				t.Errorf("a new question took %v, and %v without renewals", took[1], took[0])
			}
		})
	}
}

// Who waits for a renewal is a caller: it does not give way. If it could not begin, he asks
// by himself.
func TestCache_RenewalsThatCallersJoin(t *testing.T) {
	for _, limit := range []RatePolicy{{InFlight: 1}, {InFlight: 2}, {PerSecond: 0.1, Burst: 1, MaxWait: time.Minute}} {
		bubble(t, fmt.Sprint(limit), func(t *testing.T) {
			var takes time.Duration
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				if err := sleep(req.Context(), takes); err != nil {
					return nil, err
				}
				return answer(200, asJSON, goodJSON), nil
			})
			limit.MaxWait = time.Minute
			rt := over(t, base, WithCache(CachePolicy{TTL: time.Minute, StaleIfError: Off, StaleWhileRevalidate: time.Hour}), WithRateLimit(limit))
			asks(t.Context(), rt, question(1))
			elapse(2 * time.Minute)
			takes = 10 * time.Second
			if limit.PerSecond > 0 { // the bucket is empty: the renewal cannot begin
				calls(t, rt, question(2))
			}
			asks(t.Context(), rt, question(1)) // begins the renewal
			joins := calls(t, rt, question(1), with("Cache-Control", "max-age=1"))
			other := calls(t, rt, question(3))
			third := calls(t, rt, question(4))
			elapse(5 * time.Minute)
			synctest.Wait()
			for _, c := range []*caller{joins, other, third} {
				if c.err != nil || c.resp.StatusCode != 200 || c.read.String() != goodJSON {
					t.Errorf("a caller got %v, %v", c.resp, c.err)
				}
			}
		})
	}
}

// A stream is read to its end in the background, and kept.
func TestCache_AStreamIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := fakehost.New(fakehost.Gives(200, asStream, wholeStream))
		rt := over(t, base, WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Hour}))
		for _, want := range []string{"", "120", "0"} { // from the host; what is stale; what was renewed since
			got := asks(t.Context(), rt, chatStream)
			if got.body != wholeStream || got.header("Age") != want {
				t.Errorf("got %v of age %q, want one of age %q", got, got.header("Age"), want)
			}
			synctest.Wait()
			if want == "" {
				elapse(2 * time.Minute)
			}
		}
		if left := stillHeld(rt); left != "" || base.Count("") != 2 {
			t.Errorf("%d attempts, want 2; got %s left, want nothing", base.Count(""), left)
		}
	})
}

// What was kept in one form answers in the other.
func TestCache_AnswersInEitherForm(t *testing.T) {
	const extra = `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"q"}]}`
	fullJSON := `{"id":"7","object":"chat.completion","created":1,"model":"m","system_fingerprint":"fp","choices":[{"index":0,"message":{"role":"assistant","reasoning_content":"hm","content":"h\u00e9"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`
	for _, tt := range []struct {
		name                string
		first, text, second string
		hit                 bool
		want                []string
		not                 string
	}{
		{"json as a stream", chatJSON, fullJSON, chatStream, true, []string{`"id":"7"`, `"reasoning_content":"hm"`, `"content":"h\u00e9"`, `"finish_reason":"stop"`, `"total_tokens":3`, "data: [DONE]\n\n"}, `"message"`},
		{"json as a stream that says its usage", chatJSON, fullJSON, extra, true, []string{`"total_tokens":3`}, ""},
		{"stream as json", chatStream, event("h") + event("i") + finishEvent + doneEvent, chatJSON, true, []string{`"content":"hi"`, `"object":"chat.completion"`, `"total_tokens":3`}, "data:"},
		{"stream without usage as json", chatStream, wholeStream, chatJSON, false, []string{goodJSON}, ""},
		{"stream without usage as one with", chatStream, wholeStream, extra, false, []string{`"total_tokens":3`}, ""},
		{"stream with its usage apart as json", extra, goodEvent + endEvent + usageEvent + doneEvent, chatJSON, true, []string{`"content":"hi"`, `"total_tokens":3`}, ""},
		{"stream with its usage apart, for who did not ask", extra, goodEvent + endEvent + usageEvent + doneEvent, chatStream, true, []string{goodEvent + endEvent + doneEvent}, `"usage"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				typeOf := func(body string) string {
					if strings.Contains(body, `"stream":true`) {
						return asStream
					}
					return asJSON
				}
				base := newHosts(gives(200, typeOf(tt.first), tt.text))
				rt := over(t, base, WithCache(CachePolicy{}))
				if got := asks(t.Context(), rt, tt.first); got.body != tt.text {
					t.Fatalf("the first got %v", got)
				}
				base.Set("", gives(200, typeOf(tt.second), map[string]string{asStream: goodEvent + endEvent + usageEvent + doneEvent, asJSON: goodJSON}[typeOf(tt.second)]))
				elapse(3 * time.Second)
				got := asks(t.Context(), rt, tt.second)
				if hit := base.Count("") == 1; hit != tt.hit || hit != (got.header("Age") == "3") || hit != strings.Contains(got.header("Cache-Status"), "hit") {
					t.Fatalf("hit = %v, want %v: %v", hit, tt.hit, got)
				}
				if got.header("Content-Type") != typeOf(tt.second) || got.err != nil || got.status() != 200 {
					t.Errorf("got %v of type %q", got, got.header("Content-Type"))
				}
				for _, part := range tt.want {
					if !strings.Contains(got.body, part) {
						t.Errorf("got %s, which lacks %s", got.body, part)
					}
				}
				if tt.not != "" && strings.Contains(got.body, tt.not) {
					t.Errorf("got %s, with %s in it", got.body, tt.not)
				}
				if tt.hit && got.resp.ContentLength != int64(len(got.body)) {
					t.Errorf("ContentLength %d of %d bytes", got.resp.ContentLength, len(got.body))
				}
			})
		})
	}
}

// asking are callers by what they say of the form they want: members of their
// body, their Accept, and whether that is clear, and what then.
var asking = []struct {
	members, accept string
	clear, stream   bool
}{
	{``, "", true, false}, {`"stream":false`, "application/json", true, false}, {`"stream":null`, "*/*", true, false}, {`"stream":false,"stream":null`, "", true, false},
	{`"stream":true`, "", true, true}, {`"stream":true`, "text/event-stream", true, true}, {`"stream":true`, "application/json", true, true}, {`"stream":true,"stream":true`, "", true, true},
	{`"stream":true,"stream_options":{"include_usage":true}`, "", true, true}, {`"stream":true,"stream_options":{"include_usage":false}`, "", true, true}, {`"stream":true,"stream_options":null`, "", true, true},
	{`"stream":1`, "", false, false}, {`"stream":0`, "", false, false}, {`"stream":"true"`, "", false, false}, {`"stream":"false"`, "", false, false}, {`"stream":{}`, "", false, false}, {`"stream":[]`, "", false, false},
	{`"stream":true,"stream":false`, "", false, false}, {`"stream":false,"stream":true`, "", false, false}, {`"stream":true,"stream":1`, "", false, false}, {`"stream":true,"\u0073tream":false`, "", false, false},
	{`"Stream":true`, "", false, false}, {`"STREAM":true,"stream":false`, "", false, false},
	{``, "text/event-stream", false, false}, {``, "application/json, Text/Event-Stream;q=0.9", false, false}, {`"stream":false`, "text/event-stream", false, false},
	{`"stream":true,"stream_options":{"include_usage":1}`, "", false, false}, {`"stream":true,"stream_options":{"include_usage":true,"include_usage":false}`, "", false, false},
	{`"stream":true,"stream_options":{"include_usage":true},"stream_options":{}`, "", false, false}, {`"stream":true,"stream_options":{"Include_Usage":true}`, "", false, false},
	{`"stream":true,"stream_options":"x"`, "", false, false}, {`"stream":true,"stream_options":{"continuous_usage_stats":true}`, "", false, false}, {`"stream":true,"Stream_Options":{"include_usage":true}`, "", false, false},
}

// Whoever asked before, however he spelt it, and whatever the host made of that:
// who asks for JSON gets JSON, who asks for a stream gets one, with its usage in
// an event of its own if he asks for that, from the cache as live.
func TestCache_TheFormAskedForIsGiven(t *testing.T) {
	streamed := func(req *http.Request) string {
		if callOf(req.Context()).format() == store.Stream {
			return goodEvent + finishEvent + doneEvent
		}
		return goodEvent + endEvent + usageEvent + doneEvent
	}
	for _, live := range []bool{false, true} {
		for i, first := range asking {
			for _, came := range []string{asJSON, asStream} {
				for j, second := range asking {
					if !second.clear {
						continue
					}
					t.Run(fmt.Sprintf("live=%v/%d %s %s comes as %s/%d %s", live, i, first.members, first.accept, came, j, second.members), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							asked := 0
							base := newHosts(func(req *http.Request) (*http.Response, error) {
								asked++
								events := asked == 1 && came == asStream || asked > 1 && second.stream
								if live {
									elapse(time.Second)
								}
								if events {
									return answer(200, asStream, streamed(req)), nil
								}
								return answer(200, asJSON, goodJSON), nil
							})
							rt := over(t, base, WithCache(CachePolicy{}))
							one := calls(t, rt, asksSo(first.members), with("Accept", first.accept))
							two := calls(t, rt, asksSo(second.members), with("Accept", second.accept))
							elapse(time.Minute)
							synctest.Wait()
							if one.ended != io.EOF || two.ended != io.EOF || two.err != nil {
								t.Fatalf("got %v and %v, %v, want two answers", one.ended, two.ended, two.err)
							}
							text, kind := two.read.String(), two.resp.Header.Get("Content-Type")
							if isJSON := json.Valid([]byte(text)) && kind == asJSON; isJSON == second.stream {
								t.Errorf("the second got %s of type %s", text, kind)
							}
							usages := strings.Count(text, `"choices":[],"usage"`)
							if second.stream && (kind != asStream || !strings.Contains(text, "hi") || !strings.HasSuffix(text, doneEvent) || usages > 0 && !strings.Contains(second.members, `:{"include_usage":true}`)) {
								t.Errorf("the second got %s of type %s", text, kind)
							}
							if !first.clear && base.Count("") != 2 {
								t.Errorf("%d attempts, want 2: what the first asked for is anybody's guess", base.Count(""))
							}
						})
					})
				}
			}
		}
	}
}

// asksSo is a question whose body has those members beside.
func asksSo(members string) string {
	if members != "" {
		members += ","
	}
	return "{" + members + chatJSON[1:]
}

// What is spelt in a way that may mean anything is kept as it came, for who
// spells it so.
func TestCache_FormsThatAreUnclear(t *testing.T) {
	for _, ask := range asking {
		if ask.clear {
			continue
		}
		for _, came := range []struct{ contentType, text string }{{asJSON, goodJSON}, {asStream, wholeStream}} {
			base := newHosts(gives(200, came.contentType, came.text))
			rt := over(t, base, WithCache(CachePolicy{}))
			for range 2 {
				if got := asks(t.Context(), rt, asksSo(ask.members), with("Accept", ask.accept)); got.body != came.text || got.header("Content-Type") != came.contentType {
					t.Errorf("%s, %s: got %v of type %s, want it as it came", ask.members, ask.accept, got, got.header("Content-Type"))
				}
			}
			if n := base.Count(""); n != 1 {
				t.Errorf("%s, %s: %d attempts, want 1", ask.members, ask.accept, n)
			}
		}
	}
}

// A host that answers in the other form than was asked for does not have the
// next caller get it so, on any wire; vectors are JSON whatever is asked.
func TestCache_TheHostsFormIsNotTheCallers(t *testing.T) {
	for _, op := range []request.Operation{request.Chat, request.Completions, request.Responses, request.Messages, request.Embeddings} {
		for _, stream := range []bool{false, true} {
			kinds := map[bool]string{false: asJSON, true: asStream}
			texts := map[bool]string{}
			for form := range kinds {
				resp, _ := wellOn(op, form)()
				text, _ := io.ReadAll(resp.Body)
				texts[form] = strings.Replace(string(text), `"finish_reason":"stop"}]}`+"\n", `"finish_reason":"stop"}],"usage":{"total_tokens":3}}`+"\n", 1)
				texts[form] = strings.Replace(texts[form], `"output":[]`, `"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"hi"}]}]`, 1)
				if op == request.Completions {
					texts[form] = strings.NewReplacer(`"delta":{"content":"hi"}`, `"text":"hi"`, `"delta":{}`, `"text":""`, `"message":{"role":"assistant","content":"hi"}`, `"text":"hi"`).Replace(texts[form])
				}
			}
			if op == request.Embeddings {
				kinds[true], texts[false] = asJSON, `{"object":"list","data":[{"index":0,"embedding":[0.1]}],"usage":{"total_tokens":3}}`
				texts[true] = texts[false]
			}
			base := newHosts(gives(200, kinds[!stream], texts[!stream]))
			rt := over(t, base, WithCache(CachePolicy{}))
			ask := func() seen {
				return asks(t.Context(), rt, fmt.Sprintf(`{"model":"m","stream":%v,"input":"a"}`, stream), func(req *http.Request) { req.URL.Path = "/v1" + string(op) })
			}
			if got := ask(); got.err != nil || rt.Status().Cache.Entries != 1 {
				t.Errorf("%s: got %v, %d kept: nothing is tested", op, got, rt.Status().Cache.Entries)
			}
			base.Set("", gives(200, kinds[stream], texts[stream]))
			got := ask()
			if isJSON := json.Valid([]byte(got.body)); got.err != nil || isJSON != (kinds[stream] == asJSON) || got.header("Content-Type") != kinds[stream] {
				t.Errorf("%s, stream %v: got %v of type %s", op, stream, got, got.header("Content-Type"))
			}
			if op == request.Embeddings && base.Count("") != 1 {
				t.Errorf("%s, stream %v: %d attempts, want a hit", op, stream, base.Count(""))
			}
		}
	}
}

// What stands in for a failure may lack its usage; what it can be made of at
// all, it is made of.
func TestCache_StaleInTheOtherForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asStream, wholeStream))
		rt := over(t, base, WithCache(CachePolicy{TTL: time.Minute}), WithRetry(RetryPolicy{Attempts: 1}))
		asks(t.Context(), rt, chatStream)
		base.Set("", refusing)
		if got := asks(t.Context(), rt, chatJSON); !strings.Contains(got.body, `"content":"hi"`) || !strings.Contains(got.header("Cache-Status"), "stale-if-error") {
			t.Errorf("got %v, want the answer kept from a stream", got)
		}
	})
}

// No answer crosses scopes: random calls by random callers, each answered with
// who asked what; equal only if operation, scope and all that is meant are.
func TestCache_NoAnswerCrossesScopes(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 1))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	// The base knows what a call means from headers of the test's own.
	base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		text := strings.ReplaceAll(goodJSON, `"hi"`, fmt.Sprintf("%q", req.Header.Get("X-Request-Id")))
		if req.Header.Get("X-Correlation-Id") != "" {
			return answer(200, asStream, event(strings.Trim(fmt.Sprintf("%q", req.Header.Get("X-Request-Id")), `"`))+finishEvent+doneEvent), nil
		}
		return answer(200, asJSON, text), nil
	})
	scopes := 0
	rt := over(t, base, WithCache(CachePolicy{MaxEntries: 100, Scope: func(req *http.Request) string {
		scopes++
		return req.Header.Get("X-Client-Request-Id")
	}}))
	byKey := over(t, base, WithCache(CachePolicy{MaxEntries: 100}))
	hits, crossed := 0, 0
	calls := ifFull(20_000, 5000)
	for range calls {
		members := []string{
			`"model":` + pick(`"m"`, `"M"`, `"m "`), `"messages":[{"role":"user","content":` + pick(`"q"`, `"Q"`, `"\u0071"`, `"q\""`) + `}]`,
		}
		meaning := members[0] + members[1]
		if random.IntN(3) == 0 {
			m := pick(`"temperature":0`, `"temperature":0.0`, `"temperature":null`, `"top_p":0`, `"unknown":[1,2]`, `"unknown":[2,1]`, `"unknown":{"a":1}`)
			members, meaning = append(members, m), meaning+m
		}
		if random.IntN(5) == 0 { // a name twice: the order decides
			m := pick(`"seed":1,"seed":2`, `"seed":2,"seed":1`, `"seed":1,"Seed":2`)
			members, meaning = append(members, m), meaning+m
		} else {
			random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		}
		stream := random.IntN(2) == 0
		if stream {
			members = slices.Insert(members, random.IntN(len(members)+1), `"stream":true`)
		}
		body := pick("{", " {\n") + strings.Join(members, pick(",", " ,\t")) + "}"
		key, tenant, path := pick("Bearer k1", "Bearer k2", ""), pick("t1", "t2", ""), pick("/chat/completions", "/v1/chat/completions", "/responses")
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+pick("a", "b")+path, strings.NewReader(body))
		req.Header.Set("Content-Type", asJSON)
		if key != "" {
			req.Header.Set("Authorization", key)
		}
		req.Header.Set("X-Client-Request-Id", tenant)
		used, who := byKey, "key "+key
		if random.IntN(2) == 0 {
			used, who = rt, "tenant "+tenant
			if random.IntN(4) == 0 {
				named := pick("t1", "named")
				req = req.WithContext(WithCall(t.Context(), Call{Scope: named}))
				who = "tenant " + named
			} else if tenant == "" {
				who = fmt.Sprint("nobody's, call ", random.Uint64())
			}
		}
		if path == "/responses" {
			continue // another wire: its operation is told apart in TestKeysDiffer
		}
		want := fmt.Sprintf("%s asks %s %s: %x", who, req.URL.Host, path, meaning)
		req.Header.Set("X-Request-Id", want)
		if stream {
			req.Header.Set("X-Correlation-Id", "1")
		}
		resp, err := used.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(text), fmt.Sprintf("%q", want)) {
			crossed++
			if crossed < 5 {
				t.Errorf("%s\nof %s\ngot %s, %v", body, want, text, err)
			}
		}
		if strings.Contains(resp.Header.Get("Cache-Status"), "hit") {
			hits++
		}
	}
	if hits < calls/10 || scopes == 0 {
		t.Errorf("%d hits: little was tested", hits)
	}
}

// What an answer says of itself is heeded: RFC 9111, sections 3 and 5.2.2.
func TestCache_AnswersThatAreNotToBeKept(t *testing.T) {
	team := func(*http.Request) string { return "team" }
	for _, tt := range []struct {
		name    string
		lines   []string
		private bool // kept for its own credential
		shared  bool // kept for a scope that has several
	}{
		{"nothing", nil, true, true},
		{"no-store", []string{"no-store"}, false, false},
		{"no-store in capitals", []string{"No-STORE"}, false, false},
		{"no-store among others", []string{"no-cache, no-store,max-age=0"}, false, false},
		{"no-store in another line", []string{"max-age=60", "must-revalidate , no-store"}, false, false},
		{"no-store with blanks and tabs", []string{" ,\t no-store \t, "}, false, false},
		{"no-store with an argument", []string{`no-store="x"`}, false, false},
		{"no-store behind a quoted comma", []string{`ext="a, b", no-store`}, false, false},
		{"no-store behind a quoted quote", []string{`ext="a\", b", no-store`}, false, false},
		{"no-store behind a quote without an end", []string{`ext="a, no-store`}, false, false},
		{"no-store within quotes", []string{`ext="a, no-store, b"`}, true, true},
		{"another name", []string{"no-storefront, xno-store, x=no-store"}, true, true},
		{"private", []string{"private"}, true, false},
		{"private in capitals", []string{"max-age=0", "PRIVATE"}, true, false},
		{"private headers", []string{`private="X-Mine, x-yours"`}, true, true},
		{"what browsers and SSE have by habit", []string{"no-cache, must-revalidate, max-age=0, proxy-revalidate"}, true, true},
		{"public", []string{"public, s-maxage=0"}, true, true},
	} {
		for _, form := range []struct{ ask, contentType, text string }{{chatJSON, asJSON, goodJSON}, {chatStream, asStream, wholeStream}} {
			for _, scoped := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/scoped=%v", tt.name, form.contentType, scoped), func(t *testing.T) {
					policy, kept := CachePolicy{Store: &memoryStore{}}, tt.private
					if scoped {
						policy.Scope, kept = team, tt.shared
					}
					base := newHosts(fakehost.Adding(gives(200, form.contentType, form.text), "Cache-Control", tt.lines...))
					rt := over(t, base, WithCache(policy))
					for range 2 {
						if got := asks(t.Context(), rt, form.ask); got.body != form.text || got.err != nil {
							t.Fatalf("got %v, want the answer", got)
						}
					}
					rt.Close()
					if got := base.Count("") == 1; got != kept {
						t.Errorf("the second was a hit: %v, want %v", got, kept)
					}
					if got := len(policy.Store.(*memoryStore).all) == 1; got != kept || got != (rt.Status().Cache.Entries == 1) {
						t.Errorf("the Store has it: %v, want %v; %d in memory", got, kept, rt.Status().Cache.Entries)
					}
				})
			}
		}
	}
}

// Of the headers of an answer, those go no further than to its caller that are
// named as his.
func TestCache_HeadersThatAreNotToBeKept(t *testing.T) {
	for _, control := range []string{`private="X-Mine, x-yours"`, `no-cache="x-mine", private="X-YOURS"`, `private=X-Mine, private="X-Yours"`} {
		rt := over(t, newHosts(gives(200, asJSON, goodJSON, "Cache-Control", control, "X-Mine", "1", "X-Yours", "2", "X-Request-Id", "3", "Connection", "close, x-hop", "X-Hop", "4")),
			WithCache(CachePolicy{Scope: func(*http.Request) string { return "team" }}))
		if got := asks(t.Context(), rt, chatJSON); got.header("X-Mine") != "1" || got.header("X-Yours") != "2" {
			t.Errorf("%s: the first caller's header is %v, want all of it", control, got.resp.Header)
		}
		got := asks(t.Context(), rt, chatJSON)
		if !strings.Contains(got.header("Cache-Status"), "hit") || got.header("X-Mine")+got.header("X-Yours")+got.header("X-Hop") != "" || got.header("X-Request-Id") != "3" {
			t.Errorf("%s: a hit's header is %v, want X-Request-Id alone of those", control, got.resp.Header)
		}
	}
}

// Of what speaks of who asked first, whatever gateways call it, a hit in a scope
// by name shows nothing, be it kept by this process or, before, by an older
// version; a credential of its own goes on seeing it.
func TestCache_HeadersOfTheFirstCaller(t *testing.T) {
	own := []string{
		"X-User-Id", "X-Team-Id", "X-Workspace-Id", "X-Subscription-Id", "X-Api-Key-Id", "X-Key-Name", "Authorization", "X-Api-Key", "X-Litellm-Key-Alias",
		"X-Litellm-Response-Cost", "X-Session-Id", "X-Usage-Remaining", "X-Caller-Ip", "Location", "Link", "Etag", "X-Yet-Unknown",
	}
	header := []string{"X-Request-Id", "7", "Content-Language", "en"}
	for _, name := range own {
		header = append(header, name, "alice")
	}
	for _, scope := range []string{"team", ""} {
		for _, older := range []bool{false, true} {
			t.Run(fmt.Sprintf("%q/older=%v", scope, older), func(t *testing.T) {
				kept := &memoryStore{}
				policy := CachePolicy{Store: kept}
				bob := func(*http.Request) {}
				if scope != "" {
					policy.Scope = func(*http.Request) string { return scope }
					bob = with("Authorization", "Bearer sk-bob")
				}
				rt := over(t, newHosts(gives(200, asJSON, goodJSON, header...)), WithCache(policy), WithEndpoints(at("a")...))
				asks(t.Context(), rt, chatJSON)
				if older {
					rt.Close()
					for key, stored := range kept.all {
						e, err := store.Decode(key, stored, time.Now())
						if err != nil {
							t.Fatal(err)
						}
						for i := 0; i < len(header); i += 2 {
							e.Header.Set(header[i], header[i+1])
						}
						kept.all[key] = e.Encode(key)
					}
					rt = over(t, newHosts(refusing), WithCache(policy), WithEndpoints(at("a")...))
				}
				got := asks(t.Context(), rt, chatJSON, bob)
				if !strings.Contains(got.header("Cache-Status"), "hit") || got.header("X-Request-Id") != "7" || got.header("Content-Language") != "en" || got.header(headerEndpoint) != "a" {
					t.Fatalf("got %v, header %v, want a hit that names its endpoint and the request's id", got, got.resp.Header)
				}
				for _, name := range own {
					if shown := got.header(name) != ""; shown != (scope == "") {
						t.Errorf("%s is shown: %v", name, shown)
					}
				}
			})
		}
	}
}

// An application that knows better than its host takes the directive out.
func TestCache_MiddlewareMayTakeNoStoreOut(t *testing.T) {
	base := newHosts(gives(200, asJSON, goodJSON, "Cache-Control", "no-store"))
	rt := over(t, base, WithCache(CachePolicy{}), WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper {
		return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(req)
			if resp != nil {
				resp.Header.Del("Cache-Control")
			}
			return resp, err
		})
	}))
	for range 2 {
		asks(t.Context(), rt, chatJSON)
	}
	if n := base.Count(""); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

// What another process keeps against its answer's word, an older version of
// this one say, is not given.
func TestCache_StoredAgainstTheAnswersWord(t *testing.T) {
	for _, control := range []string{"no-store", "private"} {
		kept := &memoryStore{}
		policy := CachePolicy{Store: kept, Scope: func(*http.Request) string { return "team" }}
		keeps := over(t, newHosts(gives(200, asJSON, goodJSON)), WithCache(policy))
		asks(t.Context(), keeps, chatJSON)
		keeps.Close()
		for key, stored := range kept.all {
			e, err := store.Decode(key, stored, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			e.Header.Set("Cache-Control", control)
			kept.all[key] = e.Encode(key)
		}
		base := newHosts(gives(200, asJSON, goodJSON))
		if got := asks(t.Context(), over(t, base, WithCache(policy)), chatJSON); base.Count("") != 1 || strings.Contains(got.header("Cache-Status"), "hit") {
			t.Errorf("%s: got %v, want the host's", control, got)
		}
	}
}

// A stream that is gone on from by a host that says no-store is not kept.
func TestCache_RescuedBehindNoStore(t *testing.T) {
	for _, control := range []string{"", "no-store"} {
		base := newHosts(nil)
		base.Set("a", breaks(asStream, goodEvent))
		base.Set("b", gives(200, asStream, goodEvent+endEvent+doneEvent, "Cache-Control", control))
		rt := over(t, base, WithCache(CachePolicy{}), WithEndpoints(at("a")...), WithBackup(at("b")...), WithStream(StreamPolicy{Rescue: RescueRestart}))
		if got := asks(t.Context(), rt, chatStream); got.err != nil || base.Count("b") != 1 {
			t.Fatalf("got %v, %d attempts at the backup, want a rescue", got, base.Count("b"))
		}
		if kept := rt.Status().Cache.Entries == 1; kept != (control == "") {
			t.Errorf("with %q kept: %v", control, kept)
		}
	}
}

func TestCache_Deterministic(t *testing.T) {
	for _, tt := range []struct {
		temperature string
		kept        bool
	}{
		{``, false}, {`,"temperature":0`, true}, {`,"temperature":0.0`, true}, {`,"temperature":-0`, true}, {`,"temperature":0.1`, false},
		{`,"temperature":1`, false}, {`,"temperature":null`, false}, {`,"temperature":"0"`, false}, {`,"temperature":false`, false},
	} {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithCache(CachePolicy{Deterministic: true}))
		var got seen
		for range 2 {
			got = asks(t.Context(), rt, `{"model":"m"`+tt.temperature+`}`)
		}
		if kept := base.Count("") == 1; kept != tt.kept {
			t.Errorf("with %q kept = %v, want %v", tt.temperature, kept, tt.kept)
		}
		if bypass := got.header("Cache-Status") == "breakwater; fwd=bypass"; bypass == tt.kept {
			t.Errorf("with %q Cache-Status = %q", tt.temperature, got.header("Cache-Status"))
		}
	}
}

// A memoryStore is a Store; get and set, if given, are asked in its place.
type memoryStore struct {
	mu   sync.Mutex
	all  map[string][]byte
	keep time.Duration // of the latest entry
	gets int
	get  func(ctx context.Context, key string) ([]byte, error)
	set  func(ctx context.Context, key string, entry []byte) error
}

func (s *memoryStore) Get(ctx context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	s.gets++
	get, entry := s.get, s.all[key]
	s.mu.Unlock()
	if get != nil {
		return get(ctx, key)
	}
	return entry, nil
}

func (s *memoryStore) Set(ctx context.Context, key string, entry []byte, keep time.Duration) error {
	s.mu.Lock()
	set := s.set
	if s.all == nil {
		s.all = make(map[string][]byte)
	}
	if s.keep = keep; set == nil {
		s.all[key] = bytes.Clone(entry)
	}
	s.mu.Unlock()
	if set != nil {
		return set(ctx, key, entry)
	}
	return nil
}

// What one Transport kept in the Store, another answers with.
func TestCache_StoreIsShared(t *testing.T) {
	for _, tt := range []struct{ name, ask, contentType, text string }{
		{"json", chatJSON, asJSON, goodJSON}, {"stream", chatStream, asStream, wholeStream},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &memoryStore{}
				policy := CachePolicy{TTL: 2 * time.Minute, StaleIfError: 3 * time.Minute, Store: store}
				one := over(t, newHosts(gives(200, tt.contentType, tt.text)), WithCache(policy))
				asks(t.Context(), one, tt.ask)
				one.Close()
				if store.keep != 5*time.Minute {
					t.Errorf("kept for %v, want TTL and StaleIfError together", store.keep)
				}
				for key := range store.all {
					if len(key) != 64 || strings.Trim(key, "0123456789abcdef") != "" {
						t.Errorf("key %q is no digest", key)
					}
				}
				elapse(time.Minute)
				base := newHosts(refusing)
				other := over(t, base, WithCache(policy), WithRetry(RetryPolicy{Attempts: 1}))
				for range 2 {
					got := asks(t.Context(), other, tt.ask)
					if got.body != tt.text || got.header("Age") != "60" || got.header("Content-Type") != tt.contentType || base.Count("") != 0 {
						t.Errorf("from the Store: %v, %d attempts, want the answer kept a minute ago", got, base.Count(""))
					}
				}
				if store.gets != 2 {
					t.Errorf("the Store was asked %d times, want 2: once by each Transport", store.gets)
				}
				if got := asks(t.Context(), other, tt.ask, with("Authorization", "Bearer sk-other")); got.body == tt.text {
					t.Error("another caller got the answer")
				}
				elapse(time.Minute)
				if got := asks(t.Context(), other, tt.ask); got.body != tt.text || !strings.Contains(got.header("Cache-Status"), "stale-if-error") {
					t.Errorf("past its TTL, all down: %v, want the stale answer", got)
				}
			})
		})
	}
}

// What another process has kept since is better than what is here.
func TestCache_StoreMayHaveANewerAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := CachePolicy{TTL: time.Minute, Store: &memoryStore{}}
		one := over(t, newHosts(gives(200, asJSON, goodJSON)), WithCache(policy))
		other := over(t, newHosts(gives(200, asJSON, strings.Replace(goodJSON, "hi", "newer", 1))), WithCache(policy))
		asks(t.Context(), one, chatJSON)
		elapse(90 * time.Second)
		asks(t.Context(), other, chatJSON, with("Cache-Control", "no-cache"))
		synctest.Wait()
		if got := asks(t.Context(), one, chatJSON); !strings.Contains(got.body, "newer") || got.header("Cache-Status") != "breakwater; hit; ttl=60" {
			t.Errorf("got %v, want what the other has kept", got)
		}
	})
}

// What a Store returns is checked: an entry that is not whole is a miss and an
// event, never an answer. TestEntry_Codec knows more lies.
func TestCache_StoreLies(t *testing.T) {
	kept := &memoryStore{}
	keeps := over(t, newHosts(gives(200, asJSON, goodJSON)), WithCache(CachePolicy{Store: kept}))
	asks(t.Context(), keeps, chatJSON)
	keeps.Close()
	whole := slices.Collect(maps.Values(kept.all))[0]
	other := strings.Replace(goodJSON, "hi", "from the host", 1)
	for _, lie := range [][]byte{{}, []byte("hello"), whole[:len(whole)-1], append(bytes.Clone(whole), 0)} {
		var failed int
		told := WithObserver(func(_ context.Context, e Event) {
			if e.Kind == KindCacheError && e.Err != nil {
				failed++
			}
		})
		lies := &memoryStore{get: func(context.Context, string) ([]byte, error) { return lie, nil }}
		base := newHosts(gives(200, asJSON, other))
		got := asks(t.Context(), over(t, base, told, WithCache(CachePolicy{Store: lies})), chatJSON)
		if got.body != other || base.Count("") != 1 || failed != 1 {
			t.Errorf("%q: %v, %d attempts, %d events of the cache's errors, want the host's answer and one event", lie, got, base.Count(""), failed)
		}
	}
}

// An error or a delay of the Store costs an event, never the call. TestGuard_StoreFails
// knows more of them.
func TestCache_StoreFails(t *testing.T) {
	broken := errors.New("broken")
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, tt := range []struct {
		name string
		get  func(context.Context, string) ([]byte, error)
		set  func(context.Context, string, []byte) error
		want time.Duration // the call takes
		told int           // events
	}{
		{"errors", func(context.Context, string) ([]byte, error) { return nil, broken }, func(context.Context, string, []byte) error { return broken }, 0, 2},
		{"hangs", func(ctx context.Context, _ string) ([]byte, error) { return nil, hang(ctx) }, func(ctx context.Context, _ string, _ []byte) error { return hang(ctx) }, 250 * time.Millisecond, 1}, // it rests then
	} {
		for _, ask := range []string{chatJSON, chatStream} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, len(ask)), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					contentType, text := asJSON, goodJSON
					if ask == chatStream {
						contentType, text = asStream, wholeStream
					}
					var failed atomic.Int32
					rt := over(t, newHosts(gives(200, contentType, text)), WithCache(CachePolicy{Store: &memoryStore{get: tt.get, set: tt.set}}),
						WithObserver(func(_ context.Context, e Event) {
							if e.Kind == KindCacheError {
								failed.Add(1)
							}
						}))
					start := time.Now()
					if got := asks(t.Context(), rt, ask); got.body != text || got.err != nil {
						t.Errorf("the call gave %v, want the host's answer", got)
					}
					if d := time.Since(start); d != tt.want {
						t.Errorf("the call took %v, want %v", d, tt.want)
					}
					synctest.Wait()
					if n := failed.Load(); int(n) != tt.told {
						t.Errorf("%d events of the cache's errors, want %d", n, tt.told)
					}
					start = time.Now()
					if got := asks(t.Context(), rt, ask); got.body != text || time.Since(start) != 0 {
						t.Errorf("from memory: %v after %v, want the answer at once", got, time.Since(start))
					}
					elapse(2 * time.Minute) // until the last of them has come back
				})
			})
		}
	}
}

// A Store that answers in 5 ms bears a burst of 300: it is asked once for each question, no
// question goes to the host that it can answer, and it gets every new answer.
func TestCache_StoreUnderABurst(t *testing.T) {
	for name, ask := range map[string]string{"JSON": chatJSON, "stream": chatStream} {
		for _, questions := range []int{300, 1} {
			bubble(t, fmt.Sprint(name, "/", questions), func(t *testing.T) {
				body := func(n int) string { return strings.Replace(ask, `"m"`, fmt.Sprintf(`"m%d"`, n%questions), 1) }
				kept := &memoryStore{}
				host := func(req *http.Request) (*http.Response, error) {
					if callOf(req.Context()).params.Stream {
						return answer(200, asStream, wholeStream), nil
					}
					return answer(200, asJSON, goodJSON), nil
				}
				burst := func(base *fakehost.Base) *Transport {
					rt := over(t, base, WithCache(CachePolicy{Store: kept}))
					var callers sync.WaitGroup
					for n := range 300 {
						callers.Go(func() {
							start := time.Now()
							if got := asks(t.Context(), rt, body(n)); !strings.Contains(got.body, "hi") || time.Since(start) > 250*time.Millisecond {
								t.Errorf("got %v after %v", got, time.Since(start))
							}
						})
					}
					callers.Wait()
					elapse(time.Second)
					synctest.Wait()
					return rt
				}
				var mu sync.Mutex
				held := map[string][]byte{}
				kept.get = func(_ context.Context, key string) ([]byte, error) {
					elapse(5 * time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					return held[key], nil
				}
				kept.set = func(_ context.Context, key string, entry []byte) error {
					elapse(5 * time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					held[key] = bytes.Clone(entry)
					return nil
				}
				base := newHosts(host)
				burst(base)
				if base.Count("") != questions || kept.gets != questions || len(held) != questions {
					t.Errorf("%d questions: %d to the host, %d to the Store, %d are kept there", questions, base.Count(""), kept.gets, len(held))
				}
				other := newHosts(host)
				rt := burst(other)
				if other.Count("") != 0 || kept.gets != 2*questions {
					t.Errorf("%d questions that are kept: %d to the host, %d to the Store", questions, other.Count(""), kept.gets-questions)
				}
				if s := rt.Status().Cache; s.Hits != 300 {
					t.Errorf("%d hits, want 300", s.Hits)
				}
			})
		}
	}
}

// Who leaves with its answer does not take it from the others.
func TestCache_StoreOutlivesTheCaller(t *testing.T) {
	store := &memoryStore{}
	var late error
	store.set = func(ctx context.Context, _ string, _ []byte) error { late = ctx.Err(); return nil }
	ctx, cancel := context.WithCancel(t.Context())
	rt := over(t, newHosts(func(*http.Request) (*http.Response, error) { cancel(); return answer(200, asJSON, goodJSON), nil }),
		WithCache(CachePolicy{Store: store}))
	asks(ctx, rt, chatJSON)
	rt.Close()
	if store.keep == 0 || late != nil {
		t.Errorf("the Store was told to keep for %v in a context with %v", store.keep, late)
	}
}

// Many callers at once: no race, and the bounds hold.
func TestCache_UnderLoad(t *testing.T) {
	rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithCache(CachePolicy{MaxEntries: 10, MaxBytes: 20_000, Store: &memoryStore{}}))
	var callers sync.WaitGroup
	for n := range 8 {
		callers.Go(func() {
			for i := range 200 {
				if got := asks(t.Context(), rt, question((i*7+n)%25)); got.body != goodJSON {
					t.Errorf("a call gave %v", got)
				}
			}
		})
	}
	callers.Wait()
	s := rt.Status().Cache
	if s.Entries == 0 || s.Entries > 10 || s.Bytes > 20_000 || s.Hits+s.Misses+s.Shared != 1600 {
		t.Errorf("Status().Cache = %+v, want up to 10 entries of 20,000 bytes together, and 1600 calls", s)
	}
}

// A call that wants a kept answer only is over without one, its body closed,
// though that was too large to be read.
func TestCache_OnlyIfCachedClosesTheBody(t *testing.T) {
	rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithCache(CachePolicy{}), WithRetry(RetryPolicy{MaxReplay: 10}))
	req, tracked := post(t.Context(), "https://a", chatJSON)
	req.Header.Set("Cache-Control", "only-if-cached")
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := tracked.Closed(); resp.StatusCode != 504 || n != 1 {
		t.Errorf("status %d, the body closed %d times, want 504 and once", resp.StatusCode, n)
	}
}

// Who may share an answer is told from all that says who a caller is.
func TestCache_TellsCallersApart(t *testing.T) {
	for _, edit := range []func(*http.Request, string){
		func(req *http.Request, who string) {
			req.Header["authorization"] = []string{who}
			req.Header.Del("Authorization")
		},
		func(req *http.Request, who string) { req.Header.Set("Cookie", who) },
		func(req *http.Request, who string) { req.Header.Set("OpenAI-Organization", who) },
		func(req *http.Request, who string) { req.Header.Set("Anthropic-Beta", who) },
		func(req *http.Request, who string) {
			*req = *req.WithContext(WithCall(req.Context(), Call{Endpoint: who}))
		},
	} {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithEndpoints(at("a", "b")...), WithCache(CachePolicy{}))
		for _, who := range []string{"a", "b"} {
			asks(t.Context(), rt, chatJSON, func(req *http.Request) { edit(req, who) })
		}
		if n := base.Count(""); n != 2 {
			t.Errorf("two callers made %d requests, want 2: the second got the first one's answer", n)
		}
	}
}

// A renewal asks in the name of who asked, and keeps what comes for that one.
func TestCache_RenewalsAreOfTheRequestAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reused := make(chan struct{})
		rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			return answer(200, asJSON, strings.Replace(goodJSON, "hi", "for "+req.Header.Get("Authorization"), 1)), nil
		}), WithCache(CachePolicy{TTL: time.Second, StaleWhileRevalidate: time.Hour}), WithObserver(func(_ context.Context, e Event) {
			if e.Kind == KindCacheRenew {
				<-reused
			}
		}))
		asks(t.Context(), rt, chatJSON, with("Authorization", "A"))
		elapse(2 * time.Second)
		req, _ := post(t.Context(), "https://a", chatJSON)
		req.Header.Set("Authorization", "A")
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		req.Header.Set("Authorization", "B")
		req.URL.Path = "/v1/models"
		close(reused)
		synctest.Wait()
		got := asks(t.Context(), rt, chatJSON, with("Authorization", "A"))
		if !strings.Contains(got.body, "for A") || !strings.Contains(got.header("Cache-Status"), "hit") || got.header("Age") != "0" {
			t.Errorf("A got %v, want what was said to A anew", got)
		}
	})
}

// Questions with the same fingerprint, as whoever knows the algorithm can make them, get
// their own answers, in their own scope.
func TestCache_FingerprintsTellNothing(t *testing.T) {
	long := func(middle string) string {
		return `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("x", 300) + middle + strings.Repeat("x", 300) + `"}]}`
	}
	scope, prints := key.OfName("tenant"), make(map[uint64]bool)
	for _, middle := range []string{"a", "b"} {
		prints[scope.Fingerprint(nil, []byte(long(middle)))] = true
	}
	if len(prints) != 1 {
		t.Fatalf("the questions have %d fingerprints, want one: nothing is tested", len(prints))
	}
	base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(req.Body)
		req.Body.Close()
		asked, _, _ := strings.Cut(strings.TrimLeft(strings.SplitN(string(body), `"content":"`, 2)[1], "x"), "x")
		return answer(200, asJSON, strings.Replace(goodJSON, `"hi"`, `"to `+asked+" of "+req.Header.Get("Authorization")+`"`, 1)), nil
	})
	rt := over(t, base, WithCache(CachePolicy{}))
	for range 4 {
		for _, caller := range []string{"Bearer 1", "Bearer 2"} {
			for _, middle := range []string{"a", "b"} {
				got := asks(t.Context(), rt, long(middle), with("Authorization", caller))
				if !strings.Contains(got.body, `"to `+middle+" of "+caller+`"`) {
					t.Fatalf("%s asked %s and got %s", caller, middle, got.body)
				}
			}
		}
	}
	if s := rt.Status().Cache; s.Misses != 4 || s.Hits != 12 {
		t.Errorf("%d misses and %d hits, want 4 and 12", s.Misses, s.Hits)
	}
}

// The wordings that are kept are a part of the cache's bytes, and leave with their answers.
func TestCache_WordingsAreBounded(t *testing.T) {
	const maxBytes = 400_000
	base := newHosts(gives(200, asJSON, goodJSON))
	rt := over(t, base, WithCache(CachePolicy{MaxBytes: maxBytes}))
	ask := func(n int) {
		asks(t.Context(), rt, strings.Replace(question(n), `"content":"`, `"content":"`+strings.Repeat("x", 10_000), 1))
	}
	for n := range 5 {
		ask(n)
	}
	before := rt.Status().Cache.Bytes
	for range 3 {
		for n := range 5 {
			ask(n)
		}
	}
	if after := rt.Status().Cache.Bytes; after < before+50_000 || after > before+60_000 {
		t.Errorf("five wordings of 10 KB take %d bytes", after-before)
	}
	for n := range 500 {
		ask(n)
		ask(n)
		if s := rt.Status().Cache; s.Bytes > maxBytes {
			t.Fatalf("the cache holds %d bytes, want at most %d", s.Bytes, maxBytes)
		}
	}
	if s := rt.Status().Cache; s.Entries < 100 {
		t.Errorf("%d answers are kept: wordings have taken their place", s.Entries)
	}
}
