package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// A thousand calls for the same at once, half of them for a stream: one
// attempt, and a thousand right answers.
func TestSharing_ThousandCallsShareOneAttempt(t *testing.T) {
	for _, first := range []string{chatStream, chatJSON} {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(func(*http.Request) (*http.Response, error) {
				elapse(time.Second)
				if first == chatJSON {
					return answer(200, asJSON, goodJSON), nil
				}
				return answerFrom(200, asStream, io.MultiReader(strings.NewReader(event("h")), fakehost.ReaderFunc(func([]byte) (int, error) { elapse(time.Second); return 0, io.EOF }),
					strings.NewReader(event("i")+finishEvent+doneEvent))), nil
			})
			rt := over(t, base, WithCache(CachePolicy{}), WithEndpoints(deepSeekAt("a")))
			var callers sync.WaitGroup
			var wrong atomic.Int32
			calls(t, rt, first)
			for i := range 999 {
				ask, want := chatJSON, `"content":"hi"`
				if i%2 == 0 {
					ask, want = chatStream, doneEvent
				}
				callers.Go(func() {
					got := asks(t.Context(), rt, ask)
					text := got.body
					if ask == chatStream {
						text = strings.ReplaceAll(text, `"}}]}`+"\n\n"+`data: {"choices":[{"index":0,"delta":{"content":"`, "")
					}
					if got.err != nil || got.status() != 200 || !strings.Contains(text, want) || !strings.Contains(text, "hi") {
						if wrong.Add(1) < 3 {
							t.Errorf("%s got %v", ask, got)
						}
					}
				})
			}
			callers.Wait()
			s := rt.Status().Cache
			if n := base.Count(""); n != 1 || wrong.Load() > 0 || s.Shared != 999 || s.Misses != 1 || s.Stores != 1 {
				t.Errorf("%d attempts, %d wrong answers, %+v, want one attempt, shared by 999", n, wrong.Load(), s)
			}
		})
	}
}

// Who comes late gets what has come so far at once, and then follows live.
func TestSharing_LateJoinersFollowLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, opened := fakehost.Faucets("")
		rt := over(t, base, WithCache(CachePolicy{}))
		leader := calls(t, rt, chatStream)
		f := <-opened
		f.Send(event("1"))
		f.Send(event("2"))
		synctest.Wait()
		late := calls(t, rt, `{"messages":[{"role":"user","content":"q"}], "stream":true, "model":"m"}`)
		if got := late.read.String(); got != event("1")+event("2") {
			t.Errorf("a late joiner has %q, want what has come so far", got)
		}
		if got := late.resp.Header.Get("Cache-Status"); got != "breakwater; fwd=uri-miss; collapsed" {
			t.Errorf("its Cache-Status is %q", got)
		}
		f.Send(event("3"))
		synctest.Wait()
		if late.read.String() != leader.read.String() || !strings.HasSuffix(late.read.String(), event("3")) {
			t.Errorf("the leader has %q, the late joiner %q", leader.read.String(), late.read.String())
		}
		f.Send(finishEvent)
		f.Send(doneEvent)
		synctest.Wait()
		after := asks(t.Context(), rt, chatStream)
		if !strings.Contains(after.header("Cache-Status"), "hit") || after.body != leader.read.String() {
			t.Errorf("behind the terminator another got %v", after)
		}
		f.End()
		synctest.Wait()
		for name, c := range map[string]*caller{"leader": leader, "late joiner": late} {
			if c.ended != io.EOF || !strings.HasSuffix(c.read.String(), doneEvent) {
				t.Errorf("the %s ended in %v behind %q", name, c.ended, c.read.String())
			}
		}
		if len(TrailOf(leader.resp)) != 1 || len(TrailOf(late.resp)) != 0 || base.Count("") != 1 {
			t.Errorf("trails of %d and %d attempts, %d were made", len(TrailOf(leader.resp)), len(TrailOf(late.resp)), base.Count(""))
		}
	})
}

// The leader's cancel hurts nobody else.
func TestSharing_LeaderLeaves(t *testing.T) {
	for name, before := range map[string]bool{"before the answer": true, "within the answer": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base, opened := fakehost.Faucets("")
				rt := over(t, base, WithCache(CachePolicy{}), WithRateLimit(RatePolicy{InFlight: 1}))
				leader := calls(t, rt, chatStream)
				other := calls(t, rt, chatStream)
				f := <-opened
				if !before {
					f.Send(event("1"))
					synctest.Wait()
				}
				leader.cancel()
				synctest.Wait()
				if !leader.done || !errors.Is(errors.Join(leader.err, leader.ended), context.Canceled) {
					t.Errorf("the leader is done: %v, in %v, %v", leader.done, leader.err, leader.ended)
				}
				if before {
					f.Send(event("1"))
				}
				f.Send(finishEvent)
				f.Send(doneEvent)
				f.End()
				synctest.Wait()
				if got := other.read.String(); got != event("1")+finishEvent+doneEvent || other.ended != io.EOF {
					t.Errorf("the other has %q, %v", got, other.ended)
				}
				if s := rt.Status(); s.Cache.Entries != 1 || s.Endpoints[0].Limits[0].InFlight != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// The last one leaving cancels, however it leaves.
func TestSharing_LastOneLeavingCancels(t *testing.T) {
	leave := map[string]func(*caller){"cancel": func(c *caller) { c.cancel() }, "close": func(c *caller) { c.resp.Body.Close() }}
	for name, end := range leave {
		for _, when := range []string{"queued", "answering"} {
			if name == "close" && when == "queued" {
				continue // there is nothing to close
			}
			t.Run(name+"/"+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					base, opened := fakehost.Faucets("")
					rt := over(t, base, WithCache(CachePolicy{}), WithRateLimit(RatePolicy{InFlight: 1}))
					one, two := calls(t, rt, chatStream), calls(t, rt, chatStream)
					f := <-opened
					if when == "answering" {
						f.Send(event("1"))
						synctest.Wait()
					}
					end(one)
					synctest.Wait()
					if f.Context().Err() != nil || f.Closed() || !one.done {
						t.Fatalf("with one left: context %v, closed %v, done %v", f.Context().Err(), f.Closed(), one.done)
					}
					end(two)
					synctest.Wait()
					if f.Context().Err() == nil || !two.done || when == "answering" && !f.Closed() {
						t.Errorf("with none left: context %v, closed %v, done %v", f.Context().Err(), f.Closed(), two.done)
					}
					s := rt.Status()
					if left := stillHeld(rt); left != "" || s.Cache.Entries != 0 {
						t.Errorf("left behind: %s, %d entries", left, s.Cache.Entries)
					}
					// Nobody joins what has been given up.
					third := calls(t, rt, chatStream)
					if len(opened) != 1 {
						t.Errorf("%d new attempts for another caller", len(opened))
					}
					third.cancel()
				})
			})
		}
	}
}

// The deadline of what is shared is the latest of its callers'.
func TestSharing_DeadlinesOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, opened := fakehost.Faucets("")
		rt := over(t, base, WithCache(CachePolicy{}))
		within := func(d time.Duration) func(*http.Request) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return func(req *http.Request) { *req = *req.WithContext(ctx) }
		}
		short := calls(t, rt, chatStream, within(time.Second))
		long := calls(t, rt, chatStream, within(time.Minute))
		f := <-opened
		elapse(2 * time.Second)
		synctest.Wait()
		if !errors.Is(short.err, context.DeadlineExceeded) || f.Context().Err() != nil {
			t.Errorf("past its deadline one got %v; the attempt: %v", short.err, f.Context().Err())
		}
		elapse(time.Minute)
		synctest.Wait()
		if !errors.Is(long.err, context.DeadlineExceeded) || f.Context().Err() == nil || base.Count("") != 2 { // it has asked anew, too
			t.Errorf("past its deadline the other got %v; the attempt: %v, of %d", long.err, f.Context().Err(), base.Count(""))
		}
	})
}

// A leader with little time does not bind who has more, where a limit lets the call wait.
func TestSharing_DeadlinesAtLimits(t *testing.T) {
	within := func(d time.Duration) func(*http.Request) {
		return func(req *http.Request) {
			ctx, cancel := context.WithTimeout(req.Context(), d)
			context.AfterFunc(ctx, cancel)
			*req = *req.WithContext(ctx)
		}
	}
	for name, limit := range map[string]RatePolicy{
		"permits":        {InFlight: 1, MaxWait: 2 * time.Minute},
		"bucket":         {PerSecond: 0.1, Burst: 1, MaxWait: 2 * time.Minute},
		"both":           {PerSecond: 0.05, Burst: 1, InFlight: 1, MaxWait: 2 * time.Minute},
		"a short queue":  {InFlight: 1, MaxWait: 25 * time.Second},
		"adaptive":       {InFlight: 1, Adaptive: true, MaxWait: 2 * time.Minute},
		"tokens, a wait": {TokensPerMinute: 60, MaxWait: 2 * time.Minute},
	} {
		for form, ask := range map[string]string{"JSON": chatJSON, "stream": chatStream} {
			bubble(t, name+"/"+form, func(t *testing.T) {
				rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
					elapse(10 * time.Second)
					if callOf(req.Context()).params.Stream {
						return answer(200, asStream, wholeStream), nil
					}
					return answer(200, asJSON, goodJSON), nil
				}), WithCache(CachePolicy{}), WithRateLimit(limit))
				calls(t, rt, question(1)) // takes what there is
				leader := calls(t, rt, ask, within(3*time.Second))
				elapse(500 * time.Millisecond)
				synctest.Wait()
				follower := calls(t, rt, ask, within(90*time.Second))
				calls(t, rt, question(2))
				elapse(3 * time.Minute)
				synctest.Wait()
				if leader.err == nil && leader.resp.StatusCode == 200 {
					t.Errorf("the leader got %v", leader.resp)
				}
				if follower.err != nil || follower.resp.StatusCode != 200 {
					t.Errorf("the follower got %v, %v", follower.resp, follower.err)
				}
			})
		}
	}
}

// Who wants to is alone.
func TestSharing_Declined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, opened := fakehost.Faucets("")
		rt := over(t, base, WithCache(CachePolicy{}))
		alone := func(req *http.Request) { *req = *req.WithContext(WithCall(req.Context(), Call{NoShare: true})) }
		for _, edit := range []func(*http.Request){alone, alone, with("Cache-Control", "no-cache, no-transform"), func(*http.Request) {}, with("Cache-Control", "no-store"), func(*http.Request) {}} {
			calls(t, rt, chatStream, edit)
		}
		if n := len(opened); n != 5 {
			t.Errorf("%d attempts by six callers, two of whom may share, want 5", n)
		}
		for range len(opened) {
			f := <-opened
			f.Send(event("1") + finishEvent + doneEvent)
			f.End()
		}
		synctest.Wait()
	})
}

// What was said to one credential is not another's, though they share a scope:
// an error, that is. It is asked again for those who got none, once for each credential.
func TestSharing_ErrorOfOnesOwnIsNotShared(t *testing.T) {
	refused := func(req *http.Request) (*http.Response, error) {
		elapse(time.Second)
		if req.Header.Get("Authorization") == "Bearer sk-good" {
			return answer(200, asJSON, goodJSON), nil
		}
		return answer(401, asJSON, `{"error":{"message":"no"}}`), nil
	}
	for _, tt := range []struct {
		name     string
		base     handler
		keys     []string
		statuses []int
		asked    int
		opts     []Option
	}{
		{"a rejected key", refused, []string{"sk-bad", "sk-good", "sk-good"}, []int{401, 200, 200}, 2, nil},
		{"a rejected key, the same", refused, []string{"sk-bad", "sk-bad"}, []int{401, 401}, 1, nil},
		{"a refusal, the same caller", func(*http.Request) (*http.Response, error) {
			elapse(time.Second)
			return answer(400, asJSON, `{"error":{"message":"no"}}`), nil
		}, []string{"k", "k", "k"}, []int{400, 400, 400}, 1, nil},
		{"an outage", func(*http.Request) (*http.Response, error) { elapse(time.Second); return nil, errors.New("refused") },
			[]string{"k", "k", "k"}, []int{503, 503, 503}, 1, []Option{WithRetry(RetryPolicy{Attempts: 1})}},
		{"an outage as an error", func(*http.Request) (*http.Response, error) { elapse(time.Second); return nil, errors.New("refused") },
			[]string{"k", "k", "k"}, []int{0, 0, 0}, 1, []Option{WithRetry(RetryPolicy{Attempts: 1}), WithErrors()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(tt.base)
				rt := over(t, base, append(tt.opts, WithCache(CachePolicy{Scope: func(*http.Request) string { return "team" }}))...)
				var callers []*caller
				for _, key := range tt.keys {
					callers = append(callers, calls(t, rt, chatJSON, with("Authorization", "Bearer "+key)))
				}
				elapse(time.Minute)
				synctest.Wait()
				for i, c := range callers {
					status := 0
					if c.resp != nil {
						status = c.resp.StatusCode
					}
					var failure *Error
					if status == 503 && ErrorOf(c.resp) == nil || status == 0 && !errors.As(c.err, &failure) {
						t.Errorf("caller %d got %v, %v, without what is behind it", i+1, c.resp, c.err)
					}
					if status != tt.statuses[i] {
						t.Errorf("caller %d got %d, %v, want %d", i+1, status, c.err, tt.statuses[i])
					}
				}
				if n := base.Count(""); n != tt.asked {
					t.Errorf("%d attempts, want %d", n, tt.asked)
				}
			})
		})
	}
}

// Who wants JSON shares a stream only where it says what it took; where the
// stream breaks, or is no answer that JSON could be made of, it asks by itself.
func TestSharing_JSONOfASharedStream(t *testing.T) {
	for _, tt := range []struct {
		name   string
		first  string // the leader's body
		events []string
		other  int // attempts for JSON
		opts   []Option
	}{
		{"whose usage is told", chatStream, []string{event("hi"), finishEvent, doneEvent}, 0, []Option{WithEndpoints(deepSeekAt("a"))}},
		{"whose usage was asked for", `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"q"}]}`,
			[]string{event("hi"), endEvent, usageEvent, doneEvent}, 0, nil},
		{"whose usage may never be told", chatStream, []string{event("hi"), finishEvent, doneEvent}, 1, nil},
		{"whose usage was not told", chatStream, []string{event("hi"), endEvent, doneEvent}, 1, []Option{WithEndpoints(deepSeekAt("a"))}},
		{"that breaks", chatStream, []string{event("hi")}, 1, []Option{WithEndpoints(deepSeekAt("a")), WithStream(StreamPolicy{Rescue: RescueOff})}},
		{"that is malformed", chatStream, []string{event("hi"), "data: {\n\n"}, 1, []Option{WithEndpoints(deepSeekAt("a")), WithStream(StreamPolicy{Rescue: RescueOff})}},
		{"that grows too large to be shared", chatStream, slices.Repeat([]string{event(strings.Repeat("x", 300_000))}, 10), 1, []Option{WithEndpoints(deepSeekAt("a")), WithStream(StreamPolicy{Rescue: RescueOff})}},
		{"that says nothing", chatStream, []string{"data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n"}, 1, []Option{WithEndpoints(deepSeekAt("a")), once}},
		{"that is a failure", chatStream, []string{"data: {\"error\":{\"message\":\"busy\",\"code\":500}}\n\n"}, 1, []Option{WithEndpoints(deepSeekAt("a")), once}},
		{"that is a terminator alone", chatStream, []string{doneEvent}, 1, []Option{WithEndpoints(deepSeekAt("a")), once}},
		{"that says its usage alone", chatStream, []string{usageEvent, doneEvent}, 1, []Option{WithEndpoints(deepSeekAt("a")), once}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opened := make(chan *fakehost.Faucet, 10)
				jsons := 0
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					resp := answer(200, asJSON, goodJSON)
					if len(opened) == 0 && jsons == 0 {
						f := fakehost.NewFaucet(req, "")
						opened <- f
						return f.Answer(), nil
					}
					jsons++
					return resp, nil
				})
				rt := over(t, base, append(tt.opts, WithCache(CachePolicy{}))...)
				leader := calls(t, rt, tt.first)
				json := calls(t, rt, chatJSON)
				f := <-opened
				opened <- nil
				for _, ev := range tt.events {
					f.Send(ev)
				}
				f.End()
				synctest.Wait()
				if json.err != nil || json.ended != io.EOF || !strings.Contains(json.read.String(), `"content":"hi"`) || !strings.Contains(json.read.String(), `"total_tokens":3`) ||
					json.resp.Header.Get("Content-Type") != asJSON {
					t.Errorf("JSON: %v, %q, %v", json.err, json.read.String(), json.ended)
				}
				if jsons != tt.other {
					t.Errorf("%d attempts for JSON, want %d", jsons, tt.other)
				}
				if !leader.done {
					t.Error("the leader is still waiting")
				}
			})
		})
	}
}

// Of an Observer or a base that panics, the leader hears; the others ask anew.
func TestSharing_PanicIsTheLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		base := newHosts(func(*http.Request) (*http.Response, error) {
			elapse(time.Second)
			if asked++; asked == 1 {
				panic("the base's")
			}
			return answer(200, asJSON, goodJSON), nil
		})
		rt := over(t, base, WithCache(CachePolicy{}))
		var panicked any
		go func() {
			defer func() { panicked = recover() }()
			asks(t.Context(), rt, chatJSON)
		}()
		synctest.Wait()
		other := calls(t, rt, chatJSON)
		elapse(time.Minute)
		synctest.Wait()
		if panicked != "the base's" || other.read.String() != goodJSON {
			t.Errorf("the leader's panic: %v; the other got %q, %v", panicked, other.read.String(), other.err)
		}
	})
}

// Behind the terminator the connection is let go of, though the caller, like
// several SDKs, neither reads on nor closes; whether the answer is kept or not.
func TestSharing_NobodyClosesASharedStream(t *testing.T) {
	end := finishEvent + doneEvent
	for _, tt := range []struct {
		name, text string
		limit      int64
	}{
		{"that is kept", event("1") + end, 0},
		{"that its length cut", event("1") + strings.Replace(end, `"stop"`, `"length"`, 1), 0},
		{"larger than an entry", event("1") + event(strings.Repeat("x", 2000)) + end, 1000},
		{"larger than what is shared", strings.Repeat(event(strings.Repeat("x", 2000)), 100) + end, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base, opened := fakehost.Faucets("")
				rt := over(t, base, WithCache(CachePolicy{MaxEntryBytes: tt.limit}))
				req, _ := post(t.Context(), "https://a", chatStream)
				go func() {
					f := <-opened
					f.Send(tt.text)
					opened <- f
				}()
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				io.ReadFull(resp.Body, make([]byte, len(tt.text)))
				elapse(time.Second)
				if f := <-opened; !f.Closed() {
					t.Error("the body is still open a second behind the terminator")
				}
			})
		})
	}
}

// What a host tells one caller by its headers is not another's, and who has no
// kept answer to fall back on does not share the patience of those who have.
func TestSharing_WhatSharersDoNotShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, noBreaker, WithCache(CachePolicy{TTL: time.Minute, Scope: func(*http.Request) string { return "team" }}))
		asks(t.Context(), rt, chatJSON)
		elapse(2 * time.Minute)
		var asked atomic.Int32
		base.Set("", func(req *http.Request) (*http.Response, error) {
			n := asked.Add(1)
			elapse(time.Second)
			if n > 4 {
				return answer(200, asJSON, goodJSON), nil
			}
			return gives(503, asJSON, "{}")(req)
		})
		spared := calls(t, rt, chatJSON)
		strict := calls(t, rt, chatJSON, with("Cache-Control", "stale-if-error=0"))
		elapse(time.Minute)
		synctest.Wait()
		if spared.read.String() != goodJSON || strict.read.String() != goodJSON || strict.resp.Header.Get("Age") != "" {
			t.Errorf("one got %q, %v; the other %q, %v", spared.read.String(), spared.err, strict.read.String(), strict.err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(func(req *http.Request) (*http.Response, error) {
			elapse(time.Second)
			return gives(200, asJSON, goodJSON, "Set-Cookie", "session=1", "X-Request-Id", "7")(req)
		})
		rt := over(t, base, WithCache(CachePolicy{Scope: func(*http.Request) string { return "team" }}))
		leader := calls(t, rt, chatJSON)
		follower := calls(t, rt, chatJSON, with("Authorization", "Bearer sk-other"))
		elapse(time.Minute)
		synctest.Wait()
		if leader.resp.Header.Get("Set-Cookie") == "" || follower.resp.Header.Get("Set-Cookie") != "" || follower.resp.Header.Get("X-Request-Id") != "7" || base.Count("") != 1 {
			t.Errorf("the leader's header is %v, the follower's %v", leader.resp.Header, follower.resp.Header)
		}
	})
}

// A follower sees of the answer's headers what a hit would show, whatever it is
// given of: nothing that speaks of the leader's account, or of the way.
func TestSharing_FollowersSeeWhatAHitShows(t *testing.T) {
	own := []string{
		"Set-Cookie", "session=1", "X-Ratelimit-Remaining-Requests", "7", "Ratelimit-Limit", "8", "Anthropic-Ratelimit-Tokens-Reset", "9", "X-Rate-Limit-Reset", "10",
		"Openai-Organization", "org-1", "Openai-Project", "proj-1", "Anthropic-Organization-Id", "org-2", "Openai-Processing-Ms", "3",
		"X-Should-Retry", "false", "Retry-After", "5", "Retry-After-Ms", "5000", "Www-Authenticate", "Bearer", "Authentication-Info", "x", "Proxy-Authenticate", "x",
		"X-Litellm-Key-Spend", "0.1", "X-Quota-Remaining", "3", "X-Credits-Remaining", "4", "X-Account-Balance", "5",
		"Keep-Alive", "timeout=5", "Connection", "close, x-hop", "X-Hop", "1", "Trailer", "X-Trailer", "Age", "7", "Content-Length", "100",
		"X-User-Id", "u-1", "X-Litellm-Key-Alias", "alice", "X-Anything", "else",
	}
	shown := []string{"X-Request-Id", "7", "X-Ds-Trace-Id", "8"}
	team := CachePolicy{Scope: func(*http.Request) string { return "team" }}
	for _, tt := range []struct{ name, leads, contentType, text, follows string }{
		{"JSON", chatJSON, asJSON, goodJSON, chatJSON},
		{"a stream", chatStream, asStream, event("hi") + finishEvent + doneEvent, chatStream},
		{"JSON of a stream", chatStream, asStream, event("hi") + finishEvent + doneEvent, chatJSON},
		{"a stream of JSON", chatJSON, asJSON, goodJSON, chatStream},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					elapse(time.Second)
					resp, err := gives(200, tt.contentType, tt.text, append(slices.Clone(own), shown...)...)(req)
					resp.Trailer = http.Header{"X-Trailer": {"org-1"}}
					return resp, err
				})
				rt := over(t, base, WithCache(team), WithEndpoints(deepSeekAt("a")))
				leader := calls(t, rt, tt.leads)
				follower := calls(t, rt, tt.follows, with("Authorization", "Bearer sk-other"))
				elapse(time.Minute)
				synctest.Wait()
				hit := calls(t, rt, tt.follows, with("Authorization", "Bearer sk-third"))
				if base.Count("") != 1 || follower.ended != io.EOF || hit.read.String() != follower.read.String() {
					t.Fatalf("%d attempts; the follower read %q, %v, a hit %q", base.Count(""), follower.read.String(), follower.ended, hit.read.String())
				}
				got, want := follower.resp.Header.Clone(), hit.resp.Header.Clone()
				for _, name := range []string{"Age", "Cache-Status", headerOutcome} { // of the hit itself
					got.Del(name)
					want.Del(name)
				}
				if !maps.EqualFunc(got, want, slices.Equal) || len(follower.resp.Trailer) > 0 {
					t.Errorf("the follower's header is %v, trailer %v, want that of a hit, %v", got, follower.resp.Trailer, want)
				}
				for i := 0; i < len(own); i += 2 {
					if v, ok := got[own[i]]; ok {
						t.Errorf("the follower sees %s: %v", own[i], v)
					}
					if own[i] != "Content-Length" && own[i] != "Age" && leader.resp.Header.Get(own[i]) != own[i+1] {
						t.Errorf("the leader's %s is %q, want %q", own[i], leader.resp.Header.Get(own[i]), own[i+1])
					}
				}
				for i := 0; i < len(shown); i += 2 {
					if got.Get(shown[i]) != shown[i+1] {
						t.Errorf("the follower's %s is %q, want %q", shown[i], got.Get(shown[i]), shown[i+1])
					}
				}
			})
		})
	}
}

// An answer that is not to be stored is not to be used for another call either
// (RFC 9111, section 5.2.2.5); one that is private is its credential's.
func TestSharing_AnswersThatAreNotToBeShared(t *testing.T) {
	for _, tt := range []struct {
		control string
		other   bool // of another credential, in one scope
		asked   int
	}{
		{"", true, 1}, {"no-store", false, 2}, {"no-store", true, 2}, {"private", false, 1}, {"private", true, 2}, {"no-cache", true, 1},
	} {
		for _, ask := range [][2]string{{chatJSON, chatJSON}, {chatStream, chatStream}, {chatJSON, chatStream}, {chatStream, chatJSON}} {
			t.Run(fmt.Sprintf("%s/other=%v/%d,%d", tt.control, tt.other, len(ask[0]), len(ask[1])), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					base := newHosts(func(req *http.Request) (*http.Response, error) {
						elapse(time.Second)
						contentType, text := asJSON, goodJSON
						if callOf(req.Context()).params.Stream {
							contentType, text = asStream, event("hi")+finishEvent+doneEvent
						}
						return gives(200, contentType, text, "Cache-Control", tt.control)(req)
					})
					rt := over(t, base, WithCache(CachePolicy{Scope: func(*http.Request) string { return "team" }}), WithEndpoints(deepSeekAt("a")))
					calls(t, rt, ask[0])
					key := "Bearer sk-caller"
					if tt.other {
						key = "Bearer sk-other"
					}
					follower := calls(t, rt, ask[1], with("Authorization", key))
					elapse(time.Minute)
					synctest.Wait()
					if !strings.Contains(follower.read.String(), "hi") || follower.ended != io.EOF || base.Count("") != tt.asked {
						t.Errorf("the follower read %q, %v; %d attempts, want %d", follower.read.String(), follower.ended, base.Count(""), tt.asked)
					}
				})
			})
		}
	}
}

// A stream that is not to be stored is joined by nobody, however long it lasts.
func TestSharing_NobodyJoinsWhatIsNotToBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, opened := fakehost.Faucets("")
		rt := over(t, RoundTripperFunc(fakehost.Adding(base.RoundTrip, "Cache-Control", "no-store")), WithCache(CachePolicy{}))
		calls(t, rt, chatStream)
		f := <-opened
		f.Send(event("1"))
		synctest.Wait()
		calls(t, rt, chatStream)
		if len(opened) != 1 {
			t.Errorf("%d more attempts for another caller, want 1", len(opened))
		}
		f.End()
		if len(opened) == 1 {
			(<-opened).End()
		}
		synctest.Wait()
	})
}

// An error that a host told one credential within a 200 is not another's either.
func TestSharing_AnErrorInsideAStreamIsItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(func(req *http.Request) (*http.Response, error) {
			elapse(time.Second)
			if req.Header.Get("Authorization") == "Bearer sk-good" {
				return answer(200, asStream, wholeStream), nil
			}
			return answer(200, asStream, "data: {\"error\":{\"message\":\"your account is busy\",\"code\":500}}\n\n"), nil
		})
		rt := over(t, base, WithCache(CachePolicy{Scope: func(*http.Request) string { return "team" }}), once)
		leader := calls(t, rt, chatStream)
		same := calls(t, rt, chatStream)
		other := calls(t, rt, chatStream, with("Authorization", "Bearer sk-good"))
		elapse(time.Minute)
		synctest.Wait()
		if !strings.Contains(leader.read.String(), "busy") || same.read.String() != leader.read.String() || other.read.String() != wholeStream || base.Count("") != 2 {
			t.Errorf("the leader got %q, one of its credential %q, another %q; %d attempts, want 2", leader.read.String(), same.read.String(), other.read.String(), base.Count(""))
		}
	})
}

// A leader that may try once only does not bind who may try more often.
func TestSharing_AttemptsAreEachCallersOwn(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		leads, follows, policy int
		errs                   bool
		status, asked          int
	}{
		{"1, then the default", 1, 0, 0, false, 200, 1 + 2},
		{"1, then the default, as errors", 1, 0, 0, true, 200, 1 + 2},
		{"1, then 5", 1, 5, 0, false, 200, 1 + 2},
		{"2, then 1", 2, 1, 0, false, 503, 2},
		{"3, then the same by default", 3, 0, 0, false, 503, 3},
		{"the default, then 3", 0, 3, 1, false, 200, 1 + 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int32
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					if n := sent.Add(1); int(n) < tt.asked || tt.status != 200 {
						elapse(time.Second)
						return failing503(req)
					}
					return answer(200, asJSON, goodJSON), nil
				})
				opts := []Option{WithCache(CachePolicy{}), noBreaker, WithRetry(RetryPolicy{Attempts: tt.policy})}
				if tt.errs {
					opts = append(opts, WithErrors())
				}
				rt := over(t, base, opts...)
				may := func(n int) func(*http.Request) {
					return func(req *http.Request) { *req = *req.WithContext(WithCall(req.Context(), Call{Attempts: n})) }
				}
				leader := calls(t, rt, chatJSON, may(tt.leads))
				follower := calls(t, rt, chatJSON, may(tt.follows))
				elapse(time.Minute)
				synctest.Wait()
				if leader.resp != nil && leader.resp.StatusCode != 503 || leader.resp == nil && leader.err == nil {
					t.Errorf("the leader got %v, %v, want a failure", leader.resp, leader.err)
				}
				if follower.err != nil || follower.resp.StatusCode != tt.status || int(sent.Load()) != tt.asked {
					t.Errorf("the follower got %v, %v after %d attempts, want %d after %d", follower.resp, follower.err, sent.Load(), tt.status, tt.asked)
				}
			})
		})
	}
}

// The same on every wire, as JSON and as a stream, for what a host refuses, breaks off or
// gives flawed: the leader's last try is not his followers'.
func TestSharing_AttemptsAreEachCallersOwnOnAllWires(t *testing.T) {
	for _, w := range flawWires {
		good := said{text: "hi"}
		for name, form := range map[string]struct{ kind, body, good string }{
			"JSON":   {asJSON, `{"model":"m"}`, w.json(good)},
			"stream": {asStream, `{"model":"m","stream":true}`, strings.Join(w.events(good), "\n\n") + "\n\n"},
		} {
			for first, fails := range map[string]func(*http.Request) (*http.Response, error){
				"503":                   failing503,
				"429":                   gives(429, asJSON, `{"error":{}}`, "Retry-After", "2"),
				"cut":                   gives(200, asJSON, `{"choices":[`),
				"nothing":               gives(200, form.kind, ""),
				"connection":            refusing,
				"an event of its error": gives(200, asStream, "data: {\"error\":{\"code\":500}}\n\n"),
			} {
				bubble(t, strings.Join([]string{w.path[1:], name, first}, "/"), func(t *testing.T) {
					var sent atomic.Int32
					rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
						if sent.Add(1) == 1 {
							elapse(time.Second)
							return fails(req)
						}
						return answer(200, form.kind, form.good), nil
					}), WithCache(CachePolicy{}))
					leader := calls(t, rt, form.body, toPath(w.path), func(req *http.Request) {
						*req = *req.WithContext(WithCall(req.Context(), Call{Attempts: Off}))
					})
					follower := calls(t, rt, form.body, toPath(w.path))
					elapse(time.Minute)
					synctest.Wait()
					if leader.err == nil && leader.ended == io.EOF && leader.read.String() == form.good {
						t.Errorf("the leader got %v, %q, want a failure", leader.resp, leader.read.String())
					}
					if got := follower.read.String(); follower.err != nil || got != form.good || follower.ended != io.EOF || sent.Load() != 2 {
						t.Errorf("the follower got %v, %q, %v after %d requests, want the answer after 2", follower.resp, got, follower.err, sent.Load())
					}
				})
			}
		}
	}
}

// A flawed answer that is handed over because no attempt brought a better one is not for
// those who may try more often.
func TestSharing_FlawedAnswersAreForThoseWhoMayTryNoMore(t *testing.T) {
	for _, w := range flawWires {
		for follows, want := range map[int]string{0: w.json(said{text: "hi"}), 1: w.json(said{reasoning: "Hm."})} {
			bubble(t, fmt.Sprint(w.path[1:], "/", follows), func(t *testing.T) {
				base := newHosts(nil)
				base.Set("a", func(*http.Request) (*http.Response, error) {
					if elapse(time.Second); base.Count("a") == 1 {
						return answer(200, asJSON, w.json(said{reasoning: "Hm."})), nil
					}
					return answer(200, asJSON, w.json(said{text: "hi"})), nil
				})
				base.Set("b", failing503)
				rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...), WithCache(CachePolicy{}), WithStream(StreamPolicy{RequireAnswer: true, KeepFlawed: true}))
				may := func(n int) func(*http.Request) {
					return func(req *http.Request) { *req = *req.WithContext(WithCall(req.Context(), Call{Attempts: n})) }
				}
				leader := calls(t, rt, `{"model":"m"}`, toPath(w.path), may(1))
				follower := calls(t, rt, `{"model":"m"}`, toPath(w.path), may(follows))
				elapse(time.Minute)
				synctest.Wait()
				if got := leader.read.String(); got != w.json(said{reasoning: "Hm."}) {
					t.Errorf("the leader got %v, %q, want the flawed answer", leader.err, got)
				}
				if got := follower.read.String(); got != want {
					t.Errorf("the follower got %v, %q, want %q", follower.err, got, want)
				}
			})
		}
	}
}

// Each field of Call is each caller's own: see askFor, appendVary and Terms.
func TestSharing_FieldsOfCall(t *testing.T) {
	own := map[string]string{
		"NoCache": "the call is not covered", "NoShare": "the call is private", "CacheControl": "the caller looks at the cache by it; no-cache is private, and Terms have Fallback",
		"IdempotencyKey": "its hash is the key",
		"Tenant":         "in Terms; the answer is everybody's", "Priority": "in Terms",
		"Scope": "in the key", "Endpoint": "in the key", "Attempts": "in Terms", "Trail": "of the leader's call alone",
		"Endpoints": "what they allow is in the key: appendPlaces", "bounds": "as Endpoints",
	}
	for field := range reflect.TypeFor[Call]().Fields() {
		if own[field.Name] == "" {
			t.Errorf("Call.%s: it is not known whether a leader's binds the callers that share the answer", field.Name)
		}
	}
}

// teamPolicy is a cache whose scope is several credentials'.
func teamPolicy() CachePolicy {
	return CachePolicy{TTL: time.Hour, Scope: func(*http.Request) string { return "team" }}
}

// Only what is judged an answer is everybody's in a scope. All else that comes
// with a 200 may be an error that was said to one credential: it is shared by
// callers of that one, and the others ask with their own.
func TestSharing_OnlyAnswersAreTheScopes(t *testing.T) {
	for _, tt := range []struct{ name, ask, contentType, text, packed string }{
		{"a rejected key in a stream", chatStream, asStream, `data: {"error":{"type":"authentication_error","message":"no key of org-SECRET"}}` + "\n\n", ""},
		{"a refusal in a stream", chatStream, asStream, `data: {"error":{"code":400,"message":"org-SECRET may not use this model"}}` + "\n\n", ""},
		{"a refusal behind the role", chatStream, asStream, `data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}` + "\n\n" + `data: {"error":{"code":400,"message":"org-SECRET"}}` + "\n\n", ""},
		{"an encoding that nobody asked for", chatJSON, asJSON, "packed org-SECRET", "br"},
		{"the same, a stream", chatStream, asStream, "packed org-SECRET", "br"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					elapse(time.Second)
					if req.Header.Get("Authorization") == "Bearer sk-alice" {
						return gives(200, tt.contentType, tt.text, "Content-Encoding", tt.packed)(req)
					}
					if callOf(req.Context()).params.Stream {
						return answer(200, asStream, wholeStream), nil
					}
					return answer(200, asJSON, goodJSON), nil
				})
				rt := over(t, base, noBreaker, once, WithCache(teamPolicy()))
				alice := calls(t, rt, tt.ask, with("Authorization", "Bearer sk-alice"))
				same := calls(t, rt, tt.ask, with("Authorization", "Bearer sk-alice"))
				bob := calls(t, rt, tt.ask, with("Authorization", "Bearer sk-bob"))
				elapse(time.Minute)
				synctest.Wait()
				if !strings.Contains(alice.read.String(), "SECRET") || same.read.String() != alice.read.String() {
					t.Errorf("who was told it read %q, another of its credential %q, want the host's words", alice.read.String(), same.read.String())
				}
				if got := bob.read.String(); strings.Contains(got, "SECRET") || !strings.Contains(got, "hi") || bob.ended != io.EOF || base.Count("") != 2 {
					t.Errorf("another credential read %q, %v, after %d attempts, want an answer of its own, by 2", got, bob.ended, base.Count(""))
				}
			})
		})
	}
}

// The event that a host ends a shared stream with is for the credential that it
// was said to. The others get the error and, with ErrorFrames, an event of ours.
func TestSharing_ErrorEventsAreTheirCredentials(t *testing.T) {
	for op, tt := range map[request.Operation][2]string{
		request.Chat:      {event("1"), `data: {"error":{"type":"rate_limit_error","message":"limit of org-SECRET"}}` + "\n\n"},
		request.Messages:  {pieces[13] + pieces[14], "event: error\n" + `data: {"type":"error","error":{"type":"rate_limit_error","message":"limit of org-SECRET"}}` + "\n\n"},
		request.Responses: {pieces[17] + pieces[18], "event: error\n" + `data: {"type":"error","code":"rate_limit_exceeded","message":"limit of org-SECRET","param":null}` + "\n\n"},
	} {
		for _, frames := range []bool{false, true} {
			for _, rescue := range []Rescue{RescueOff, RescueContinue, RescueRestart} {
				t.Run(fmt.Sprintf("%s/%v/%d", op, frames, rescue), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						base, opened := fakehost.Faucets("")
						rt := over(t, base, noBreaker, once, WithCache(teamPolicy()), WithEndpoints(deepSeekAt("a")), WithStream(StreamPolicy{ErrorFrames: frames, Rescue: rescue}))
						ask := func(key string) *caller {
							return calls(t, rt, `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"a"}],"input":"a"}`, func(req *http.Request) {
								req.URL.Path = "/v1" + string(op)
								req.Header.Set("Authorization", "Bearer "+key)
							})
						}
						alice := ask("sk-alice")
						f := <-opened
						f.Send(tt[0])
						synctest.Wait()
						same, bob := ask("sk-alice"), ask("sk-bob")
						base.Set("a", failing503)
						f.Send(tt[1])
						f.End()
						elapse(time.Minute)
						synctest.Wait()
						ours := ""
						if frames {
							ours = frameOf(op, "bad_response")
						}
						for name, want := range map[*caller]string{alice: tt[0] + tt[1], same: tt[0] + tt[1], bob: tt[0] + ours} {
							if got := name.read.String(); got != want || !errors.Is(name.ended, ErrBadResponse) {
								t.Errorf("read %q, %v, want %q", got, name.ended, want)
							}
						}
					})
				})
			}
		}
	}
}

// Nor is an error event after the last choice's end another's, and what it
// stands in is not kept.
func TestSharing_AnErrorEventBehindTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, opened := fakehost.Faucets("")
		rt := over(t, base, WithCache(teamPolicy()))
		alice := calls(t, rt, chatStream, with("Authorization", "Bearer sk-alice"))
		bob := calls(t, rt, chatStream, with("Authorization", "Bearer sk-bob"))
		f := <-opened
		f.Send(event("1") + finishEvent)
		synctest.Wait()
		f.Send(`data: {"error":{"message":"limit of org-SECRET"}}` + "\n\n" + doneEvent)
		f.End()
		synctest.Wait()
		if got := alice.read.String(); !strings.Contains(got, "SECRET") {
			t.Errorf("who was told it read %q", got)
		}
		if got := bob.read.String(); got != event("1")+finishEvent {
			t.Errorf("another credential read %q", got)
		}
		if n := rt.Status().Cache.Entries; n != 0 {
			t.Errorf("%d are kept, want none", n)
		}
	})
}

// What a stream goes on with after a rescue goes as far as the rescue's answer
// says: who may not have it reads what came before, and then an error.
func TestSharing_ARescueThatIsNotToBeShared(t *testing.T) {
	text := strings.Repeat("abcdefgh", 6)
	for _, tt := range []struct {
		control           string
		same, other, JSON bool // may have it: one of the same credential, of another, who waits to have all of it as JSON
	}{
		{"", true, true, true}, {"no-store", false, false, false}, {"private", true, false, true},
	} {
		for _, frames := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", tt.control, frames), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					gate := make(chan struct{})
					base := newHosts(func(req *http.Request) (*http.Response, error) {
						if !callOf(req.Context()).params.Stream {
							return answer(200, asJSON, goodJSON), nil
						}
						if req.URL.Host == "a" {
							return answerFrom(200, asStream, io.MultiReader(strings.NewReader(event(text)), fakehost.ReaderFunc(func([]byte) (int, error) {
								<-gate
								return 0, errors.New("reset")
							}))), nil
						}
						return gives(200, asStream, event("more words")+finishEvent+doneEvent, "Cache-Control", tt.control)(req)
					})
					rt := over(t, base, WithCache(teamPolicy()), WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")), WithStream(StreamPolicy{ErrorFrames: frames}))
					alice := with("Authorization", "Bearer sk-alice")
					leader, same, json := calls(t, rt, chatStream, alice), calls(t, rt, chatStream, alice), calls(t, rt, chatJSON, alice)
					other := calls(t, rt, chatStream, with("Authorization", "Bearer sk-bob"))
					close(gate)
					elapse(time.Second)
					synctest.Wait()
					check := func(name string, c *caller, may bool) {
						got := c.read.String()
						ours := ""
						if frames {
							ours = frameOf(request.Chat, "truncated")
						}
						switch {
						case may && (!strings.Contains(got, "more words") || c.ended != io.EOF):
							t.Errorf("the %s read %q, %v, want all", name, got, c.ended)
						case !may && (got != event(text)+ours || !errors.Is(c.ended, ErrTruncated)):
							t.Errorf("the %s read %q, %v, want what came before, and ErrTruncated", name, got, c.ended)
						}
					}
					check("leader", leader, true)
					check("same", same, tt.same)
					check("other", other, tt.other)
					if got := json.read.String(); strings.Contains(got, "more words") != tt.JSON || json.ended != io.EOF {
						t.Errorf("JSON: %q, %v", got, json.ended)
					}
					if left := stillHeld(rt); left != "" {
						t.Errorf("got %s left, want nothing", left)
					}
				})
			})
		}
	}
}

// A caller has its request back when the exchange is over, and may make another
// of it: who rides on with a flight whose leader has left rides to where it set out for,
// and gets nothing that was said to the leader alone.
func TestSharing_IsOfTheRequestAsItWas(t *testing.T) {
	for _, status := range []int{503, 401} {
		synctest.Test(t, func(t *testing.T) {
			fail := make(chan struct{})
			var asked []string
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				asked = append(asked, req.URL.Path+" "+req.Header.Get("X-Try")+" "+req.Header.Get("Authorization"))
				if len(asked) == 1 {
					<-fail
					return answer(status, asJSON, "{}"), nil
				}
				return answer(200, asJSON, goodJSON), nil
			}), WithCache(CachePolicy{Scope: func(*http.Request) string { return "all" }}), WithRetry(RetryPolicy{MinDelay: Off}))
			ctx, cancel := context.WithCancel(t.Context())
			leader, _ := post(ctx, "https://a", chatJSON)
			leader.Header.Set("Authorization", "A")
			left := make(chan error)
			go func() {
				_, err := rt.RoundTrip(leader)
				left <- err
			}()
			synctest.Wait()
			other := calls(t, rt, chatJSON, with("Authorization", "B"))
			cancel()
			<-left
			leader.Header.Set("Authorization", "B")
			leader.Header.Set("X-Try", "2")
			leader.URL.Path = "/v1/models"
			close(fail)
			synctest.Wait()
			want := "/chat/completions  A" // the flight's own second try
			if status == 401 {
				want = "/chat/completions  B" // what was said to A is not B's, who asks
			}
			if len(asked) != 2 || asked[1] != want || other.read.String() != goodJSON {
				t.Errorf("behind a %d, asked %q, and the other got %q, %v; want %q then, and an answer", status, asked, other.read.String(), other.err, want)
			}
		})
	}
}
