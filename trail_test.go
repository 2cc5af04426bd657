package breakwater

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// classConstants returns the constants of type Class in a file, by their names
// without the prefix. documented reports whether each has a comment.
func classConstants(t *testing.T, path, prefix string) (values map[string]string, documented bool) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	values, documented = make(map[string]string), true
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Class" {
			name := spec.Names[0].Name
			if len(name) <= len(prefix) || name[:len(prefix)] != prefix {
				t.Errorf("%s: the name of %s does not begin with %s", path, name, prefix)
				return true
			}
			values[name[len(prefix):]] = spec.Values[0].(*ast.BasicLit).Value
			documented = documented && spec.Comment != nil
		}
		return true
	})
	return values, documented
}

// The classes that users see are those of the table, by the same names and
// values, and each is documented.
func TestClass_ConstantsAreThoseOfTheTable(t *testing.T) {
	public, documented := classConstants(t, "trail.go", "Class")
	internal, _ := classConstants(t, "internal/outcome/class.go", "")
	if !documented {
		t.Error("trail.go: a class has no comment")
	}
	for name, value := range internal {
		if public[name] != value {
			t.Errorf("Class%s is %s in trail.go, want %s", name, public[name], value)
		}
		if endingOf(Outcome(strings.Trim(value, `"`))) == 0 {
			t.Errorf("Class%s is not among the endings", name)
		}
	}
	for name := range public {
		if internal[name] == "" {
			t.Errorf("Class%s is not in internal/outcome", name)
		}
	}
	if len(internal) == 0 {
		t.Error("internal/outcome has no classes")
	}
}

// TrailOf tells the attempts of the response it is given, through http.Client
// too, and hands out a copy.
func TestTrail_Of(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		base.Set("a", func(req *http.Request) (*http.Response, error) { elapse(time.Second); return failing503(req) })
		rt := over(t, base, WithEndpoints(at("a")...), WithBackup(Endpoint{Name: "b", URL: "https://b", Keyless: true, Models: map[string]string{"m": "theirs"}}))
		req, _ := post(t.Context(), "https://a", chatJSON)
		begin := time.Now()
		resp, err := (&http.Client{Transport: rt}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		trail := TrailOf(resp)
		if len(trail) != 3 {
			t.Fatalf("%d attempts, want 3: %+v", len(trail), trail)
		}
		for i, want := range []Attempt{
			{N: 1, Endpoint: "a", Model: "m", Start: begin, Elapsed: time.Second, Status: 503, Class: ClassUnavailable, Verdict: VerdictAgain},
			{N: 2, Endpoint: "a", Model: "m", Start: begin.Add(1500 * time.Millisecond), Wait: 500 * time.Millisecond, Elapsed: time.Second, Status: 503, Class: ClassUnavailable, Verdict: VerdictElsewhere},
			{N: 3, Endpoint: "b", Model: "theirs", Start: begin.Add(2500 * time.Millisecond), Status: 200, Class: ClassOK, Verdict: VerdictAccept, Bytes: int64(len(goodJSON)), Usage: Usage{TotalTokens: 3}},
		} {
			if !trail[i].Start.Equal(want.Start) {
				t.Errorf("attempt %d began %v after the call, want %v", i+1, trail[i].Start.Sub(begin), want.Start.Sub(begin))
			}
			trail[i].Start = want.Start
			if trail[i] != want {
				t.Errorf("attempt %d is\n%+v, want\n%+v", i+1, trail[i], want)
			}
		}
		trail[0].Endpoint = "changed"
		if TrailOf(resp)[0].Endpoint != "a" {
			t.Error("a change to what TrailOf returned changed the trail")
		}
		if got := (&http.Request{}); TrailOf(&http.Response{Request: got}) != nil {
			t.Error("TrailOf of a foreign response is not nil")
		}
	})
}

// An attempt whose request the base never got has no number, and counts nowhere as sent.
func TestTrail_OfAnAttemptThatRewriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
			sent.Add(1)
			return gives(200, asJSON, goodJSON)(req)
		}), WithEndpoints(Endpoint{Name: "a", URL: "https://a", Keyless: true, Rewrite: func(*http.Request) error { return io.ErrNoProgress }}), WithBackup(at("b")...))
		req, _ := post(t.Context(), "https://a", chatJSON)
		resp, err := (&http.Client{Transport: rt}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		trail := TrailOf(resp)
		if len(trail) != 2 || trail[0].N != 0 || trail[0].Class != ClassRewrite || trail[1].N != 1 || rt.Status().Attempts != sent.Load() || sent.Load() != 1 {
			t.Errorf("%d were sent, %d by Status, and the trail is %+v", sent.Load(), rt.Status().Attempts, trail)
		}
	})
}

// From the cache comes no trail.
func TestTrail_OfACachedAnswer(t *testing.T) {
	rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithCache(CachePolicy{}))
	if trail := TrailOf(asks(t.Context(), rt, chatJSON).resp); len(trail) != 1 {
		t.Errorf("TrailOf the first answer = %v, want one attempt", trail)
	}
	if trail := TrailOf(asks(t.Context(), rt, chatJSON).resp); trail != nil {
		t.Errorf("TrailOf a cached answer = %#v, want nil", trail)
	}
}

// Call.Trail tells those who never see the response, at any time, of the
// latest call.
func TestTrail_OfTheLatestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trail Trail
		if got := trail.Attempts(); got != nil {
			t.Errorf("before any call: %v, want nil", got)
		}
		base := newHosts(func(req *http.Request) (*http.Response, error) { elapse(time.Second); return failing503(req) })
		rt := over(t, base, WithErrors(), WithRetry(RetryPolicy{Attempts: 2}))
		ctx := WithCall(t.Context(), Call{Trail: &trail})
		var done sync.WaitGroup
		done.Go(func() { asks(ctx, rt, chatJSON) })
		elapse(500 * time.Millisecond) // while it is under way
		if got := trail.Attempts(); len(got) != 1 || got[0].N != 1 || got[0].Class != "" || got[0].Endpoint != "a" {
			t.Errorf("while the first attempt is under way: %+v", got)
		}
		done.Wait()
		if got := trail.Attempts(); len(got) != 2 || got[1].N != 2 || got[1].Status != 503 || got[1].Verdict != VerdictStop {
			t.Errorf("behind the call: %+v, want two attempts", got)
		}
		base.Set("a", gives(200, asJSON, goodJSON))
		asks(ctx, rt, chatJSON)
		if got := trail.Attempts(); len(got) != 1 || got[0].Class != ClassOK {
			t.Errorf("behind another call: %+v, want its one attempt", got)
		}
	})
}

// A Trail keeps what it tells, and nothing else of a finished call: neither the
// call with its body nor an attempt with its answer. So does the error of a call.
func TestTrail_KeepsTheBookOnly(t *testing.T) {
	whole, stream := gives(200, asJSON, goodJSON), gives(200, asStream, wholeStream)
	cached := WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Minute})
	hedged := WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true})
	first := func(first, then handler) handler {
		var n atomic.Int64
		return func(req *http.Request) (*http.Response, error) {
			if n.Add(1) == 1 {
				return first(req)
			}
			return then(req)
		}
	}
	for _, tt := range []struct {
		name  string
		ask   string
		do    handler
		calls int
		opts  []Option
	}{
		{"json", chatJSON, whole, 1, nil},
		{"stream", chatStream, stream, 1, nil},
		{"refused", chatJSON, gives(400, asJSON, "{}"), 1, nil},
		{"failed", chatJSON, failing503, 1, nil},
		{"failed, as an error", chatJSON, refusing, 1, []Option{WithErrors()}},
		{"hedged", chatJSON, first(fakehost.After(time.Minute, whole), whole), 1, []Option{hedged}},
		{"rescued", chatStream, first(breaks(asStream, goodEvent), stream), 1, []Option{WithStream(StreamPolicy{Rescue: RescueRestart})}},
		{"broken", chatStream, breaks(asStream, goodEvent), 1, nil},
		{"cached", chatJSON, whole, 2, []Option{cached}},
		{"cached stream", chatStream, stream, 2, []Option{cached}},
		{"too large to be kept", chatJSON, whole, 1, []Option{WithRetry(RetryPolicy{MaxReplay: 10})}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var made []weak.Pointer[call]
				var sent []weak.Pointer[attempt]
				rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					io.Copy(io.Discard, req.Body)
					mu.Lock()
					made = append(made, weak.Make(callOf(req.Context())))
					sent = append(sent, weak.Make(attemptOf(req.Context())))
					mu.Unlock()
					return tt.do(req)
				}), append(tt.opts, WithEndpoints(at("a", "b")...), WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
					return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
						resp, err := next.RoundTrip(req)
						if resp != nil {
							mu.Lock()
							defer mu.Unlock()
							made = append(made, weak.Make(callOf(resp.Request.Context())))
						}
						return resp, err
					})
				}))...)
				trails := make([]Trail, tt.calls)
				var ended []error
				for i := range trails {
					ended = append(ended, asks(WithCall(t.Context(), Call{Trail: &trails[i]}), rt, tt.ask).err)
				}
				elapse(time.Hour)
				synctest.Wait()
				for range 3 { // what a pool holds goes with the second
					runtime.GC()
				}
				for i, w := range made {
					if w.Value() != nil {
						t.Errorf("call %d of %d is kept", i+1, len(made))
					}
				}
				for i, w := range sent {
					if w.Value() != nil {
						t.Errorf("attempt %d of %d is kept", i+1, len(sent))
					}
				}
				if len(trails[0].Attempts()) == 0 || len(sent) == 0 {
					t.Errorf("trail %v of %d attempts: nothing was tested", trails[0].Attempts(), len(sent))
				}
				runtime.KeepAlive(trails)
				runtime.KeepAlive(ended)
			})
		})
	}
}

// Who keeps a response whose body was in memory keeps no copy of the request's.
func TestTrail_OfAResponseKeepsNoPrompt(t *testing.T) {
	cached := WithCache(CachePolicy{})
	for _, tt := range []struct {
		name  string
		do    handler
		opts  []Option
		calls int
	}{
		{"json", gives(200, asJSON, goodJSON), nil, 1},
		{"refused", gives(400, asJSON, "{}"), nil, 1},
		{"failed", refusing, nil, 1},
		{"cached", gives(200, asJSON, goodJSON), []Option{cached}, 2},
		{"refused, cached", gives(400, asJSON, "{}"), []Option{cached}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var buffers []weak.Pointer[reqbody.Buffer]
				rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					buffers = append(buffers, weak.Make(callOf(req.Context()).buffer))
					return newHosts(tt.do).RoundTrip(req)
				}), append(tt.opts, once)...)
				var kept []seen
				for range tt.calls {
					kept = append(kept, asks(t.Context(), rt, chatJSON))
				}
				elapse(time.Hour) // clocks that were stopped are gone, too
				synctest.Wait()
				for range 3 {
					runtime.GC()
				}
				for _, w := range buffers {
					if w.Value() != nil {
						t.Error("a kept response holds the request's body")
					}
				}
				if len(buffers) == 0 || tt.name != "cached" && TrailOf(kept[0].resp) == nil {
					t.Error("nothing was tested")
				}
				runtime.KeepAlive(kept)
			})
		})
	}
}

// Nor does who keeps the response of a stream that is over, read to its end or
// closed, alone or sharing it: neither the prompt, nor what came of the answer, nor
// what endpoints refused before.
func TestTrail_OfAStreamThatIsOverHoldsNothing(t *testing.T) {
	each, most := ifFull(8, 2), 64<<10
	size := ifFull(300, 100) << 10
	text, pad := strings.Repeat("x", size), strings.Repeat("p", size)
	said := event(text)
	stream := gives(200, asStream, said+finishEvent+doneEvent)
	more := gives(200, asStream, event("more")+finishEvent+doneEvent)
	breaks, refuses := breaks(asStream, said), gives(503, asJSON, `{"error":"`+text+`"}`)
	fails := gives(200, asStream, said+`data: {"error":{"message":"`+text+`"}}`+"\n\n")
	restart, hedged := WithStream(StreamPolicy{Rescue: RescueRestart}), WithStream(StreamPolicy{Hedge: 2 * time.Second, HedgeBackup: true})
	for _, tt := range []struct {
		name string
		a, b handler // at the endpoint and its backup
		opts []Option
	}{
		{"whole", stream, nil, nil},
		{"rescued", breaks, stream, []Option{restart}},
		{"continued", breaks, more, nil},
		{"rescued in vain", breaks, breaks, []Option{restart}},
		{"an error inside", fails, fails, nil},
		{"an error inside, no rescue", fails, nil, []Option{WithStream(StreamPolicy{Rescue: RescueOff})}},
		{"hedged", fakehost.After(time.Minute, stream), stream, []Option{hedged}},
		{"refused before", refuses, stream, nil},
	} {
		for setup, opts := range map[string][]Option{"alone": nil, "shared": {WithCache(CachePolicy{MaxBytes: 1 << 10})}} {
			for _, closes := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/closes=%v", tt.name, setup, closes), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						base := newHosts(nil)
						base.Set("a", fakehost.After(time.Second, tt.a))
						base.Set("b", tt.b)
						rt := over(t, base, append(append(opts, noBreaker, once, WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b"))), tt.opts...)...)
						var mu sync.Mutex
						var kept []*http.Response
						ask := func(n int) {
							body := fmt.Sprintf(`{"model":"m","stream":true,"messages":[{"role":"user","content":"%d %s"}]}`, n, pad)
							req, _ := post(t.Context(), "https://a", body)
							resp, err := rt.RoundTrip(req)
							if err != nil || resp.StatusCode != 200 {
								t.Error(resp, err)
								return
							}
							if closes {
								io.ReadFull(resp.Body, make([]byte, 100))
								resp.Body.Close()
							} else {
								io.Copy(io.Discard, resp.Body)
							}
							resp.Request.Body, resp.Request.GetBody = nil, nil // the caller's own
							mu.Lock()
							defer mu.Unlock()
							kept = append(kept, resp)
						}
						before := heap()
						for n := range each {
							go ask(n)
							go ask(n) // who follows, where calls are shared
							elapse(time.Hour)
							synctest.Wait()
						}
						heap() // what a pool holds goes with the second
						if got := int(heap()) - int(before); got > each*most || len(kept) != 2*each {
							t.Errorf("%d KiB are held by %d responses", got>>10, len(kept))
						}
						runtime.KeepAlive(kept)
					})
				})
			}
		}
	}
}

// Where nothing could be tried, the trail says of each endpoint why.
func TestTrail_OfACallThatNobodyCouldTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(refusing)
		base.Set("b", gives(429, asJSON, "{}", "Retry-After", "600"))
		rt := over(t, base, WithEndpoints(at("a", "b")...), WithBreaker(BreakerPolicy{Consecutive: 1, OpenFor: time.Hour, MaxOpenFor: time.Hour}), WithRetry(RetryPolicy{Attempts: 1}))
		asks(t.Context(), rt, chatJSON)
		elapse(time.Millisecond)
		var probe circuit.Permit // of another, who leaves: for a second, nobody else may probe
		if !rt.now().tiers[0][0].circuits.Lookup("m").Allow(&probe, time.Now(), true) {
			t.Fatal("the circuit cannot be probed")
		}
		probe.Report(circuit.Neutral)
		var trail Trail
		ctx, cancel := context.WithTimeout(WithCall(t.Context(), Call{Trail: &trail}), 100*time.Millisecond)
		defer cancel()
		asks(ctx, rt, chatJSON)
		got := make(map[string]Class)
		for _, a := range trail.Attempts() {
			got[a.Endpoint] = a.Class
		}
		if want := map[string]Class{"a": ClassCircuitOpen, "b": ClassPaused}; !maps.Equal(got, want) {
			t.Errorf("the trail is %v, want %v", got, want)
		}
	})
}
