package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// asTenant returns a context for a tenant's calls of a priority.
func asTenant(ctx context.Context, tenant string, p Priority) context.Context {
	return WithCall(ctx, Call{Tenant: tenant, Priority: p})
}

// Batch work yields to people: behind 200 calls of batch, a call of a person waits for the next
// permit and no longer, at any endpoint and on every wire, although nobody can say when the
// others will be served. All of the batch is served.
func TestTenants_BatchYields(t *testing.T) {
	const permits, service = 4, 10 * time.Second
	for form, f := range whereForms {
		for _, tenant := range []string{"", "of its own"} {
			bubble(t, form+"/"+tenant, func(t *testing.T) {
				rt := over(t, newHosts(fakehost.After(service, gives(200, f.contentType, f.good))), append(premises(), WithRateLimit(RatePolicy{InFlight: permits, MaxWait: time.Hour}))...)
				ask := func(ctx context.Context) seen {
					return asksOf(only(ctx, "rack"), rt, "rack", f.body, toPath(f.path))
				}
				var batch sync.WaitGroup
				for range 200 {
					batch.Go(func() {
						if got := ask(asTenant(t.Context(), tenant, PriorityBatch)); got.status() != 200 {
							t.Errorf("a call of the batch has %v", got)
						}
					})
				}
				for range 3 {
					time.Sleep(service / 4 * 9)
					began := time.Now()
					if got := ask(asTenant(t.Context(), tenant, PriorityInteractive)); got.status() != 200 || time.Since(began) > 2*service {
						t.Errorf("a person has %v after %v, want an answer after one permit and one answer", got, time.Since(began))
					}
				}
				batch.Wait()
				if left := stillHeld(rt); left != "" {
					t.Errorf("%s left", left)
				}
			})
		}
	}
}

// Of tenants that wait, the one that has used less has its turn first.
func TestTenants_WhoUsedLessGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, newHosts(fakehost.After(time.Second, gives(200, asJSON, goodJSON))), WithEndpoints(at("rack")...), WithRateLimit(RatePolicy{InFlight: 2, MaxWait: time.Hour}))
		var all sync.WaitGroup
		var mu sync.Mutex
		var order []string
		ask := func(ctx context.Context, name string) {
			all.Go(func() {
				if got := asksOf(ctx, rt, "rack", chatJSON); got.status() != 200 {
					t.Errorf("%s has %v", name, got)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			})
			time.Sleep(time.Nanosecond)
		}
		for range 50 {
			ask(asTenant(t.Context(), strings.Repeat("greedy", 1000), 0), "greedy")
		}
		for range 4 {
			ask(asTenant(t.Context(), "modest", 0), "modest")
		}
		all.Wait()
		last := 0
		for i, name := range order {
			if name == "modest" {
				last = i
			}
		}
		if last > 12 {
			t.Errorf("the last of four modest calls is number %d: %v", last, order)
		}
	})
}

// Inner options add to outer ones.
func TestTenants_OptionsNest(t *testing.T) {
	ctx := WithCall(t.Context(), Call{Tenant: "outer", Priority: PriorityBatch})
	for _, tt := range []struct {
		inner Call
		want  string
	}{
		{Call{}, "outer -1"},
		{Call{Tenant: "inner"}, "inner -1"},
		{Call{Priority: PriorityInteractive}, "outer 1"},
		{Call{Priority: PriorityDefault}, "outer -1"}, // zero changes nothing
	} {
		if c := CallOf(WithCall(ctx, tt.inner)); fmt.Sprint(c.Tenant, " ", c.Priority) != tt.want {
			t.Errorf("%+v: %s %d, want %s", tt.inner, c.Tenant, c.Priority, tt.want)
		}
	}
}

// A call that is more urgent than the one with the same content that is under way does not
// wait behind the batch with it, and the answer is everybody's.
func TestTenants_UrgentCallsDoNotShareAWait(t *testing.T) {
	for _, tt := range []struct {
		leads, follows Priority
		within         time.Duration // for the second
	}{
		{PriorityBatch, PriorityInteractive, 20 * time.Second},
		{PriorityBatch, PriorityBatch, 2 * time.Minute},
		{PriorityInteractive, PriorityBatch, 20 * time.Second},
	} {
		bubble(t, fmt.Sprint(tt.leads, tt.follows), func(t *testing.T) {
			base := newHosts(fakehost.After(10*time.Second, gives(200, asJSON, goodJSON)))
			rt := over(t, base, WithEndpoints(at("rack")...), WithCache(CachePolicy{}), WithRateLimit(RatePolicy{InFlight: 1, MaxWait: time.Hour}))
			var all sync.WaitGroup
			ask := func(p Priority, body string) {
				if got := asksOf(asTenant(t.Context(), "", p), rt, "rack", body); got.status() != 200 {
					t.Errorf("got %v", got)
				}
			}
			for i := range 10 {
				all.Go(func() { ask(PriorityBatch, fmt.Sprintf(`{"model":"m","n":%d}`, i+1)) })
			}
			time.Sleep(time.Second)
			all.Go(func() { ask(tt.leads, chatJSON) })
			time.Sleep(time.Second)
			began := time.Now()
			ask(tt.follows, chatJSON)
			if took := time.Since(began); took > tt.within {
				t.Errorf("it took %v, want at most %v", took, tt.within)
			}
			all.Wait()
			if n := base.Count("rack"); n != 11 {
				t.Errorf("the host was asked %d times, want 11: once for each content", n)
			}
		})
	}
}

// A refusal by a tenant's limit is what SDKs understand, on every wire: 429 with a code, the
// limit and a Retry-After, as a response or as an error. Nothing is sent, and no text has the
// name.
func TestTenants_Refusals(t *testing.T) {
	for form, f := range whereForms {
		for more, opts := range map[string][]Option{"": nil, "cached": {WithCache(CachePolicy{})}, "errors": {WithErrors()}} {
			bubble(t, form+"/"+more, func(t *testing.T) {
				base := newHosts(fakehost.After(time.Second, gives(200, f.contentType, f.good)))
				var mu sync.Mutex
				var events []Event
				observer := func(ctx context.Context, e Event) {
					mu.Lock()
					defer mu.Unlock()
					if CallOf(ctx).Tenant != "aurora" {
						t.Errorf("an observer of %v finds the tenant %q", e.Kind, CallOf(ctx).Tenant)
					}
					events = append(events, e)
				}
				rt := over(t, base, append(opts, WithEndpoints(at("rack")...), WithObserver(observer), WithRetry(RetryPolicy{MaxReplay: 1000}), WithTenants(TenantPolicy{
					Of:      func(req *http.Request) (string, Priority) { return req.Header.Get("X-Tenant"), PriorityBatch },
					Default: TenantLimits{InFlight: 1},
				}))...)
				ask := func() (*http.Response, error) {
					req, _ := post(t.Context(), "https://rack", f.body)
					req.URL.Path = f.path
					req.Header.Set("X-Tenant", "aurora")
					if form == "an encoded chat" {
						req.Header.Set("Content-Encoding", "zstd")
					}
					if strings.Contains(more, "cached") { // another content, so that they do not share
						*req = *req.WithContext(WithCall(req.Context(), Call{NoShare: true}))
					}
					return rt.RoundTrip(req)
				}
				var first sync.WaitGroup
				first.Go(func() {
					resp, err := ask()
					if err != nil || resp.StatusCode != 200 {
						t.Errorf("the first has %v, %v", resp, err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				})
				time.Sleep(time.Second / 2)
				resp, err := ask()
				if more == "errors" {
					if resp != nil {
						t.Fatalf("got %v, want an error", resp)
					}
				} else if err != nil {
					t.Fatal(err)
				} else {
					text, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					if resp.StatusCode != 429 || resp.Header.Get(headerError) != "tenant_limited" || resp.Header.Get(headerOutcome) != "limited" || resp.Header.Get(headerRetry) != "false" ||
						!strings.Contains(string(text), "1 of 1 in flight") || strings.Contains(string(text), "aurora") {
						t.Errorf("got %d, %v, %s", resp.StatusCode, resp.Header, text)
					}
					err = ErrorOf(resp)
				}
				failure, ok := errors.AsType[*Error](err)
				limit, isLimit := errors.AsType[*LimitError](err)
				if !ok || failure.Class != ClassLimited || !isLimit || limit.Tenant != "aurora" || limit.Account != "" || limit.Limit != "in flight" || limit.InUse != 1 || limit.Max != 1 ||
					!errors.Is(err, ErrRateLimited) || strings.Contains(err.Error()+limit.Error(), "aurora") {
					t.Errorf("the error is %v, with %+v", err, limit)
				}
				first.Wait()
				if n := base.Count("rack"); n != 1 {
					t.Errorf("the host was asked %d times, want once", n)
				}
				if s := rt.Status().Tenants; len(s) != 1 || s[0].Name != "aurora" || s[0].Calls != 1 || s[0].Refused != 1 || s[0].InFlight != 0 {
					t.Errorf("status: %+v", s)
				}
				for _, e := range events {
					if text := fmt.Sprintf("%+v", e); strings.Contains(text, "aurora") && !isLimit {
						t.Errorf("an event has the name: %s", text)
					}
				}
			})
		}
	}
}

// What counts for a tenant, and what does not.
func TestTenants_WhatCounts(t *testing.T) {
	answers := gives(200, asJSON, `{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}}`)
	ask := func(ctx context.Context, rt http.RoundTripper, tenant, body string) seen {
		return asksOf(asTenant(ctx, tenant, 0), rt, "rack", body)
	}
	for name, tt := range map[string]struct {
		opts []Option
		do   func(*testing.T, *Transport, *fakehost.Base)
		want string // calls and tokens, by tenant
	}{
		"a call": {nil, func(t *testing.T, rt *Transport, _ *fakehost.Base) { ask(t.Context(), rt, "a", chatJSON) }, "a 1 110"},
		"kept answers count nothing": {[]Option{WithCache(CachePolicy{})}, func(t *testing.T, rt *Transport, _ *fakehost.Base) {
			for range 3 {
				ask(t.Context(), rt, "a", chatJSON)
				ask(t.Context(), rt, "b", chatJSON)
			}
		}, "a 1 110"},
		"shared answers count for whose call made the attempt": {[]Option{WithCache(CachePolicy{})}, func(t *testing.T, rt *Transport, _ *fakehost.Base) {
			var all sync.WaitGroup
			for _, tenant := range []string{"a", "b", "c"} {
				all.Go(func() { ask(t.Context(), rt, tenant, chatJSON) })
				time.Sleep(time.Millisecond)
			}
			all.Wait()
		}, "a 1 110"},
		"retries are no calls, and refusals no tokens": {nil, func(t *testing.T, rt *Transport, base *fakehost.Base) {
			base.Set("rack", func(req *http.Request) (*http.Response, error) {
				if base.Count("rack") < 3 {
					return failing503(req)
				}
				return answers(req)
			})
			ask(t.Context(), rt, "a", chatJSON)
		}, "a 1 110"},
		"failures are calls": {nil, func(t *testing.T, rt *Transport, base *fakehost.Base) {
			base.Set("rack", failing503)
			ask(t.Context(), rt, "a", chatJSON)
		}, "a 1 0"},
		"renewals count for nobody": {[]Option{WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Hour})}, func(t *testing.T, rt *Transport, base *fakehost.Base) {
			ask(t.Context(), rt, "a", chatJSON)
			time.Sleep(2 * time.Minute)
			ask(t.Context(), rt, "a", chatJSON)
			time.Sleep(time.Minute)
			if n := base.Count("rack"); n != 2 {
				t.Errorf("the host was asked %d times, want a renewal", n)
			}
		}, "a 1 110"},
		"safe requests count for nobody": {nil, func(t *testing.T, rt *Transport, _ *fakehost.Base) {
			req, _ := http.NewRequestWithContext(asTenant(t.Context(), "a", 0), "GET", "https://rack/models", nil)
			if resp, err := rt.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}, ""},
		"a hedge is a part of its call": {[]Option{WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true}), WithBackup(at("tower")...)}, func(t *testing.T, rt *Transport, base *fakehost.Base) {
			base.Set("rack", hanging)
			if got := ask(t.Context(), rt, "a", chatJSON); got.status() != 200 || base.Count("tower") != 1 {
				t.Errorf("got %v", got)
			}
			if s := rt.Status().Tenants[0]; s.InFlight != 0 {
				t.Errorf("%+v", s)
			}
		}, "a 1 126"}, // of the loser, the prompt is estimated
	} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(fakehost.After(time.Second, answers))
			rt := over(t, base, append(tt.opts, WithEndpoints(at("rack")...), WithTenants(TenantPolicy{Default: TenantLimits{InFlight: 1, TokensPerDay: 1000}}))...)
			tt.do(t, rt, base)
			synctest.Wait()
			got := ""
			for _, s := range rt.Status().Tenants {
				if s.Calls > 0 || s.InFlight > 0 || s.Tokens > 0 {
					got += fmt.Sprint(" ", s.Name, " ", s.Calls, " ", s.Tokens)
				}
			}
			if got = strings.TrimSpace(got); got != tt.want {
				t.Errorf("it counts as %q, want %q", got, tt.want)
			}
		})
	}
}

// A kept answer is there for who is over the limits, fresh or, while that is allowed, stale.
func TestTenants_KeptAnswersAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithEndpoints(at("rack")...), WithCache(CachePolicy{TTL: time.Minute, StaleIfError: time.Hour}), WithTenants(TenantPolicy{Default: TenantLimits{RequestsPerMinute: 1}}))
		ask := func(body string) seen { return asksOf(asTenant(t.Context(), "a", 0), rt, "rack", body) }
		other := `{"model":"m","n":2}`
		for _, tt := range []struct {
			after  time.Duration
			body   string
			status int
		}{{0, chatJSON, 200}, {0, chatJSON, 200}, {0, other, 429}, {2 * time.Minute, other, 200}, {0, chatJSON, 200}, {0, `{"model":"m","n":3}`, 429}} {
			time.Sleep(tt.after)
			if got := ask(tt.body); got.status() != tt.status {
				t.Errorf("%s: %v, want %d", tt.body, got, tt.status)
			}
		}
		if n := base.Count("rack"); n != 2 {
			t.Errorf("the host was asked %d times, want twice", n)
		}
	})
}

// One who shares an attempt with a tenant that is over its limits is not refused for that.
func TestTenants_RefusalsAreNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(fakehost.After(time.Second, gives(200, asJSON, goodJSON)))
		rt := over(t, base, WithEndpoints(at("rack")...), WithCache(CachePolicy{}), WithTenants(TenantPolicy{
			Default: TenantLimits{InFlight: 1, MaxWait: 2 * time.Second}, Limits: map[string]TenantLimits{"b": {InFlight: 5}},
		}))
		var all sync.WaitGroup
		ask := func(tenant, body string, want int) {
			all.Go(func() {
				if got := asksOf(asTenant(t.Context(), tenant, 0), rt, "rack", body); got.status() != want {
					t.Errorf("%s has %v, want %d", tenant, got, want)
				}
			})
			time.Sleep(time.Millisecond)
		}
		ask("a", `{"model":"m","n":7}`, 200)
		ask("a", `{"model":"m","n":8}`, 200)
		ask("a", `{"model":"m","n":9}`, 200)
		ask("a", chatJSON, 429) // it waits, and leads
		ask("b", chatJSON, 200) // it shares the wait
		all.Wait()
	})
}

// User code may panic, and name whatever it likes: nothing is left held.
func TestTenants_OfMayPanic(t *testing.T) {
	for form, f := range whereForms {
		bubble(t, form, func(t *testing.T) {
			panics := true
			rt := over(t, newHosts(gives(200, f.contentType, f.good)), WithEndpoints(at("rack")...), WithRetry(RetryPolicy{MaxReplay: 1000}), WithTenants(TenantPolicy{
				Of: func(*http.Request) (string, Priority) {
					if panics {
						panic("of")
					}
					return strings.Repeat("\n\x00é", 1<<16), 100
				},
				Default: TenantLimits{InFlight: 1},
			}))
			closed := 0
			body := closeCounter{strings.NewReader(f.body), &closed}
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				req, _ := http.NewRequest("POST", "https://rack"+f.path, body)
				req.ContentLength = int64(len(f.body))
				rt.RoundTrip(req)
			}()
			if closed != 1 {
				t.Errorf("the body was closed %d times", closed)
			}
			panics = false
			for range 2 {
				if got := asksOf(t.Context(), rt, "rack", f.body, toPath(f.path)); got.status() != 200 {
					t.Errorf("then: %v", got)
				}
			}
			if s := rt.Status().Tenants; len(s) != 1 || len(s[0].Name) > 128 || s[0].Calls != 2 {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

// What tenants have used and hold outlives Update, also one without tenants in between.
func TestTenants_OutliveUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPiped()
		opts := func(more ...Option) []Option {
			return append([]Option{WithBase(base), WithEndpoints(at("a")...)}, more...)
		}
		one := WithTenants(TenantPolicy{Default: TenantLimits{InFlight: 1}})
		rt, err := New(opts(one)...)
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close()
		h := base.hold(t, rt)
		for name, tt := range map[string]struct {
			opts []Option
			full bool
		}{
			"the same": {opts(one), true}, "other endpoints": {[]Option{WithBase(base), WithEndpoints(at("a", "b")...), one}, true},
			"more": {opts(WithTenants(TenantPolicy{Default: TenantLimits{InFlight: 2}})), false}, "none": {opts(), false}, "again": {opts(one), true},
		} {
			if err := rt.Update(tt.opts...); err != nil {
				t.Fatal(err)
			}
			if tt.full {
				if got := asks(t.Context(), rt, chatStream); got.status() != 429 || got.header(headerError) != "tenant_limited" {
					t.Errorf("%s: %v, want a refusal", name, got)
				}
			}
		}
		if err := rt.Update(opts(one)...); err != nil {
			t.Fatal(err)
		}
		h.leave()
		synctest.Wait()
		if s := rt.Status().Tenants; len(s) != 1 || s[0].InFlight != 0 || s[0].Calls != 1 {
			t.Errorf("status: %+v", s)
		}
	})
}
