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

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// What callers, their code and hosts do to a call that others share: nobody is
// cut off, waits for ever or is answered wrongly for what another does.

// http.Client's Timeout is its caller's alone. For a RoundTripper it does not
// know, it ends not only the context but Request.Cancel, which a base obeys.
func TestSharing_LeadersClientTimeoutIsItsOwn(t *testing.T) {
	for _, when := range []string{"before the answer", "within the answer"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					wait := func() error {
						select {
						case <-time.After(time.Second):
							return nil
						case <-req.Context().Done():
							return req.Context().Err()
						case <-req.Cancel: //lint:ignore SA1019 a base of the user's may heed it, as net/http does
							return errors.New("the request's Cancel")
						}
					}
					late := fakehost.ReaderFunc(func([]byte) (int, error) {
						if err := wait(); err != nil {
							return 0, err
						}
						return 0, io.EOF
					})
					if when == "before the answer" {
						if err := wait(); err != nil {
							return nil, err
						}
						late = func([]byte) (int, error) { return 0, io.EOF }
					}
					return answerFrom(200, asStream, io.MultiReader(strings.NewReader(event("1")), late, strings.NewReader(finishEvent+doneEvent))), nil
				})
				rt := over(t, base, WithCache(CachePolicy{}))
				hasty := &http.Client{Transport: rt, Timeout: 300 * time.Millisecond}
				leader := calls(t, RoundTripperFunc(hasty.Do), chatStream)
				other := calls(t, rt, chatStream)
				elapse(time.Minute)
				synctest.Wait()
				if err := errors.Join(leader.err, leader.ended); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the leader got %v, want its deadline's error", err)
				}
				if got, want := other.read.String(), event("1")+finishEvent+doneEvent; got != want || other.ended != io.EOF || base.Count("") != 1 {
					t.Errorf("the other got %q, %v after %d attempts, want %q after one", got, errors.Join(other.err, other.ended), base.Count(""), want)
				}
			})
		})
	}
}

// Who reads all there is is not too far behind, however much comes at once and
// however little may be kept.
func TestSharing_SoleCallerIsNeverBehind(t *testing.T) {
	stream := func(size, times int) string {
		return strings.Repeat(event(strings.Repeat("x", size)), times) + endEvent + doneEvent
	}
	json := func(size int) string { return strings.Replace(goodJSON, "hi", strings.Repeat("x", size), 1) }
	for _, tt := range []struct {
		name, ask, contentType, text string
		limit                        int64
	}{
		{"events larger than an entry", chatStream, asStream, stream(5000, 3), 100},
		{"a stream larger than what is shared", chatStream, asStream, stream(5000, 100), 100},
		{"events larger than what is shared", chatStream, asStream, stream(3<<20, 3), 0},
		{"JSON larger than what is judged", chatJSON, asJSON, json(12 << 20), 0},
		{"JSON larger than what is judged, and small entries", chatJSON, asJSON, json(12 << 20), 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rt := over(t, newHosts(gives(200, tt.contentType, tt.text)), WithCache(CachePolicy{MaxEntryBytes: tt.limit}))
			if got := asks(t.Context(), rt, tt.ask); got.body != tt.text || got.err != nil {
				t.Errorf("the only caller got %d bytes, %v, want %d", len(got.body), got.err, len(tt.text))
			}
		})
	}
}

// A follower may be some way behind, however little of an answer may be kept.
func TestSharing_SmallEntriesCutOffNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, opened := fakehost.Faucets("")
		rt := over(t, base, WithCache(CachePolicy{MaxEntryBytes: 100}))
		fast := calls(t, rt, chatStream)
		f := <-opened
		want := event("1")
		f.Send(want)
		req, _ := post(t.Context(), "https://a", chatStream)
		slow, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Body.Close()
		for n := range 100 {
			want += event(fmt.Sprint(n))
			f.Send(event(fmt.Sprint(n)))
			synctest.Wait()
		}
		want += finishEvent + doneEvent
		f.Send(finishEvent + doneEvent)
		f.End()
		synctest.Wait()
		if got := fast.read.String(); got != want || fast.ended != io.EOF {
			t.Errorf("the fast reader got %d bytes, %v, want %d", len(got), fast.ended, len(want))
		}
		if got, err := io.ReadAll(slow.Body); string(got) != want || err != nil {
			t.Errorf("the slow reader got %d bytes, %v, want %d", len(got), err, len(want))
		}
	})
}

// A base's body need not heed the context: Close of the response closes it,
// though the caller's cancel came first and ended its part.
func TestSharing_CloseReachesABodyThatHeedsNoContext(t *testing.T) {
	for _, cached := range []bool{false, true} {
		for _, cancels := range []bool{false, true} {
			t.Run(fmt.Sprintf("cached=%v/cancelled=%v", cached, cancels), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					pr, pw := io.Pipe()
					opts := []Option{once, WithStream(StreamPolicy{Stall: Off})}
					if cached {
						opts = append(opts, WithCache(CachePolicy{}))
					}
					rt := over(t, newHosts(func(*http.Request) (*http.Response, error) {
						resp := answer(200, asStream, "")
						resp.Body = pr
						return resp, nil
					}), opts...)
					go io.WriteString(pw, goodEvent)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					req, _ := post(ctx, "https://a", chatStream)
					resp, err := rt.RoundTrip(req)
					if err != nil {
						t.Fatal(err)
					}
					ended := make(chan error, 1)
					go func() { _, err := io.ReadAll(resp.Body); ended <- err }()
					synctest.Wait()
					if cancels {
						cancel()
						elapse(time.Second)
					}
					resp.Body.Close()
					elapse(time.Minute)
					closed := make(chan error, 1)
					go func() { _, err := io.WriteString(pw, goodEvent); closed <- err }()
					synctest.Wait()
					select {
					case err := <-closed:
						if err != io.ErrClosedPipe {
							t.Errorf("the host's next event ended in %v, want %v", err, io.ErrClosedPipe)
						}
					default:
						t.Error("the base's body is open a minute after Close, want it closed")
						pr.Close()
					}
					<-ended
				})
			})
		}
	}
}

// An Observer that panics, in whoever's name, keeps nobody waiting, neither who
// has joined meanwhile nor who comes later, and holds no permit.
func TestSharing_AfterAnObserversPanicOthersAreAnswered(t *testing.T) {
	for _, kind := range []Kind{KindCacheMiss, KindCacheShared, KindCacheStore, KindCacheStale, KindCacheRenew, KindCacheHit, KindCommit, KindAttempt} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var on atomic.Bool
				base := newHosts(func(*http.Request) (*http.Response, error) {
					elapse(time.Second)
					return answer(200, asJSON, goodJSON), nil
				})
				rt := over(t, base, WithRateLimit(RatePolicy{InFlight: 10}), WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Minute}),
					WithObserver(func(_ context.Context, e Event) {
						if e.Kind == kind && on.CompareAndSwap(true, false) {
							elapse(time.Second / 2)
							panic("observer")
						}
					}))
				ask := func(ctx context.Context) (got seen) {
					defer func() { _ = recover() }()
					return asks(ctx, rt, chatJSON)
				}
				switch kind {
				case KindCacheHit:
					ask(t.Context())
				case KindCacheStale, KindCacheRenew:
					ask(t.Context())
					elapse(90 * time.Second)
				}
				on.Store(true)
				go ask(t.Context())
				synctest.Wait()
				meanwhile := make(chan seen, 1)
				go func() { meanwhile <- ask(t.Context()) }()
				elapse(10 * time.Minute)
				if on.Load() {
					t.Fatal("the observer was not called: nothing was tested")
				}
				select {
				case got := <-meanwhile:
					if kind != KindCacheShared && (got.body != goodJSON || got.err != nil) { // which is its own panic
						t.Errorf("a call meanwhile got %v, want an answer", got)
					}
				default:
					t.Fatal("a call meanwhile still waits, want an answer")
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if got := ask(ctx); got.body != goodJSON || got.err != nil {
					t.Errorf("a later call got %v, want an answer", got)
				}
				synctest.Wait()
				if left := stillHeld(rt); left != "" {
					t.Errorf("got %s left, want nothing", left)
				}
			})
		})
	}
}

// A follower whose Observer panics has left: the flight ends when the others have.
func TestSharing_FollowerThatPanicsKeepsNoFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, opened := fakehost.Faucets("")
		rt := over(t, base, WithCache(CachePolicy{}), WithRateLimit(RatePolicy{InFlight: 1}), WithStream(StreamPolicy{Stall: Off}), WithObserver(func(_ context.Context, e Event) {
			if e.Kind == KindCacheShared {
				panic("observer")
			}
		}))
		leader := calls(t, rt, chatStream)
		f := <-opened
		f.Send(event("1"))
		synctest.Wait()
		func() {
			defer func() {
				if p := recover(); p != "observer" {
					t.Errorf("the follower's panic is %v, want its observer's", p)
				}
			}()
			asks(t.Context(), rt, chatStream)
		}()
		leader.cancel()
		elapse(time.Minute)
		synctest.Wait()
		if left := stillHeld(rt); left != "" || !f.Closed() {
			t.Errorf("a minute after the last has left: got %s, body closed %v, want nothing held and a closed body", left, f.Closed())
			f.End()
		}
	})
}

// A call whose context has ended reaches no host: it might be billed.
func TestSharing_CallThatIsOverIsNotSent(t *testing.T) {
	for name, opts := range map[string][]Option{"": nil, "cache": {WithCache(CachePolicy{})}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(gives(200, asJSON, goodJSON))
				rt := over(t, base, opts...)
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				for n := range 500 { // who is first, the leader or its flight, is chance
					if got := asks(ctx, rt, question(n)); !errors.Is(got.err, context.Canceled) {
						t.Errorf("a cancelled call got %v, want %v", got, context.Canceled)
					}
				}
				synctest.Wait()
				if n, misses := base.Count(""), rt.Status().Cache.Misses; n != 0 || misses != 0 {
					t.Errorf("of 500 calls that were over, got %d sent, %d misses, want none", n, misses)
				}
			})
		})
	}
}

// What panics at the end of an answer, on whichever goroutine, is heard by a
// caller that can recover: nothing ends the process.
func TestSharing_PanicsAtTheEndAreTheCallers(t *testing.T) {
	panics := func(contentType, text string) handler {
		return func(*http.Request) (*http.Response, error) {
			resp := answer(200, contentType, "")
			resp.Body = panickyBody{strings.NewReader(text)}
			return resp, nil
		}
	}
	observer := WithObserver(func(_ context.Context, e Event) {
		if e.Kind == KindAttempt {
			panic("observer")
		}
	})
	long := strings.Repeat(goodEvent, 100) + endEvent + doneEvent
	for _, tt := range []struct {
		name, ask string
		base      handler
		opt       Option
		reads     int64
		want      any // what the caller hears; nil: it may be done before, and hear nothing
	}{
		{"the Close of JSON that is too large to be judged", chatJSON, panics(asJSON, goodJSON), WithStream(StreamPolicy{MaxBuffer: 100}), 1 << 20, nil},
		{"the Close of a stream", chatStream, panics(asStream, wholeStream), once, 1 << 20, "the body's Close"},
		{"the Close of a stream that is left", chatStream, panics(asStream, long), once, 10, nil},
		{"an observer", chatStream, gives(200, asStream, wholeStream), observer, 1 << 20, "observer"},
		{"an observer, of a stream that is left", chatStream, gives(200, asStream, long), observer, 10, nil},
	} {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/cached=%v", tt.name, cached), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					opts := []Option{tt.opt, WithRateLimit(RatePolicy{InFlight: 1, MaxWait: Off})}
					if cached {
						opts = append(opts, WithCache(CachePolicy{}))
					}
					rt := over(t, newHosts(tt.base), opts...)
					for n := range 100 { // which goroutine closes is chance
						var heard any
						func() {
							defer func() { heard = recover() }()
							req, _ := post(t.Context(), "https://a", strings.Replace(tt.ask, `"q"`, fmt.Sprintf(`"%d"`, n), 1))
							resp, err := rt.RoundTrip(req)
							if err != nil {
								t.Fatalf("RoundTrip = %v, want an answer", err)
							}
							defer resp.Body.Close()
							io.CopyN(io.Discard, resp.Body, tt.reads)
						}()
						if tt.want != nil && heard != tt.want {
							t.Fatalf("the caller heard %v, want %v", heard, tt.want)
						}
						synctest.Wait()
						if left := stillHeld(rt); left != "" {
							t.Fatalf("got %s left, want nothing", left)
						}
					}
				})
			})
		}
	}
}

// From within an event the very question may be asked again, in the event's
// context: who would join its own call would wait for itself.
func TestSharing_ObserversMayAskTheSame(t *testing.T) {
	for _, kind := range []Kind{KindCacheMiss, KindCommit, KindCacheStore, KindCall} {
		for _, apart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/apart=%v", kind, apart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var told atomic.Bool
					var rt *Transport
					var nested seen
					ask := func(ctx context.Context) {
						ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
						defer cancel()
						nested = asks(ctx, rt, chatJSON)
					}
					rt = over(t, newHosts(gives(200, asJSON, goodJSON)), WithCache(CachePolicy{}), WithObserver(func(ctx context.Context, e Event) {
						switch {
						case e.Kind != kind || !told.CompareAndSwap(false, true):
						case apart:
							go ask(ctx)
							elapse(time.Millisecond) // it is to come first
						default:
							ask(ctx)
						}
					}))
					got, other := asks(t.Context(), rt, chatJSON), asks(t.Context(), rt, question(7))
					synctest.Wait()
					for name, got := range map[string]seen{"call": got, "one within it": nested, "one for something else": other} {
						if got.body != goodJSON || got.err != nil {
							t.Errorf("the %s got %v, want an answer", name, got)
						}
					}
				})
			})
		}
	}
}

// An Observer may close the Transport, though it is told of what Close waits for.
func TestSharing_ObserversMayCloseTheTransport(t *testing.T) {
	for _, kind := range []Kind{KindCacheRenew, KindCacheStore, KindAttempt} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var on, closed atomic.Bool
				var rt *Transport
				rt = over(t, newHosts(gives(200, asJSON, goodJSON)), WithCache(CachePolicy{TTL: time.Nanosecond, StaleWhileRevalidate: time.Hour}),
					WithObserver(func(_ context.Context, e Event) {
						if e.Kind == kind && on.CompareAndSwap(true, false) {
							rt.Close()
							closed.Store(true)
						}
					}))
				asks(t.Context(), rt, chatJSON)
				elapse(time.Second)
				on.Store(true)
				asks(t.Context(), rt, chatJSON) // begins a renewal
				elapse(2 * background.CloseWait)
				if on.Load() || !closed.Load() {
					t.Errorf("Close: begun %v, returned %v, want both", !on.Load(), closed.Load())
				}
			})
		})
	}
}

// The last to leave, here a caller that takes the kept answer instead, may do so
// at the very moment the answer lands: whoever is first, its body is closed.
func TestSharing_AnswersThatLandAsTheLastOneLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			var hang, slow atomic.Bool
			release, landed := make(chan struct{}), make(chan *fakehost.Body, 2)
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				resp := answer(200, asStream, wholeStream)
				if hang.Load() {
					<-release
					landed <- resp.Body.(*fakehost.Body)
				}
				return resp, nil
			})
			rt := over(t, base, WithRateLimit(RatePolicy{InFlight: 1}), WithCache(CachePolicy{TTL: time.Nanosecond, StaleWhileRevalidate: time.Hour}),
				WithObserver(func(_ context.Context, e Event) {
					if e.Kind == KindCacheStale && slow.Load() {
						elapse(2 * time.Second)
					}
				}))
			asks(t.Context(), rt, chatStream)
			elapse(time.Second)
			hang.Store(true)
			asks(t.Context(), rt, chatStream) // begins a renewal
			synctest.Wait()
			slow.Store(true)
			var callers sync.WaitGroup
			callers.Go(func() {
				if got := asks(t.Context(), rt, chatStream, with("Cache-Control", "max-age=0")); got.body != wholeStream || got.err != nil {
					t.Errorf("a caller meanwhile got %v, want the kept answer", got)
				}
			})
			synctest.Wait()
			callers.Go(func() { rt.Close() }) // the renewal's own part ends
			callers.Go(func() { elapse(2 * time.Second); close(release) })
			callers.Wait()
			synctest.Wait()
			if left := stillHeld(rt); left != "" {
				t.Fatalf("got %s left, want nothing", left)
			}
			close(landed)
			for body := range landed {
				if body.Closed() == 0 {
					t.Fatal("got an open body, want it closed")
				}
			}
		}
	})
}

// A Middleware may make several calls of one, at once: they share, and each
// has its own end.
func TestSharing_MiddlewareMayAskTwiceAtOnce(t *testing.T) {
	twice := func(next http.RoundTripper) http.RoundTripper {
		return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			text, _ := io.ReadAll(req.Body)
			req.Body.Close()
			came := make(chan seen, 2)
			for range 2 {
				again := req.Clone(req.Context())
				again.Body = io.NopCloser(strings.NewReader(string(text)))
				go func() {
					resp, err := next.RoundTrip(again)
					came <- seen{resp: resp, err: err}
				}()
			}
			one, two := <-came, <-came
			if two.resp != nil {
				two.resp.Body.Close()
			}
			return one.resp, one.err
		})
	}
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			base, opened := fakehost.Faucets("")
			rt := over(t, base, WithCache(CachePolicy{}), WithMiddleware(twice), WithRateLimit(RatePolicy{InFlight: 3}))
			go func() {
				f := <-opened
				f.Send(event("1"))
				elapse(time.Second)
				f.Send(finishEvent + doneEvent)
				f.End()
			}()
			got := asks(t.Context(), rt, chatStream)
			if want := event("1") + finishEvent + doneEvent; got.err != nil || got.body != want || base.Count("") != 1 {
				t.Errorf("got %v after %d attempts, want %q after one", got, base.Count(""), want)
			}
			synctest.Wait()
			if left := stillHeld(rt); left != "" {
				t.Errorf("got %s left, want nothing", left)
			}
		})
	}
}
