package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// losing is a host that never answers what lost names, by number from 1, and
// answers the rest after d; most is how many it had at once.
type losing struct {
	lost func(n int) bool
	d    time.Duration

	mu sync.Mutex
	requests
}

// requests are what a host got: in all, under way, and at once at most.
type requests struct{ sent, open, most int }

func (h *losing) counts() requests {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests
}

func (h *losing) do(req *http.Request) (*http.Response, error) {
	h.mu.Lock()
	h.sent++
	h.open++
	h.most = max(h.most, h.open)
	n := h.sent
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.open--
		h.mu.Unlock()
	}()
	if h.lost(n) {
		return hanging(req)
	}
	if err := sleep(req.Context(), h.d); err != nil {
		return nil, err
	}
	if callOf(req.Context()).params.Stream {
		return answer(200, asStream, event("hi")+finishEvent+doneEvent), nil
	}
	return answer(200, asJSON, goodJSON), nil
}

// A crowd asks one question, one caller each second.
type crowd struct {
	bodies   []string      // by turns
	deadline time.Duration // of each; 0: none
	callers  int
	every    time.Duration
	edit     func(*http.Request)
}

// ask returns how many were answered, and how long the slowest of those waited.
func (c crowd) ask(t *testing.T, rt http.RoundTripper) (answered int, slowest time.Duration) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for n := range c.callers {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if c.deadline > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), c.deadline)
			}
			defer cancel()
			start := time.Now()
			edit := c.edit
			if edit == nil {
				edit = func(*http.Request) {}
			}
			got := asks(ctx, rt, c.bodies[n%len(c.bodies)], edit)
			took := time.Since(start)
			if c.deadline > 0 && took > c.deadline+50*time.Millisecond {
				t.Errorf("a caller with a deadline of %v waited %v", c.deadline, took)
			}
			if got.err == nil && got.status() == 200 && strings.Contains(got.body, "hi") {
				mu.Lock()
				answered++
				slowest = max(slowest, took)
				mu.Unlock()
			}
		})
		elapse(c.every)
	}
	all.Wait()
	return answered, slowest
}

// One call that is lost at a host that would answer the next holds its question
// for as long only as such a call may show nothing, and for nobody longer than
// half of what his deadline leaves: TestWait_LockAge knows more of these.
func TestSharing_LockAge(t *testing.T) {
	first := func(n int) bool { return n == 1 }
	json, stream, both := []string{chatJSON}, []string{chatStream}, []string{chatJSON, chatStream}
	thinking := []string{strings.Replace(chatStream, "{", `{"thinking":{"type":"enabled"},`, 1)}
	for _, tt := range []struct {
		name     string
		host     *losing
		crowd    crowd
		policy   StreamPolicy
		answered int // at least
		within   time.Duration
		sent     int // at most
	}{
		{"JSON, 5 s", &losing{lost: first}, crowd{bodies: json, deadline: 5 * time.Second, callers: 120, every: time.Second}, StreamPolicy{}, 120, 5 * time.Second, 2},
		{"JSON without a deadline", &losing{lost: first}, crowd{bodies: json, callers: 600, every: time.Second}, StreamPolicy{}, 600, 5 * time.Minute, 2},
		{"stream without a deadline", &losing{lost: first}, crowd{bodies: stream, callers: 120, every: time.Second}, StreamPolicy{}, 120, 30 * time.Second, 2},
		{"a stream that thinks", &losing{lost: first}, crowd{bodies: thinking, callers: 600, every: time.Second}, StreamPolicy{}, 600, 5 * time.Minute, 2},
		{"clocks of the user's", &losing{lost: first}, crowd{bodies: both, callers: 60, every: time.Second}, StreamPolicy{FirstToken: 5 * time.Second, Thinking: 9 * time.Second}, 60, 9 * time.Second, 3},
		{"clocks that are off", &losing{lost: first}, crowd{bodies: stream, callers: 120, every: time.Second}, StreamPolicy{FirstToken: Off, Thinking: Off, Queued: Off, Stall: Off}, 120, 30 * time.Second, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := over(t, newHosts(tt.host.do), WithCache(CachePolicy{TTL: time.Hour}), WithStream(tt.policy))
				answered, slowest := tt.crowd.ask(t, rt)
				if answered < tt.answered || slowest > tt.within || tt.host.counts().sent > tt.sent {
					t.Errorf("%d of %d were answered, the slowest after %v, by %d requests; want %d, %v and %d", answered, tt.crowd.callers, slowest, tt.host.counts().sent, tt.answered, tt.within, tt.sent)
				}
				synctest.Wait()
				if left := stillHeld(rt); left != "" {
					t.Errorf("got %s left, want nothing", left)
				}
			})
		})
	}
}

// DeepSeek answers 200 before it queues, so that Queued bounds how long its JSON
// may show nothing.
func TestSharing_LockAgeOfAHostThatQueuesInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &losing{lost: func(n int) bool { return n == 1 }}
		rt := over(t, newHosts(host.do), WithCache(CachePolicy{TTL: time.Hour}), WithEndpoints(deepSeekAt("a")))
		if answered, slowest := (crowd{bodies: []string{chatJSON}, callers: 120, every: time.Second}).ask(t, rt); answered != 120 || slowest > time.Minute || host.counts().sent != 2 {
			t.Errorf("%d of 120 were answered, the slowest after %v, by %d requests; want all within a minute, by 2", answered, slowest, host.counts().sent)
		}
	})
}

// A stream that has begun and then shows nothing more is joined for no longer
// than Stall, or half of what a deadline leaves; who has joined it goes on. Pings
// are nothing.
func TestSharing_LockAgeOfAStreamThatStalls(t *testing.T) {
	const ping, comment = "data: {\"choices\":[]}\n\n", ": keep-alive\n\n"
	for _, tt := range []struct {
		name     string
		stall    time.Duration
		beat     string // each second
		deadline time.Duration
		ask      string
		from     time.Duration // who comes so long after the last event asks anew
	}{
		{"keep-alives", time.Minute, comment, 0, chatStream, time.Minute}, // the stream lives on them for five times that
		{"no clock", Off, "", 0, chatStream, time.Minute},
		{"no clock, pings", Off, ping, 0, chatStream, time.Minute},
		{"JSON, 5 s", time.Minute, "", 5 * time.Second, chatJSON, 2500 * time.Millisecond},
	} {
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/early=%v", tt.name, early), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					base, opened := fakehost.Faucets("")
					rt := over(t, base, WithCache(CachePolicy{}), WithEndpoints(deepSeekAt("a")), WithStream(StreamPolicy{Stall: tt.stall, Rescue: RescueOff}))
					leader := calls(t, rt, chatStream)
					f := <-opened
					f.Send(event("1"))
					synctest.Wait()
					base.Set("a", gives(200, asStream, event("hi")+finishEvent+doneEvent))
					wait := tt.from
					if early {
						wait -= time.Second / 2
					}
					for ; tt.beat != "" && wait > time.Second; wait -= time.Second {
						elapse(time.Second)
						f.Send(tt.beat)
					}
					elapse(wait)
					edit := func(*http.Request) {}
					if tt.deadline > 0 {
						ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
						defer cancel()
						edit = func(req *http.Request) { *req = *req.WithContext(ctx) }
					}
					calls(t, rt, tt.ask, edit)
					if asked := base.Count("") == 2; asked == early {
						t.Errorf("who comes asks anew: %v, want %v", asked, !early)
					}
					f.Send(event("2") + finishEvent + doneEvent)
					f.End()
					synctest.Wait()
					if got := leader.read.String(); leader.ended != io.EOF || !strings.Contains(got, `"2"`) {
						t.Errorf("the leader read %q, %v, want all of its stream", got, leader.ended)
					}
				})
			})
		}
	}
}

// A renewal that is lost keeps others from renewing, and who asks from an
// answer, no longer than such a call may show nothing; and no other question.
func TestSharing_ALostRenewal(t *testing.T) {
	for _, ask := range []string{chatJSON, chatStream} {
		for _, strict := range []string{"", "max-age=0, stale-if-error=0"} {
			for _, deadline := range []time.Duration{0, 5 * time.Second} {
				t.Run(fmt.Sprintf("%d/%s/%v", len(ask), strict, deadline), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						host := &losing{lost: func(n int) bool { return n == 2 }}
						rt := over(t, newHosts(host.do), WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Hour}))
						asks(t.Context(), rt, ask)
						elapse(2 * time.Minute)
						asks(t.Context(), rt, ask) // begins a renewal, which is lost
						elapse(time.Second)
						if host.counts().sent != 2 {
							t.Fatal("there is no renewal: nothing is tested")
						}
						c := crowd{bodies: []string{ask}, deadline: deadline, callers: 60 * 20, every: time.Second, edit: with("Cache-Control", strict)}
						if strict != "" {
							c.callers = 240
						}
						answered, slowest := c.ask(t, rt)
						if answered != c.callers || slowest > 5*time.Minute || host.counts().sent < 3 {
							t.Errorf("%d of %d were answered, the slowest after %v, by %d requests", answered, c.callers, slowest, host.counts().sent)
						}
						rt.Close()
					})
				})
			}
		}
	}
}

// Renewals that are lost take the places of others for a short time only, and
// hold no request for long.
func TestSharing_LostRenewalsOfOtherQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &losing{lost: func(n int) bool { return n > 100 && n <= 100+maxRenewals }}
		rt := over(t, newHosts(host.do), noBreaker, WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Hour}))
		for n := range 100 {
			asks(t.Context(), rt, question(n))
		}
		elapse(2 * time.Minute)
		for n := range maxRenewals {
			asks(t.Context(), rt, question(n))
		}
		elapse(maxLook + time.Second)
		asks(t.Context(), rt, question(99))
		elapse(time.Second)
		if got := asks(t.Context(), rt, question(99)); got.header("Age") != "1" {
			t.Errorf("behind %d lost renewals: got %v of age %s, want one renewed a second ago", maxRenewals, got, got.header("Age"))
		}
		elapse(5 * time.Minute)
		synctest.Wait()
		if host.counts().open != 0 {
			t.Errorf("%d lost renewals are still under way", host.counts().open)
		}
		rt.Close()
	})
}

// With a deadline, RoundTrip and every Read return within it, and 50 ms,
// whatever the leader's code does: what it leaves to others it holds up no
// longer than they can wait.
func TestSharing_DeadlinesHold(t *testing.T) {
	const deadline = 2 * time.Second
	within := func(ctx context.Context, d time.Duration) (context.Context, func(*http.Request)) {
		ctx, cancel := context.WithTimeout(ctx, d)
		context.AfterFunc(ctx, cancel)
		return ctx, func(req *http.Request) { *req = *req.WithContext(ctx) }
	}
	type leader struct{}
	for _, kind := range []Kind{KindCacheMiss, KindCommit, KindAttempt, KindCacheStore, "middleware", "body", "nothing", "base"} {
		for _, asks := range [][2]string{{chatJSON, chatJSON}, {chatStream, chatStream}, {chatStream, chatJSON}, {chatJSON, chatStream}} {
			t.Run(fmt.Sprintf("%s/%d,%d", kind, len(asks[0]), len(asks[1])), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					release := make(chan struct{})
					hangs := func(ctx context.Context) {
						if ctx.Value(leader{}) != nil {
							<-release
						}
					}
					var sent atomic.Int32
					base := newHosts(func(req *http.Request) (*http.Response, error) {
						if sent.Add(1) > 1 || kind == "nothing" {
							return hanging(req)
						}
						elapse(time.Second / 10)
						if kind == "base" {
							<-req.Context().Done()
							elapse(10 * time.Millisecond) // it takes its time
							return nil, req.Context().Err()
						}
						if callOf(req.Context()).params.Stream {
							stalls := fakehost.ReaderFunc(func([]byte) (int, error) { <-req.Context().Done(); return 0, req.Context().Err() })
							return answerFrom(200, asStream, io.MultiReader(strings.NewReader(event("1")), stalls)), nil
						}
						return answer(200, asJSON, goodJSON), nil
					})
					rt := over(t, base, noBreaker, WithCache(CachePolicy{}), WithEndpoints(deepSeekAt("a")),
						WithObserver(func(ctx context.Context, e Event) {
							if e.Kind == kind {
								hangs(ctx)
							}
						}),
						WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper {
							return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
								if kind == "middleware" {
									hangs(req.Context())
								}
								return next.RoundTrip(req)
							})
						}))
					ctx, _ := within(context.WithValue(t.Context(), leader{}, true), deadline/2)
					go func() {
						req, _ := post(ctx, "https://a", asks[0])
						if resp, err := rt.RoundTrip(req); err == nil {
							if kind == "body" {
								<-release
							}
							io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
						}
					}()
					synctest.Wait()
					var others sync.WaitGroup
					for n := range 6 {
						others.Go(func() {
							elapse(time.Duration(n) * 200 * time.Millisecond)
							ctx, edit := within(t.Context(), deadline)
							end, _ := ctx.Deadline()
							req, _ := post(t.Context(), "https://a", asks[1])
							edit(req)
							resp, err := rt.RoundTrip(req)
							if err == nil {
								_, err = io.ReadAll(resp.Body)
								resp.Body.Close()
							}
							if late := time.Since(end); late > 50*time.Millisecond {
								t.Errorf("caller %d returned %v behind its deadline, in %v", n, late, err)
							}
						})
					}
					others.Wait()
					close(release)
					elapse(time.Minute)
					synctest.Wait()
					if left := stillHeld(rt); left != "" {
						t.Errorf("got %s left, want nothing", left)
					}
				})
			})
		}
	}
}

// Who has been overtaken, the leader too, takes the answer of the other call,
// and its own is let go of.
func TestSharing_TheFirstAnswerIsEverybodys(t *testing.T) {
	for _, ask := range []string{chatJSON, chatStream} {
		synctest.Test(t, func(t *testing.T) {
			host := &losing{lost: func(n int) bool { return n == 1 }}
			rt := over(t, newHosts(host.do), WithCache(CachePolicy{}), WithRateLimit(RatePolicy{InFlight: 3}))
			leader, follower := calls(t, rt, ask), calls(t, rt, ask)
			elapse(10 * time.Second)
			alone := calls(t, rt, ask, func(req *http.Request) { *req = *req.WithContext(WithCall(req.Context(), Call{NoShare: true})) })
			synctest.Wait()
			for name, c := range map[string]*caller{"leader": leader, "follower": follower, "one that shares with nobody": alone} {
				if !c.done || c.ended != io.EOF || !strings.Contains(c.read.String(), "hi") {
					t.Errorf("the %s read %q, %v, %v", name, c.read.String(), c.err, c.ended)
				}
			}
			if left := stillHeld(rt); left != "" || host.counts().open != 0 {
				t.Errorf("got %s left, %d requests open, want nothing", left, host.counts().open)
			}
			s := rt.Status().Cache
			if s.Misses != 2 || s.Shared+s.Hits != 1 && s.Shared+s.Hits != 2 {
				t.Errorf("counted as %+v", s)
			}
		})
	}
}

// Callers who may not have an answer share the next one, each kind its own, as
// they shared the first: a host that is down gets no herd, and nobody waits for
// one call after the other.
func TestSharing_NoHerdBehindAFailure(t *testing.T) {
	const callers = 200
	usage := strings.Replace(chatStream, "{", `{"stream_options":{"include_usage":true},`, 1)
	breaks := func(*http.Request) (*http.Response, error) {
		return answerFrom(200, asStream, io.MultiReader(strings.NewReader(event("1")), fakehost.ReaderFunc(func([]byte) (int, error) {
			elapse(time.Second)
			return 0, errors.New("reset")
		}))), nil
	}
	bearer := func(key string) func(*http.Request) { return with("Authorization", "Bearer "+key) }
	hasOne := func(req *http.Request) { *req = *req.WithContext(WithCall(req.Context(), Call{Attempts: 1})) }
	anybody := func(int) func(*http.Request) { return func(*http.Request) {} }
	for _, tt := range []struct {
		name        string
		leads, asks string
		leader      func(*http.Request)
		follower    func(int) func(*http.Request)
		first       handler // what the first request gets
		status      int     // of the followers
		most        int     // requests
	}{
		{"the leader's Attempts", chatJSON, chatJSON, hasOne, anybody, failing503, 503, 1 + 3},
		{"the leader's credential", chatJSON, chatJSON, bearer("sk-alice"), func(int) func(*http.Request) { return bearer("sk-bob") }, failing503, 503, 3 + 3},
		{"five credentials", chatJSON, chatJSON, bearer("sk-alice"), func(n int) func(*http.Request) { return bearer(fmt.Sprint("sk-", n%5)) }, failing503, 503, 3 + 5*3},
		{"the leader's error in a stream", chatStream, chatStream, bearer("sk-alice"), func(int) func(*http.Request) { return bearer("sk-bob") },
			gives(200, asStream, `data: {"error":{"code":401,"message":"no"}}`+"\n\n"), 503, 3 + 3},
		{"JSON of a stream that breaks", usage, chatJSON, anybody(0), anybody, breaks, 503, 1 + 3},
		{"JSON of a stream without usage", usage, chatJSON, anybody(0), anybody, gives(200, asStream, wholeStream), 200, 1 + 3}, // what is kept stands in,
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int32
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					elapse(time.Second)
					if sent.Add(1) == 1 {
						return tt.first(req)
					}
					return failing503(req)
				})
				rt := over(t, base, noBreaker, WithRetry(RetryPolicy{Budget: 1000}), WithCache(teamPolicy()))
				began := time.Now()
				leader := calls(t, rt, tt.leads, tt.leader)
				var all sync.WaitGroup
				for n := range callers {
					all.Go(func() {
						if got := asks(t.Context(), rt, tt.asks, tt.follower(n)); got.status() != tt.status {
							t.Errorf("a follower got %v, want %d", got, tt.status)
						}
					})
				}
				all.Wait()
				if got, took := int(sent.Load()), time.Since(began); got > tt.most || took > 30*time.Second {
					t.Errorf("the host got %d requests for %d callers, the last of whom heard after %v; want at most %d, and one wait behind the other", got, callers, took, tt.most)
				}
				leader.cancel()
				synctest.Wait()
				if left := stillHeld(rt); left != "" {
					t.Errorf("got %s left, want nothing", left)
				}
			})
		})
	}
}
