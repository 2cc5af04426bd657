package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// A circuitWorld has one endpoint, a, whose circuit is looked at, and a
// backup, b, that keeps callers from having to probe.
type circuitWorld struct {
	t    *testing.T
	base *fakehost.Base
	rt   *Transport
}

func inCircuitWorld(t *testing.T, p BreakerPolicy, f func(*testing.T, *circuitWorld), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		a, b := Endpoint{Name: "a", URL: "https://a"}, at("b")[0]
		rt := over(t, base, append([]Option{once, WithEndpoints(a), WithBackup(b), WithBreaker(p), WithRateLimit(RatePolicy{Fixed: true})}, opts...)...)
		f(t, &circuitWorld{t, base, rt})
	})
}

// outcomes are what a host does, by letter.
var outcomes = map[rune]handler{
	'S': gives(200, asJSON, goodJSON),
	'F': failing503,
	'E': refusing,
	'C': nil, // the caller's cancel
	'D': nil, // the caller's deadline behind what an answer may take, where nobody else may serve
	'N': nil, // no payload for as long as it may take, where somebody else could serve
	'd': nil, // the same, with deadlines that no answer would keep
	'n': nil,
	'4': gives(400, asJSON, `{"error":{"message":"no"}}`),
	'R': gives(429, asJSON, `{"error":{"message":"no"}}`, "Retry-After", "0"),
	'U': gives(401, asJSON, `{"error":{"message":"no"}}`),
	'P': gives(402, asJSON, `{"error":{"message":"no"}}`),
	'3': gives(307, asJSON, ""),
	'J': gives(200, asJSON, goodJSON[:30]),
	'I': gives(200, asJSON, `{"error":{"message":"no","code":500}}`),
	'L': gives(200, asJSON, `{"error":{"message":"no","code":429}}`),
	'B': nil, // a stream that breaks after the commit
	'W': nil, // one that the caller closes there
	'X': nil, // one that the caller cancels there
}

// plays makes one call for each letter and has a do it.
func (w *circuitWorld) plays(letters string) {
	for _, letter := range letters {
		ctx, cancel := context.WithCancel(w.t.Context())
		ask, do := chatJSON, outcomes[letter]
		switch letter {
		case 'L': // earns a pause of up to 16s
			elapse(16 * time.Second)
			defer elapse(16 * time.Second)
		case 'C':
			do = func(req *http.Request) (*http.Response, error) { cancel(); return nil, req.Context().Err() }
		case 'D', 'N', 'd', 'n':
			d := time.Hour
			if letter > 'Z' {
				d = 10 * time.Millisecond
			}
			ctx, cancel = context.WithTimeout(w.t.Context(), d)
			if letter == 'D' || letter == 'd' {
				ctx = WithCall(ctx, Call{Endpoint: "a"})
			}
			do = func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
		case 'B':
			ask, do = chatStream, breaks(asStream, goodEvent)
		case 'W', 'X':
			w.leaves(letter == 'X')
			continue
		}
		w.base.Set("a", do)
		asks(ctx, w.rt, ask)
		cancel()
	}
}

// leaves makes a call that leaves a's stream after its first event.
func (w *circuitWorld) leaves(cancels bool) {
	piped := newPiped()
	w.base.Set("a", piped.RoundTrip)
	h := piped.hold(w.t, w.rt)
	if cancels {
		h.cancel()
		h.readAll()
	}
	h.leave()
}

// circuit is how a's circuit of a model stands.
func (w *circuitWorld) circuit(model string) CircuitStatus {
	w.t.Helper()
	for _, e := range w.rt.Status().Endpoints {
		for _, c := range e.Circuits {
			if e.Name == "a" && c.Model == model {
				return c
			}
		}
	}
	w.t.Fatalf("there is no circuit of %q at a", model)
	return CircuitStatus{}
}

// reaches reports whether the next call goes to a.
func (w *circuitWorld) reaches() bool {
	before := w.base.Count("a")
	asks(w.t.Context(), w.rt, chatJSON)
	return w.base.Count("a") > before
}

// Which ends of attempts are failures, which successes, and which count for
// nothing. How many of them open a circuit is for internal/circuit to test.
func TestCircuit_Opens(t *testing.T) {
	repeat := strings.Repeat
	inARow := BreakerPolicy{FailureRate: Off}
	byRate := BreakerPolicy{Consecutive: Off}
	for _, tt := range []struct {
		name   string
		policy BreakerPolicy
		plays  string
		open   bool
	}{
		{"five in a row", inARow, "FFFFF", true},
		{"four in a row", inARow, "FFFF", false},
		{"a success between", inARow, "FFFFSFFFF", false},
		{"three where three are asked for", BreakerPolicy{FailureRate: Off, Consecutive: 3}, "FFF", true},
		{"one less than 100 where 100 are asked for", BreakerPolicy{FailureRate: Off, Consecutive: 100}, repeat("F", 99), false},
		{"100 where 100 are asked for", BreakerPolicy{FailureRate: Off, Consecutive: 100}, repeat("F", 100), true},
		{"every kind of failure", inARow, "FEJID", true},
		{"the callers' deadlines", inARow, "DDDDD", true},
		{"no first tokens", inARow, "NNNNN", true},
		{"deadlines that no answer would keep", inARow, "dddddddd", false},
		{"halves of deadlines that no answer would keep", inARow, "nnnnnnnn", false},
		{"deadlines that no answer would keep do not hide the failures", inARow, "FFdFnFdF", true},
		{"every kind of failure but one", inARow, "FEJI", false},
		{"redirects of the endpoint addressed", inARow, "33333333", false},
		{"429s", inARow, "RRRRRRRR", false},
		{"429s inside a 200", inARow, "LLLLLLLL", false},
		{"429s between do not hide the failures", inARow, "FFRFRFRF", true},
		{"401s of the caller's own key", inARow, "UUUUUUUU", false},
		{"402s of the caller's own key", inARow, "PPPPPPPP", false},
		{"401s between do not hide the failures", inARow, "FFUFUFPF", true},
		{"cancels", inARow, "CCCCCCCC", false},
		{"cancels between do not hide the failures", inARow, "FFCFCFCF", true},
		{"4xx is a success", inARow, "FFFF4FFFF", false},
		{"streams that break behind the commit", inARow, "BBBBB", true},
		{"streams that break, and other failures", inARow, "FBFBF", true},
		{"a stream that the caller closes is a success", inARow, "FFFFWFFFF", false},
		{"streams that the callers cancel do not hide the failures", inARow, "FFXFXFXF", true},
		{"streams that the callers cancel", inARow, repeat("X", 8), false},

		{"half of twenty", byRate, repeat("SF", 10), true},
		{"neutral outcomes are no results", byRate, repeat("RF", 19) + "CCRR", false},
		{"neutral outcomes do not thin the failures", byRate, repeat("RSF", 10), true},
		{"another share of other many", BreakerPolicy{Consecutive: Off, FailureRate: 0.8, MinRequests: 5}, "SFFFF", true},
		{"all streams break, where all must fail", BreakerPolicy{Consecutive: Off, FailureRate: 1, MinRequests: 5}, "BBBBB", true},
		{"4xx count as results", byRate, repeat("4F", 10), true},

		{"default: five in a row", BreakerPolicy{}, "FFFFF", true},
		{"default: half of twenty", BreakerPolicy{}, repeat("SF", 10), true},
		{"off", BreakerPolicy{FailureRate: Off, Consecutive: Off}, repeat("F", 50), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inCircuitWorld(t, tt.policy, func(t *testing.T, w *circuitWorld) {
				w.plays(tt.plays)
				if tt.name != "off" {
					if open := w.circuit("m").State == "open"; open != tt.open {
						t.Errorf("%s: open = %v, want %v", tt.plays, open, tt.open)
					}
				}
				w.base.Set("a", outcomes['S'])
				if reaches := w.reaches(); reaches == tt.open {
					t.Errorf("%s: the next call goes there: %v, want %v", tt.plays, reaches, !tt.open)
				}
			})
		})
	}
}

// A probe that ends neutral proves nothing: the next may follow at once.
func TestCircuit_NeutralProbe(t *testing.T) {
	for _, letter := range "CRUP" {
		inCircuitWorld(t, BreakerPolicy{}, func(t *testing.T, w *circuitWorld) {
			w.plays("FFFFF")
			elapse(5 * time.Second)
			w.plays(string(letter))
			if s := w.circuit("m"); s.State != "half-open" {
				t.Errorf("%c: behind a neutral probe: %+v, want half-open", letter, s)
			}
			w.plays("S")
			if s := w.circuit("m"); s.State != "closed" {
				t.Errorf("%c: behind the next: %+v, want closed", letter, s)
			}
		})
	}
}

// A probe closes the circuit at its commit, not at the end of a long stream. If the
// stream breaks later, that counts as a failure.
func TestCircuit_ClosesAtCommit(t *testing.T) {
	inCircuitWorld(t, BreakerPolicy{Consecutive: 1}, func(t *testing.T, w *circuitWorld) {
		w.plays("F")
		elapse(5 * time.Second)
		broken := make(chan struct{})
		w.base.Set("a", func(*http.Request) (*http.Response, error) {
			rest := fakehost.ReaderFunc(func([]byte) (int, error) { <-broken; return 0, errors.New("reset") })
			return answerFrom(200, asStream, io.MultiReader(strings.NewReader(goodEvent), rest)), nil
		})
		req, _ := post(t.Context(), "https://a", chatStream)
		resp, err := w.rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if s := w.circuit("m"); s.State != "closed" {
			t.Errorf("at the commit: %+v, want closed", s)
		}
		close(broken)
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("the stream ended cleanly")
		}
		resp.Body.Close()
		if s := w.circuit("m"); s.State != "open" {
			t.Errorf("behind the break: %+v, want open", s)
		}
	})
}

// Invariant 14: a probe that is slow but well lets others follow after 3s, and
// its success closes the circuit, whoever followed.
func TestCircuit_SlowProbeLetsOthersFollow(t *testing.T) {
	for _, alone := range []bool{false, true} {
		t.Run(fmt.Sprintf("alone %v", alone), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(gives(200, asJSON, goodJSON))
				opts := []Option{once, WithEndpoints(Endpoint{Name: "a", URL: "https://a"}), WithBalance(BalancePolicy{Ramp: Off})}
				if !alone {
					opts = append(opts, WithBackup(at("b")...))
				}
				rt := over(t, base, opts...)
				w := &circuitWorld{t, base, rt}
				w.plays("FFFFF")
				elapse(5 * time.Second)
				start := time.Now()
				var mu sync.Mutex
				var times []time.Duration
				base.Set("a", func(*http.Request) (*http.Response, error) {
					mu.Lock()
					times = append(times, time.Since(start))
					mu.Unlock()
					elapse(9500 * time.Millisecond)
					return answer(200, asJSON, goodJSON), nil
				})
				var callers sync.WaitGroup
				var unanswered []string
				for n := range 12 { // one a second
					callers.Go(func() {
						elapse(time.Duration(n)*time.Second + time.Millisecond)
						if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
							mu.Lock()
							unanswered = append(unanswered, fmt.Sprintf("%d: %v", n, got))
							mu.Unlock()
						}
					})
				}
				elapse(9502 * time.Millisecond) // the first probe has succeeded
				if s := w.circuit("m"); s.State != "closed" {
					t.Errorf("behind the first probe's success: %+v, want closed", s)
				}
				callers.Wait()
				mu.Lock()
				defer mu.Unlock()
				slices.Sort(times)
				var seconds []int
				for _, d := range times {
					seconds = append(seconds, int(d.Seconds()))
				}
				if got := fmt.Sprint(seconds); !strings.HasPrefix(got, "[0 3 6 9 10 11") && !alone {
					t.Errorf("attempts at %s, want a further one every 3s until the first succeeds, then all", got)
				}
				if alone && len(times) < 4 {
					t.Errorf("attempts at %v, want one every 3s at least", seconds)
				}
				if len(unanswered) > 0 && !alone {
					t.Errorf("unanswered with a backup: %v", unanswered)
				}
			})
		})
	}
}

// The last endpoint that could serve is not shut out by its own circuit:
// callers probe it, one at a time, and the others are told.
func TestCircuit_LastEndpointIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(failing503)
		rt := over(t, base, once, WithEndpoints(at("a")...))
		for range 5 {
			asks(t.Context(), rt, chatJSON)
		}
		before, start := base.Count("a"), time.Now()
		for range 4 {
			elapse(time.Millisecond)
			if got := asks(t.Context(), rt, chatJSON); got.status() != 503 {
				t.Errorf("a probe gave %v, want the host's 503", got)
			}
		}
		if n, took := base.Count("a")-before, time.Since(start); n != 4 || took != 3001*time.Millisecond {
			t.Errorf("4 callers made %d probes in %v, want 4, the first at once and then one a second", n, took)
		}
		w := &circuitWorld{t, base, rt}
		if s := w.circuit("m"); s.State != "open" || time.Until(s.Until) != 5*time.Second-3001*time.Millisecond {
			t.Errorf("forced probes changed the pause: %+v, want open for 5s", s)
		}
		elapse(5 * time.Second)
		asks(t.Context(), rt, chatJSON)
		if s := w.circuit("m"); s.State != "open" || time.Until(s.Until) != 10*time.Second {
			t.Errorf("behind the pause a probe failed: %+v, want open for twice as long, 10s", s)
		}
		base.Set("a", gives(200, asJSON, goodJSON))
		elapse(time.Millisecond)
		if got := asks(t.Context(), rt, chatJSON); got.status() != 200 || w.circuit("m").State != "closed" {
			t.Errorf("recovered: %v and %+v, want an answer and a closed circuit", got, w.circuit("m"))
		}
	})
}

// Who may not even probe is told so: somebody else's probe is under way and
// fails, or hangs.
func TestCircuit_OpenAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(failing503)
		rt := over(t, base, once, WithEndpoints(at("a")...))
		for range 5 {
			asks(t.Context(), rt, chatJSON)
		}
		base.Set("a", func(req *http.Request) (*http.Response, error) { elapse(time.Second); return failing503(req) })
		before := base.Count("a")
		elapse(time.Millisecond)
		go asks(t.Context(), rt, chatJSON)
		synctest.Wait()
		got := asks(t.Context(), rt, chatJSON)
		if n := base.Count("a") - before; n != 1 {
			t.Errorf("%d attempts, want the one probe", n)
		}
		if got.status() != 503 || got.header(headerError) != "circuit_open" || got.header(headerRetry) != "false" ||
			!errors.Is(ErrorOf(got.resp), ErrCircuitOpen) || !strings.Contains(got.body, `"code":"circuit_open"`) {
			t.Errorf("the other caller was told %v, %v", got, ErrorOf(got.resp))
		}
		elapse(time.Second)
	})
}

// Each model at each endpoint has a circuit of its own.
func TestCircuit_ByModelAndEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		ends := at("a", "b")
		ends[0].Models = map[string]string{"m": "x", "n": "y", "o": "x"}
		rt := over(t, base, once, WithEndpoints(ends[0]), WithBackup(ends[1]))
		base.Set("a", failing503)
		for range 5 {
			asks(t.Context(), rt, chatJSON)
		}
		base.Set("a", gives(200, asJSON, goodJSON))
		for _, tt := range []struct{ model, by string }{{"m", "b"}, {"n", "a"}, {"o", "b"}} { // o is m there
			got := asks(t.Context(), rt, strings.Replace(chatJSON, `"m"`, `"`+tt.model+`"`, 1))
			if got.header(headerEndpoint) != tt.by {
				t.Errorf("model %s was served by %s, want %s", tt.model, got.header(headerEndpoint), tt.by)
			}
		}
		got := fmt.Sprint(rt.Status().Endpoints[0].Circuits, rt.Status().Endpoints[1].Circuits)
		if !strings.HasPrefix(got, "[{x open ") || !strings.Contains(got, "{y closed ") || !strings.Contains(got, "[{m closed ") {
			t.Errorf("circuits: %s", got)
		}
	})
}

// A panic of the base frees the slot of its probe (invariant 4).
func TestCircuit_PanicFreesTheProbe(t *testing.T) {
	inCircuitWorld(t, BreakerPolicy{}, func(t *testing.T, w *circuitWorld) {
		w.plays("FFFFF")
		elapse(5 * time.Second)
		for range 3 {
			w.base.Set("a", func(*http.Request) (*http.Response, error) { panic("boom") })
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic did not reach the caller: nothing was tested")
					}
				}()
				asks(t.Context(), w.rt, chatJSON)
			}()
		}
		w.plays("S")
		if s := w.circuit("m"); s.State != "closed" {
			t.Errorf("the next probe left the circuit %+v, want closed", s)
		}
	})
}

// Each change of state is told once, in order.
func TestCircuit_Events(t *testing.T) {
	var told []string
	inCircuitWorld(t, BreakerPolicy{}, func(t *testing.T, w *circuitWorld) {
		w.plays("FFFFF")
		w.plays("FFF")
		elapse(5 * time.Second)
		w.plays("F")
		elapse(10 * time.Second)
		w.plays("S")
		want := "a m closed-open 5s, a m open-half-open 0s, a m half-open-open 10s, a m open-half-open 0s, a m half-open-closed 0s"
		if got := strings.Join(told, ", "); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	}, WithObserver(func(_ context.Context, e Event) {
		if e.Kind == KindCircuit {
			told = append(told, fmt.Sprintf("%s %s %s-%s %v", e.Endpoint, e.Model, e.From, e.To, e.Wait))
		}
	}))
}

// Invariant 14: callers who come while the last endpoint's open circuit is
// being probed wait for the probe instead of failing beside a host that is well.
func TestCircuit_CallersWaitForTheProbe(t *testing.T) {
	for _, tt := range []struct {
		name     string
		recovers bool
		slow     time.Duration // of the host
		want     map[int]int   // calls by the status of their answer
		took     time.Duration
		asked    int           // requests the host sees
		deadline time.Duration // of each call
	}{
		{"the probe succeeds", true, time.Second, map[int]int{200: 10}, 2292481250, 10, time.Hour}, // the last of nine follows when twice four have
		{"the probe succeeds, and nobody has the time that it may take", true, time.Second, map[int]int{200: 10}, 2292481250, 10, circuit.ProbeGrace - time.Millisecond},
		{"the probe fails", false, time.Second, map[int]int{500: 1, 503: 9}, time.Second, 1, time.Hour},
		{"the probe is slow but well, so another one follows", true, 20 * time.Second, map[int]int{200: 2, 503: 8}, 23 * time.Second, 2, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				asked, broken := 0, true
				rt, err := New(steady(), WithRetry(RetryPolicy{Attempts: 1}), WithBase(RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					mu.Lock()
					asked++
					fails := broken
					mu.Unlock()
					if !fails {
						<-time.After(tt.slow)
					}
					if fails || !tt.recovers {
						return answer(500, asJSON, `{"error":{"message":"down"}}`), nil
					}
					return answer(200, asJSON, goodJSON), nil
				})))
				if err != nil {
					t.Fatal(err)
				}
				call := func() int {
					ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
					defer cancel()
					req, _ := post(ctx, "http://host.test", chatJSON)
					resp, err := rt.RoundTrip(req)
					if err != nil {
						t.Error(err)
						return 0
					}
					resp.Body.Close()
					return resp.StatusCode
				}
				for range 5 {
					call()
				}
				mu.Lock()
				asked, broken = 0, false
				mu.Unlock()
				<-time.After(time.Millisecond) // the circuit counts from the instant it opened
				start := time.Now()
				var wg sync.WaitGroup
				counts := make(map[int]int)
				for range 10 {
					wg.Go(func() {
						status := call()
						mu.Lock()
						counts[status]++
						mu.Unlock()
					})
				}
				wg.Wait()
				if took := time.Since(start); !maps.Equal(counts, tt.want) || took != tt.took || asked != tt.asked {
					t.Errorf("answers by status %v after %v and %d requests, want %v, %v, %d", counts, took, asked, tt.want, tt.took, tt.asked)
				}
			})
		})
	}
}

// How long a call waits while its only endpoint's circuit is open, and what it is told.
func TestCircuit_MaxWait(t *testing.T) {
	const ms = time.Millisecond
	own := func(seconds string) []string { return []string{"503", "circuit_open", seconds} }
	hosts, unreachable, answered := []string{"503", "", ""}, []string{"503", "unreachable", "1"}, []string{"200", "", ""}
	for _, tt := range []struct {
		name     string
		maxWait  time.Duration
		probe    handler       // of another call, which begins 1ms before this one; nil: one has just failed
		then     handler       // what the host does after that
		recovers time.Duration // when the host is well again; 0: never
		deadline time.Duration
		tries    int // Attempts
		took     time.Duration
		want     []string // status, Breakwater-Error, Retry-After
		requests int      // of this call
	}{
		{"default: it is its turn in a second", 0, nil, failing503, 0, time.Hour, 1, 999 * ms, hosts, 1},
		{"the same, unreachable", 0, nil, refusing, 0, time.Hour, 1, 999 * ms, unreachable, 1},
		{"the same, with retries", 0, nil, failing503, 0, time.Hour, 3, 999 * ms, hosts, 1},
		{"the same, and the host is well by then", 0, nil, failing503, 900 * ms, time.Hour, 1, 999 * ms, answered, 1},
		{"no wait that the caller's deadline would end", 0, nil, failing503, 0, 500 * ms, 1, 0, own("1"), 0},
		{"Off: at once", Off, nil, failing503, 0, time.Hour, 1, 0, own("1"), 0},
		{"Off: with retries, too", Off, nil, failing503, 0, time.Hour, 5, 0, own("1"), 0},
		{"no wait that is too short for its turn", 300 * ms, nil, failing503, 0, time.Hour, 1, 0, own("1"), 0},
		{"longer, and it tries no more", 5 * time.Second, nil, failing503, 0, time.Hour, 1, 999 * ms, hosts, 1},
		{"longer, and it may try again, at last when the pause is over", 5 * time.Second, nil, failing503, 0, time.Hour, 3, 3999499999, hosts, 3},
		{"longer, and the host is well by then", 5 * time.Second, nil, failing503, 2500 * ms, time.Hour, 3, 2999499999, answered, 2},
		{"longer than the deadline", 5 * time.Second, nil, failing503, 0, 2 * time.Second, 3, 999 * ms, hosts, 1},

		{"default: a probe that is slow but well", 0, slow(2*time.Second, gives(200, asJSON, goodJSON)), gives(200, asJSON, goodJSON), 0, time.Hour, 1, 1999 * ms, answered, 1},
		{"default: a slow probe that fails", 0, slow(2*time.Second, failing503), failing503, 0, time.Hour, 1, 1999 * ms, own("1"), 0},
		{"Off: no wait for a probe under way", Off, slow(2*time.Second, gives(200, asJSON, goodJSON)), gives(200, asJSON, goodJSON), 0, time.Hour, 1, 0, own("3"), 0},
		{"three times as long for a probe under way", 300 * ms, slow(2*time.Second, gives(200, asJSON, goodJSON)), gives(200, asJSON, goodJSON), 0, time.Hour, 1, 900 * ms, own("3"), 0},
		{"a slow probe that fails, and time for its own", 5 * time.Second, slow(2*time.Second, failing503), gives(200, asJSON, goodJSON), 0, time.Hour, 1, 1999*ms + 2, answered, 1},
		{"half of the deadline for a probe under way", 0, slow(2*time.Second, gives(200, asJSON, goodJSON)), failing503, 0, time.Second, 1, 500 * ms, own("3"), 0},
	} {
		for _, ask := range []string{chatJSON, chatStream} {
			bubble(t, tt.name+fmt.Sprint(ask == chatStream), func(t *testing.T) {
				base := newHosts(failing503)
				rt := over(t, base, WithEndpoints(at("a")...), WithBreaker(BreakerPolicy{MaxWait: tt.maxWait}), WithRetry(RetryPolicy{Attempts: tt.tries}))
				for range 5 {
					asks(WithCall(t.Context(), Call{Attempts: 1}), rt, ask)
				}
				elapse(time.Second)
				if tt.probe != nil {
					base.Set("a", tt.probe)
				}
				var other sync.WaitGroup
				defer other.Wait()
				other.Go(func() { asks(WithCall(context.Background(), Call{Attempts: 1}), rt, chatJSON) })
				elapse(time.Millisecond)
				base.Set("a", tt.then)
				if tt.recovers > 0 {
					time.AfterFunc(tt.recovers, func() { base.Set("a", gives(200, asJSON, goodJSON)) })
				}
				before, start := base.Count("a"), time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				got := asks(ctx, rt, ask)
				if took, n := time.Since(start), base.Count("a")-before; took != tt.took || n != tt.requests {
					t.Errorf("%v after %d requests, want %v after %d", took, n, tt.took, tt.requests)
				}
				if told := []string{fmt.Sprint(got.status()), got.header(headerError), got.header("Retry-After")}; !slices.Equal(told, tt.want) {
					t.Errorf("the caller was told %q, want %q", told, tt.want)
				}
				if own := tt.want[1] == "circuit_open"; own != errors.Is(ErrorOf(got.resp), ErrCircuitOpen) || own && !strings.Contains(got.body, `"code":"circuit_open"`) {
					t.Errorf("the caller was told %v, %v", got.body, ErrorOf(got.resp))
				}
			})
		}
	}
}

// slow is do after a while.
func slow(d time.Duration, do handler) handler {
	return func(req *http.Request) (*http.Response, error) {
		elapse(d)
		return do(req)
	}
}

// With MaxWait Off, calls fail at once in an outage, and yet somebody probes: the call that
// comes when a probe is due. A call that comes after the end of the outage is answered
// within a second. This holds on each wire, and whether or not a stale answer might do.
func TestCircuit_FailsFast(t *testing.T) {
	for _, tt := range []struct {
		name string
		ask  string
		opts []Option
	}{
		{"JSON", chatJSON, nil},
		{"stream", chatStream, nil},
		{"two endpoints", chatJSON, []Option{WithEndpoints(at("b")...)}},
		{"a backup", chatJSON, []Option{WithBackup(at("b")...)}},
		{"a cache", chatJSON, []Option{WithCache(CachePolicy{})}},
		{"a hedge", chatStream, []Option{WithEndpoints(at("b")...), WithStream(StreamPolicy{Hedge: time.Second})}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(slow(time.Millisecond, refusing))
			rt := over(t, base, append([]Option{WithEndpoints(at("a")...), WithBreaker(BreakerPolicy{MaxWait: Off})}, tt.opts...)...)
			var mu sync.Mutex
			var times []time.Duration // of failures, from 10s on
			var all sync.WaitGroup
			answered := time.Duration(-1)
			start := time.Now()
			const every, down = 10 * time.Millisecond, time.Minute
			for n := range 6200 {
				elapse(every)
				if time.Since(start) == down {
					base.Set("a", gives(200, asJSON, goodJSON))
				}
				all.Go(func() {
					began := time.Since(start)
					got := asks(t.Context(), rt, strings.Replace(tt.ask, "{", fmt.Sprintf(`{"n":1,"seed":%d,`, n), 1))
					mu.Lock()
					defer mu.Unlock()
					switch {
					case began < 10*time.Second:
					case got.status() != 200:
						times = append(times, time.Since(start)-began)
					case answered < 0:
						answered = began
					}
				})
				if n%1000 == 0 {
					synctest.Wait()
				}
			}
			all.Wait()
			slices.Sort(times)
			if median, p99 := times[len(times)/2], times[len(times)*99/100]; median > 0 || p99 > 2*time.Millisecond {
				t.Errorf("failures take %v in the median, %v at the 99th percentile", median, p99)
			}
			if n := base.Count("a"); n < 55+200 || n > 80+200 {
				t.Errorf("the host was asked %d times, want about one probe a second and the calls of two seconds", n)
			}
			if answered < down-every || answered > down+time.Second {
				t.Errorf("first answered after %v, want within a second of %v", answered, down)
			}
		})
	}
}

// A probe whose outcome comes while another call plans to wait for it is not
// waited for. A deadline is asked for in between.
func TestCircuit_ProbeEndsWhileACallPlans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends, asked := make(chan struct{}), 0
		rt := over(t, RoundTripperFunc(func(*http.Request) (*http.Response, error) {
			switch asked++; asked {
			case 1:
				return answer(500, asJSON, "{}"), nil
			case 2:
				<-ends
			}
			return answer(200, asJSON, goodJSON), nil
		}), WithBreaker(BreakerPolicy{Consecutive: 1, OpenFor: time.Minute}), WithRetry(RetryPolicy{Attempts: 1}))
		asks(t.Context(), rt, chatJSON)
		time.Sleep(circuit.ForcedEvery)
		probe := calls(t, rt, chatJSON)
		defer probe.cancel()
		end := sync.OnceFunc(func() { close(ends); synctest.Wait() })
		start := time.Now()
		got := asks(asksDeadline{t.Context(), end}, rt, chatJSON)
		if got.status() != 200 || time.Since(start) > 0 || asked != 3 {
			t.Errorf("%v after %v, %d asked; want an answer at once", got, time.Since(start), asked)
		}
	})
}

// asksDeadline is a context that tells when it is asked for its deadline.
type asksDeadline struct {
	context.Context
	asked func()
}

func (c asksDeadline) Deadline() (time.Time, bool) {
	c.asked()
	return c.Context.Deadline()
}

// A server behind a balancer is drained: connections that were kept still lead to it, and it
// refuses everything there for good; new ones lead to a server that is well. When a circuit
// opens, kept connections are given up, so the first probe finds out. The same over HTTP/2,
// where a stream is under way on the kept connection, and with the user's attempt
// middleware. A base of the user's is left alone.
func TestCircuit_DrainedConnections(t *testing.T) {
	type connection struct{}
	for _, tt := range []struct {
		name  string
		http2 bool
		opts  func(url string) []Option
		stays bool // the client keeps to the drained connection
	}{
		{"alone", false, func(string) []Option { return nil }, false},
		{"alone over HTTP/2", true, func(string) []Option { return nil }, false},
		{"an endpoint", false, func(url string) []Option { return []Option{WithEndpoints(Endpoint{URL: url, Keyless: true})} }, false},
		{"two endpoints of one origin", false, func(url string) []Option {
			return []Option{WithEndpoints(Endpoint{Name: "a", URL: url, APIKey: "sk-a"}, Endpoint{Name: "b", URL: url, APIKey: "sk-b"})}
		}, false},
		{"with attempt middleware", false, func(string) []Option {
			return []Option{WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper { return next })}
		}, false},
		{"over the user's base", false, func(string) []Option { return []Option{WithBase(newBase())} }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var made, drained atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				switch n := req.Context().Value(connection{}).(int64); {
				case strings.Contains(req.Header.Get("X-Test"), "stream"):
					w.Header().Set("Content-Type", "text/event-stream")
					io.WriteString(w, goodEvent)
					http.NewResponseController(w).Flush()
					<-req.Context().Done()
				case n <= drained.Load():
					w.WriteHeader(503)
					io.WriteString(w, `{"error":{"message":"drained"}}`)
				default:
					io.WriteString(w, goodJSON)
				}
			}))
			server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
				return context.WithValue(ctx, connection{}, made.Add(1))
			}
			server.EnableHTTP2 = tt.http2
			if tt.http2 {
				server.StartTLS()
			} else {
				server.Start()
			}
			defer server.Close()
			rt, err := New(append([]Option{once, WithBreaker(BreakerPolicy{FailureRate: Off})}, tt.opts(server.URL)...)...)
			if err != nil {
				t.Fatal(err)
			}
			defer rt.CloseIdleConnections()
			if tt.http2 {
				rt.now().config.base.(*http.Transport).TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
			}
			ask := func() int {
				req, _ := post(t.Context(), server.URL, chatJSON)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				io.Copy(io.Discard, resp.Body)
				return resp.StatusCode
			}
			if status := ask(); status != 200 {
				t.Fatalf("the first call got %d", status)
			}
			if tt.http2 { // a stream holds the connection
				req, _ := post(t.Context(), server.URL, chatStream)
				req.Header.Set("X-Test", "stream")
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
			}
			before := made.Load()
			drained.Store(before)
			most := 5 * max(len(rt.now().tiers), 1) * max(rt.now().count, 1) // failures, until the circuits of all endpoints are open
			failed := 0
			for failed <= most && ask() != 200 {
				failed++
			}
			if stays := failed > most; stays != tt.stays || stays && made.Load() > before {
				t.Errorf("%d calls failed over %d connections, %d of them new", failed, made.Load(), made.Load()-before)
			}
		})
	}
}
