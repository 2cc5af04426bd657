package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// ends collects the last events of calls.
type ends struct {
	mu    sync.Mutex
	calls []Event
	ended []Event
}

func (e *ends) observe(_ context.Context, ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch ev.Kind {
	case KindCall:
		e.calls = append(e.calls, ev)
	case KindEnd:
		e.ended = append(e.ended, ev)
	}
}

// logged counts the lines at each level, from Info on.
type logged struct {
	slog.Handler
	mu    sync.Mutex
	lines map[slog.Level]int
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[r.Level]++
	return nil
}

// One word says how a call was answered or failed: in the header when the caller gets the
// response, and in the last event and Status when the call is over. What the caller
// notices is a warning, once, and what was healed is none.
func TestEnd_Outcomes(t *testing.T) {
	good, stream := gives(200, asJSON, goodJSON), gives(200, asStream, wholeStream)
	cut := breaks(asStream, goodEvent)
	restart := WithStream(StreamPolicy{Rescue: RescueRestart})
	one := WithRetry(RetryPolicy{Attempts: 1})
	cached := WithCache(CachePolicy{TTL: time.Second})
	limited := WithRateLimit(RatePolicy{PerSecond: 0.01, Burst: 1, MaxWait: Off})
	theirs := func(req *http.Request) { req.Header.Set("Authorization", "Bearer sk-caller") }
	type after = func(t *testing.T, rt *Transport, base *fakehost.Base)
	asked := func(t *testing.T, rt *Transport, _ *fakehost.Base) { asks(t.Context(), rt, chatJSON) }
	for _, tt := range []struct {
		name     string
		ask      string
		a, b     handler // b: nil if there is no backup
		opts     []Option
		edit     func(*http.Request)
		before   after
		call     Call
		word     Outcome // in the header
		end      Outcome // empty: the same
		fault    Fault
		warnings int
		healed   bool
	}{
		{name: "ok", a: good, word: OutcomeOK},
		{name: "a stream", ask: chatStream, a: stream, word: OutcomeOK},
		{name: "again", a: fakehost.Script(good, failing503), word: OutcomeRetry, healed: true},
		{name: "elsewhere", a: failing503, b: good, opts: []Option{one}, word: OutcomeFailover, healed: true},
		{name: "elsewhere, for an open circuit", a: refusing, b: good, opts: []Option{one, WithBreaker(BreakerPolicy{Consecutive: 1})}, before: asked, word: OutcomeFailover, healed: true},
		{name: "elsewhere, for a model that only one has", a: good, b: good, opts: nil, call: Call{Endpoint: "b"}, word: OutcomeOK},
		{name: "a hedge", a: fakehost.After(time.Minute, good), b: good, opts: []Option{WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true})}, word: OutcomeHedge, healed: true},
		{name: "a hedge that loses", a: fakehost.After(2*time.Second, good), b: fakehost.After(time.Minute, good), opts: []Option{WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true})}, word: OutcomeOK},
		{name: "rescued", ask: chatStream, a: fakehost.Script(stream, cut), opts: []Option{restart}, word: OutcomeOK, end: OutcomeRescued, healed: true},
		{name: "elsewhere, and rescued", ask: chatStream, a: failing503, b: fakehost.Script(stream, cut), opts: []Option{one, restart}, word: OutcomeFailover, end: OutcomeRescued, healed: true},
		{name: "cut", ask: chatStream, a: cut, word: OutcomeOK, end: Outcome(ClassTruncated), fault: FaultHost, warnings: 2},
		{name: "cut, and nobody continues it", ask: chatStream, a: cut, opts: []Option{restart, WithRetry(RetryPolicy{Budget: Off})}, word: OutcomeOK, end: Outcome(ClassTruncated), fault: FaultHost, warnings: 2},
		{name: "malformed", ask: chatStream, a: gives(200, asStream, goodEvent+"data: {\n\n"), word: OutcomeOK, end: Outcome(ClassBadResponse), fault: FaultHost, warnings: 2},
		{name: "a hit", a: good, opts: []Option{cached}, before: asked, word: OutcomeHit},
		{name: "stale", a: fakehost.Script(failing503, good), opts: []Option{cached, one}, before: func(t *testing.T, rt *Transport, h *fakehost.Base) {
			asked(t, rt, h)
			elapse(time.Minute)
		}, word: OutcomeStale, healed: true},
		{name: "nothing kept", a: good, opts: []Option{cached}, edit: with("Cache-Control", "only-if-cached"), word: Outcome(ClassNotCached), fault: FaultCaller},
		{name: "the answer of its key", a: good, opts: []Option{idempotent}, before: func(t *testing.T, rt *Transport, _ *fakehost.Base) {
			asks(t.Context(), rt, chatJSON, underKey("k"))
		}, edit: underKey("k"), word: OutcomeHit},
		{name: "a key of another request", a: good, opts: []Option{idempotent}, before: func(t *testing.T, rt *Transport, _ *fakehost.Base) {
			asks(t.Context(), rt, chatStream, underKey("k"))
		}, edit: underKey("k"), word: Outcome(ClassIdempotencyReused), fault: FaultCaller, warnings: 1},
		{name: "a key that is none", a: good, opts: []Option{idempotent}, edit: underKey(""), word: Outcome(ClassIdempotencyInvalid), fault: FaultCaller, warnings: 1},
		{name: "down", a: refusing, opts: []Option{one}, word: Outcome(ClassUnreachable), fault: FaultNetwork, warnings: 1},
		{name: "down, by the host's own word", a: failing503, opts: []Option{one}, word: Outcome(ClassUnavailable), fault: FaultHost, warnings: 1},
		{name: "both down", a: failing503, b: refusing, opts: []Option{one}, word: Outcome(ClassUnavailable), fault: FaultHost, warnings: 1},
		{name: "cached, and down", a: failing503, opts: []Option{cached, one}, word: Outcome(ClassUnavailable), fault: FaultHost, warnings: 1},
		{name: "throttled", a: gives(429, asJSON, "{}"), opts: []Option{one}, word: Outcome(ClassRateLimited), fault: FaultHost, warnings: 1},
		{name: "cut JSON", a: gives(200, asJSON, goodJSON[:30]), opts: []Option{one}, word: Outcome(ClassBadResponse), fault: FaultHost, warnings: 1},
		{name: "refused", a: gives(400, asJSON, "{}"), word: Outcome(ClassRefused), fault: FaultCaller, warnings: 1},
		{name: "refused, cached", a: gives(400, asJSON, "{}"), opts: []Option{cached}, word: Outcome(ClassRefused), fault: FaultCaller, warnings: 1},
		{name: "redirected", a: gives(307, asJSON, "{}", "Location", "/elsewhere"), word: Outcome(ClassRedirected), fault: FaultCaller},
		{name: "the caller's key", a: gives(401, asJSON, "{}"), edit: theirs, opts: []Option{WithEndpoints(Endpoint{Name: "a", URL: "https://a"})}, word: Outcome(ClassKeyRejected), fault: FaultCaller, warnings: 1},
		{name: "the endpoint's key", a: gives(401, asJSON, "{}"), word: Outcome(ClassKeyRejected), fault: FaultLocal, warnings: 1},
		{name: "paused", a: gives(429, asJSON, "{}", "Retry-After", "300"), opts: []Option{one}, before: asked, word: Outcome(ClassPaused), fault: FaultHost, warnings: 1},
		{name: "limited", a: good, opts: []Option{limited}, before: asked, word: Outcome(ClassLimited), fault: FaultLocal, warnings: 1},
		{name: "nobody has the name", a: good, call: Call{Endpoint: "x"}, word: Outcome(ClassUnserved), fault: FaultCaller, warnings: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen ends
				lines := logged{lines: make(map[slog.Level]int)}
				base := newHosts(good)
				base.Set("a", tt.a)
				opts := append(slices.Clone(tt.opts), WithObserver(seen.observe), WithObserver(Log(slog.New(&lines))))
				if !strings.HasPrefix(tt.name, "the caller's key") {
					opts = append(opts, WithEndpoints(at("a")...))
				}
				if tt.b != nil {
					base.Set("b", tt.b)
					opts = append(opts, WithBackup(at("b")...))
				}
				rt := over(t, base, opts...)
				if tt.before != nil {
					tt.before(t, rt, base)
				}
				earlier := len(seen.ended)
				before := rt.Status().Outcomes
				clear(lines.lines)
				ask, edit, end := tt.ask, tt.edit, tt.end
				if ask == "" {
					ask = chatJSON
				}
				if edit == nil {
					edit = func(*http.Request) {}
				}
				if end == "" {
					end = tt.word
				}
				got := asks(WithCall(t.Context(), tt.call), rt, ask, edit)
				synctest.Wait()
				if words := got.resp.Header[header.Outcome]; len(words) != 1 || Outcome(words[0]) != tt.word {
					t.Errorf("the header says %q, want %s: %v", words, tt.word, got)
				}
				if len(seen.ended) != earlier+1 || len(seen.calls) != earlier+1 {
					t.Fatalf("told of the ends %+v", seen.ended[earlier:])
				}
				call, last := seen.calls[earlier], seen.ended[earlier]
				if call.Outcome != tt.word || last.Outcome != end || last.Fault != tt.fault || last.Call == "" || last.Call != call.Call {
					t.Errorf("told of %s in %q and at the end of %s, fault %q, in %q, want %s, %s and %q", call.Outcome, call.Call, last.Outcome, last.Fault, last.Call, tt.word, end, tt.fault)
				}
				if last.Bytes != int64(len(got.body)) {
					t.Errorf("told of %d bytes, want %d", last.Bytes, len(got.body))
				}
				if n := rt.Status().Outcomes[end] - before[end]; n != 1 {
					t.Errorf("counted %d calls as %s, want 1", n, end)
				}
				warnings := lines.lines[slog.LevelWarn] + lines.lines[slog.LevelError]
				if tt.fault == FaultLocal && end == Outcome(ClassKeyRejected) {
					warnings-- // the key's own
				}
				if warnings != tt.warnings || (lines.lines[slog.LevelInfo] > 0) != (tt.healed || end == Outcome(ClassRedirected) || (tt.fault == FaultHost || tt.fault == FaultNetwork) && end != Outcome(ClassPaused)) {
					t.Errorf("logged %v, want %d warnings", lines.lines, tt.warnings)
				}
			})
		})
	}
}

// The event of each attempt that failed says who is at fault for it.
func TestEnd_AttemptsTellWhoIsAtFault(t *testing.T) {
	late := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, time.Minute)
	}
	for name, tt := range map[string]struct {
		a     handler
		keyed bool
		in    func(context.Context) (context.Context, context.CancelFunc)
		want  Fault
	}{
		"ok":                  {a: well, want: ""},
		"its own failure":     {a: failing503, want: FaultHost},
		"no connection":       {a: refusing, want: FaultNetwork},
		"refused":             {a: gives(400, asJSON, "{}"), want: FaultCaller},
		"the endpoint's key":  {a: gives(401, asJSON, "{}"), keyed: true, want: FaultLocal},
		"the caller's key":    {a: gives(401, asJSON, "{}"), want: FaultCaller},
		"late":                {a: hanging, in: late, want: FaultHost},
		"left before it came": {a: hanging, in: func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, 1) }, want: FaultCaller},
	} {
		bubble(t, name, func(t *testing.T) {
			var told []Event
			endpoint := at("a")[0]
			if !tt.keyed {
				endpoint.APIKey = ""
			}
			rt := over(t, newHosts(tt.a), WithEndpoints(endpoint), once, WithObserver(func(_ context.Context, e Event) {
				if e.Kind == KindAttempt {
					told = append(told, e)
				}
			}))
			ctx := t.Context()
			if tt.in != nil {
				c, cancel := tt.in(ctx)
				defer cancel()
				ctx = c
			}
			asks(ctx, rt, chatStream, with("Authorization", "Bearer sk-caller")) // a stream shows early whether it comes
			synctest.Wait()
			if len(told) != 1 || told[0].Fault != tt.want {
				t.Errorf("told of %+v, want one attempt by the fault of %q", told, tt.want)
			}
		})
	}
}

// A caller who leaves ends its call, too, and by its own fault.
func TestEnd_CallersWhoLeave(t *testing.T) {
	for _, cached := range []bool{false, true} {
		for name, tt := range map[string]struct {
			leave func(h *held)
			end   Outcome
		}{
			"closed":    {func(h *held) { h.resp.Body.Close() }, OutcomeOK},
			"cancelled": {func(h *held) { h.cancel() }, Outcome(ClassCanceled)},
			"read":      {func(h *held) { h.Send(endEvent + doneEvent); h.End(); h.readAll() }, OutcomeOK},
			"read to the terminator": {func(h *held) {
				h.Send(endEvent + doneEvent)
				io.ReadFull(h.resp.Body, make([]byte, len(endEvent+doneEvent)))
				h.resp.Body.Close()
			}, OutcomeOK},
			"broken": {func(h *held) { h.Break(errors.New("reset")); h.readAll() }, Outcome(ClassTruncated)},
			"left at the host's error": {func(h *held) {
				const failure = "data: {\"error\":{\"message\":\"no\",\"type\":\"server_error\"}}\n\n"
				h.Send(failure)
				h.End()
				buf := make([]byte, 1<<10)
				for n := 0; n < len(failure); { // some clients stop reading there
					k, err := h.resp.Body.Read(buf)
					if n += k; err != nil {
						t.Errorf("the event did not come: %v", err)
						return
					}
				}
				h.resp.Body.Close()
			}, Outcome(ClassUnavailable)},
		} {
			bubble(t, fmt.Sprintf("%s/%v", name, cached), func(t *testing.T) {
				var seen ends
				opts := []Option{WithObserver(seen.observe)}
				if cached {
					opts = append(opts, WithCache(CachePolicy{}))
				}
				base := newPiped()
				rt := over(t, base, opts...)
				h := base.hold(t, rt)
				synctest.Wait()
				if n := len(seen.ended); n != 0 {
					t.Fatalf("%d ends before the end", n)
				}
				elapse(time.Second)
				tt.leave(h)
				synctest.Wait()
				h.leave()
				synctest.Wait()
				if len(seen.ended) != 1 || seen.ended[0].Outcome != tt.end || seen.ended[0].Elapsed != time.Second || seen.ended[0].FirstToken != 0 {
					t.Errorf("told of %+v, want one end, %s, after 1s", seen.ended, tt.end)
				}
				if got := rt.Status().Outcomes; len(got) != 1 || got[tt.end] != 1 {
					t.Errorf("counted %v", got)
				}
			})
		}
	}
}

// The caller's own end, before any payload: by cancel or by deadline, for which the host is
// at fault if it had the time that it usually needs.
func TestEnd_CallersEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		end   func(context.Context) (context.Context, context.CancelFunc)
		word  Outcome
		fault Fault
	}{
		"cancel": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, Outcome(ClassCanceled), FaultCaller},
		"a short deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, Outcome(ClassDeadline), FaultCaller},
		"a long deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Hour)
		}, Outcome(ClassDeadline), FaultHost},
	} {
		for _, cached := range []bool{false, true} {
			bubble(t, fmt.Sprintf("%s/%v", name, cached), func(t *testing.T) {
				var seen ends
				opts := []Option{WithObserver(seen.observe)}
				if cached {
					opts = append(opts, WithCache(CachePolicy{}))
				}
				rt := over(t, newHosts(hanging), opts...)
				ctx, cancel := tt.end(t.Context())
				defer cancel()
				asks(ctx, rt, chatStream)
				synctest.Wait()
				if len(seen.ended) != 1 || seen.ended[0].Outcome != tt.word || !cached && seen.ended[0].Fault != tt.fault {
					t.Errorf("told of %+v, want one end, %s by %s", seen.ended, tt.word, tt.fault)
				}
			})
		}
	}
}

// Callers who share an attempt have ids and ends of their own, and each sees who made it.
func TestEnd_SharedCalls(t *testing.T) {
	for name, text := range map[string]string{"whole": goodEvent + finishEvent + doneEvent, "cut": goodEvent} {
		bubble(t, name, func(t *testing.T) {
			var seen ends
			var shared []Event
			var mu sync.Mutex
			base := newHosts(fakehost.After(time.Second, gives(200, asStream, text)))
			rt := over(t, base, WithCache(CachePolicy{}), WithObserver(seen.observe), WithObserver(func(_ context.Context, e Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.Kind == KindCacheShared {
					shared = append(shared, e)
				}
			}))
			leader := calls(t, rt, chatStream)
			elapse(time.Millisecond)
			follower := calls(t, rt, chatStream)
			elapse(time.Minute)
			synctest.Wait()
			words := []Outcome{OutcomeOK, OutcomeCollapsed}
			if name == "cut" {
				words = []Outcome{Outcome(ClassTruncated), Outcome(ClassTruncated)}
			}
			if len(seen.ended) != 2 || seen.ended[0].Call == seen.ended[1].Call {
				t.Fatalf("told of the ends %+v, want two", seen.ended)
			}
			for i, c := range seen.calls {
				if want := []Outcome{OutcomeOK, OutcomeCollapsed}; !slices.ContainsFunc(seen.ended, func(e Event) bool { return e.Call == c.Call && slices.Contains(words, e.Outcome) }) || !slices.Contains(want, c.Outcome) {
					t.Errorf("call %d is %+v", i, c)
				}
			}
			if leader.resp.Header.Get(headerOutcome) != "ok" || follower.resp.Header.Get(headerOutcome) != "collapsed" {
				t.Errorf("headers %v and %v", leader.resp.Header, follower.resp.Header)
			}
			if len(shared) != 1 || shared[0].From == "" || shared[0].From == shared[0].Call {
				t.Errorf("told of the shared attempts %+v, want who made it", shared)
			}
			if base.Count("") != 1 {
				t.Errorf("%d requests", base.Count(""))
			}
		})
	}
}

// Whatever hosts and callers do, each call is counted once when it is over, and has one last
// event with its own id.
func TestEnd_CountsAddUp(t *testing.T) {
	for seed := range uint64(ifFull(60, 12)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { campaignOfEnds(t, rand.New(rand.NewPCG(seed, 20))) })
		})
	}
}

func campaignOfEnds(t *testing.T, random *rand.Rand) {
	var mu sync.Mutex
	pick := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	base := newHosts(func(req *http.Request) (*http.Response, error) {
		if err := fakehost.Sleep(req.Context(), time.Duration(pick(3000))*time.Millisecond); err != nil {
			return nil, err
		}
		text, kind := goodJSON, asJSON
		if callOf(req.Context()).params.Stream {
			text, kind = wholeStream, asStream
		}
		switch pick(12) {
		case 0:
			return failing503(req)
		case 1:
			return refusing(req)
		case 2:
			return gives(429, asJSON, "{}", "Retry-After", "1")(req)
		case 3:
			return gives(400, asJSON, "{}")(req)
		case 4:
			return gives(200, kind, text[:len(text)/2])(req)
		case 5:
			return breaks(asStream, goodEvent)(req)
		case 6:
			return gives(200, kind, text, "Content-Encoding", "br")(req)
		case 7:
			return hanging(req)
		}
		return gives(200, kind, text)(req)
	})
	var seen ends
	opts := []Option{WithEndpoints(at("a", "b")...), WithBackup(at("c")...), WithObserver(seen.observe), WithRateLimit(RatePolicy{InFlight: 3, MaxWait: time.Second})}
	stream := quick
	stream.Rescue = []Rescue{RescueOff, RescueContinue, RescueRestart}[pick(3)]
	if pick(2) == 0 {
		stream.Hedge, stream.HedgeBackup = time.Second, pick(2) == 0
	}
	if pick(2) == 0 {
		opts = append(opts, WithCache(CachePolicy{TTL: 2 * time.Second}))
	}
	if pick(3) == 0 {
		opts = append(opts, WithErrors())
	}
	rt := over(t, base, append(opts, WithStream(stream))...)
	var callers sync.WaitGroup
	const n = 120
	for i := range n {
		elapse(time.Duration(pick(400)) * time.Millisecond)
		body, how, stays := question(i%7), pick(5), time.Duration(pick(4000))*time.Millisecond
		if i%2 == 0 {
			body = strings.Replace(chatStream, `"q"`, fmt.Sprintf(`"%d"`, i%7), 1)
		}
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			switch how {
			case 0:
				time.AfterFunc(stays, cancel)
			case 1:
				ctx, cancel = context.WithTimeout(ctx, stays+1)
				defer cancel()
			}
			req, _ := post(ctx, "https://a", body)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				return
			}
			if words := resp.Header[headerOutcome]; len(words) != 1 || !slices.Contains(endings[1:], Outcome(words[0])) {
				t.Errorf("the header says %q", words)
			}
			if how == 2 {
				resp.Body.Read(make([]byte, 10))
			} else {
				io.Copy(io.Discard, resp.Body)
			}
			resp.Body.Close()
		})
	}
	callers.Wait()
	elapse(time.Hour)
	synctest.Wait()
	s := rt.Status()
	sum := int64(0)
	for o, count := range s.Outcomes {
		sum += count
		if !slices.Contains(endings[1:], o) {
			t.Errorf("%d calls ended %q, which is not in the list", count, o)
		}
	}
	if sum != s.Calls || int(sum) != len(seen.ended) || len(seen.calls) != len(seen.ended) {
		t.Errorf("%d calls, %v ended, told of %d calls and %d ends", s.Calls, s.Outcomes, len(seen.calls), len(seen.ended))
	}
	ids := make(map[string]Event)
	for _, e := range seen.calls {
		ids[e.Call] = e
	}
	told := make(map[Outcome]int64)
	for _, e := range seen.ended {
		told[e.Outcome]++
		call, known := ids[e.Call]
		delete(ids, e.Call)
		if !known || e.Status != call.Status || e.Elapsed < call.Elapsed || (e.Fault == "") != e.Outcome.isAnswer() {
			t.Errorf("the end %+v\nof the call %+v", e, call)
		}
	}
	for o, count := range told {
		if s.Outcomes[o] != count {
			t.Errorf("counted %d as %s, told of %d", s.Outcomes[o], o, count)
		}
	}
}

// The list of Outcomes has no word twice, and each tells whose fault it is. That it has all
// classes is in TestClass_ConstantsAreThoseOfTheTable.
func TestEnd_ListIsClosed(t *testing.T) {
	if endings[firstAnswer] != OutcomeOK || endings[lastAnswer] != OutcomeCollapsed {
		t.Errorf("the answers are from %s to %s", endings[firstAnswer], endings[lastAnswer])
	}
	for i, o := range endings {
		if slices.Index(endings[:], o) != i {
			t.Errorf("%q is listed twice", o)
		}
		if i > 0 && o.isAnswer() != (i <= int(endingOf(OutcomeCollapsed))) {
			t.Errorf("%s is an answer: %v", o, o.isAnswer())
		}
		if i > 0 && (o.fault() == "") != o.isAnswer() {
			t.Errorf("%s is the fault of %q", o, o.fault())
		}
	}
}

// A host cannot speak in breakwater's name, and a Transport above another one has the last
// word, once.
func TestEnd_HeadersAreOurOwn(t *testing.T) {
	names := []string{headerOutcome, headerEndpoint, headerAttempts, headerError, "Breakwater-Of-The-Future", "breakwater-outcome"}
	lies := func(reply handler) handler {
		return func(req *http.Request) (*http.Response, error) {
			resp, err := reply(req)
			if err == nil {
				for _, name := range names {
					resp.Header[name] = []string{"theirs", "twice"}
				}
			}
			return resp, err
		}
	}
	inner := over(t, newHosts(lies(gives(200, asJSON, goodJSON))), WithEndpoints(at("a")...))
	for name, base := range map[string]http.RoundTripper{
		"a host":            newHosts(lies(gives(200, asJSON, goodJSON))),
		"a host that fails": newHosts(lies(failing503)),
		"a refusal":         newHosts(lies(gives(400, asJSON, "{}"))),
		"packed":            newHosts(lies(gives(200, asJSON, "?", "Content-Encoding", "br"))),
		"a stream":          newHosts(lies(gives(200, asStream, wholeStream))),
		"another Transport": RoundTripperFunc(func(req *http.Request) (*http.Response, error) { return inner.RoundTrip(req) }),
	} {
		for _, cached := range []bool{false, true} {
			opts := []Option{once, WithEndpoints(at("a")...)}
			if cached {
				opts = append(opts, WithCache(CachePolicy{}))
			}
			rt := over(t, base, opts...)
			for range 2 {
				got := asks(t.Context(), rt, chatJSON)
				for header, values := range got.resp.Header {
					if strings.HasPrefix(strings.ToLower(header), "breakwater-") && (len(values) != 1 || values[0] == "theirs") {
						t.Errorf("%s: %s is %q", name, header, values)
					}
				}
				if got.header(headerOutcome) == "" || got.resp.Header["Breakwater-Of-The-Future"] != nil {
					t.Errorf("%s: the header is %v", name, got.resp.Header)
				}
			}
		}
	}
}

// Nor can it in the response to another request that is meant for an endpoint. What is meant
// for none passes as it comes.
func TestEnd_HeadersOfOtherRequests(t *testing.T) {
	base := newHosts(gives(200, asJSON, "{}", headerOutcome, "theirs", "Breakwater-Of-The-Future", "theirs"))
	for _, e := range []Endpoint{{Name: "a", URL: "https://a", APIKey: "sk"}, {Name: "a", URL: "https://a", Keyless: true}} {
		rt := over(t, base, WithEndpoints(e))
		for _, method := range []string{"GET", "POST", "DELETE"} {
			for url, want := range map[string]bool{"https://a/files": false, "https://stranger/files": true} {
				req, _ := http.NewRequestWithContext(t.Context(), method, url, nil)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				for _, name := range []string{headerOutcome, "Breakwater-Of-The-Future"} {
					if theirs := resp.Header.Get(name) == "theirs"; theirs != want {
						t.Errorf("%s %s: %s of the host: %v", method, url, name, theirs)
					}
				}
			}
		}
	}
}

// An id of a call is short, and no other call has it.
func TestEnd_IDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 100_000 {
		id := newCallID()
		if seen[id] || len(id) > 13 || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
			t.Fatalf("the id %q", id)
		}
		seen[id] = true
	}
}
