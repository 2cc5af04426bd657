package breakwater

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
	"github.com/breakwater-go/breakwater/internal/test/leaktest"
)

// TestMain fails the run if goroutines are left behind by it.
func TestMain(m *testing.M) { leaktest.Main(m) }

// The headers that breakwater adds to a response.
const (
	headerEndpoint = header.Endpoint
	headerAttempts = header.Attempts
	headerOutcome  = header.Outcome
	headerError    = header.Error
	headerRetry    = header.ShouldRetry
)

// inFull reports whether campaigns are played, and bounds looked for, in full.
// The race detector makes them ten times as long, and what it is there for
// shows in a part of them: with it, and with -short, they are shorter. test.sh
// runs them both ways.
var inFull = sync.OnceValue(func() bool {
	build, _ := debug.ReadBuildInfo()
	raced := build != nil && slices.Contains(build.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
	return !raced && !testing.Short()
})

// ifFull is how often something is done: full times, or part of that.
func ifFull(full, part int) int {
	if inFull() {
		return full
	}
	return part
}

// What the tests say most often, for short.
const (
	asJSON, asStream     = fakehost.JSON, fakehost.Stream
	chatJSON, chatStream = fakehost.ChatJSON, fakehost.ChatStream
	goodJSON, goodEvent  = fakehost.GoodJSON, fakehost.GoodEvent
	endEvent, doneEvent  = fakehost.EndEvent, fakehost.DoneEvent
	finishEvent          = fakehost.FinishEvent
	usageEvent           = fakehost.UsageEvent
	wholeStream          = fakehost.WholeStream
)

type handler = fakehost.Handler

var (
	answer, answerFrom = fakehost.Answer, fakehost.AnswerFrom
	post, event        = fakehost.Post, fakehost.Event
	newHosts           = fakehost.New
	gives, breaks      = fakehost.Gives, fakehost.Breaks
	failing503         = handler(fakehost.Failing503)
	refusing           = handler(fakehost.Refusing)
	hanging            = handler(fakehost.Hanging)
	elapse             = fakehost.Elapse
)

// steady takes the chance out of delays: 500ms, 1s, 2s … by default; and out of
// who of a tier is compared with whose turn it is: the next in turn.
func steady() Option {
	return func(c *config) error {
		c.anything = true // tests have small bounds, and change options of other tests
		c.jitter = func(d time.Duration) time.Duration { return d }
		c.random = func(int) int { return 0 }
		c.newBackOff = func() backoff.BackOff {
			if c.retry.MinDelay == 0 {
				return &backoff.ZeroBackOff{}
			}
			return backoff.NewExponentialBackOff(
				backoff.WithInitialInterval(c.retry.MinDelay),
				backoff.WithMaxInterval(c.retry.MaxDelay),
				backoff.WithMultiplier(2),
				backoff.WithRandomizationFactor(0),
				backoff.WithMaxElapsedTime(0),
			)
		}
		return nil
	}
}

// anything has New take what nobody means, such as small bounds.
var anything Option = func(c *config) error {
	c.anything = true
	return nil
}

// once has a call try an account once.
var once = WithRetry(RetryPolicy{Attempts: 1})

// noBreaker has circuits stay closed.
var noBreaker = WithBreaker(BreakerPolicy{FailureRate: Off, Consecutive: Off})

// quick is for tests that break hosts in every way.
var quick = StreamPolicy{FirstToken: 2 * time.Second, Thinking: 2 * time.Second, Queued: 2 * time.Second, Stall: 2 * time.Second}

func bubble(t *testing.T, name string, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// over returns a Transport over base, with the chance taken out.
func over(t *testing.T, base http.RoundTripper, opts ...Option) *Transport {
	t.Helper()
	rt, err := New(append([]Option{steady(), WithBase(base)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close() }) // a renewal may be under way
	return rt
}

// at returns the endpoints of those names, each with a key of its own.
func at(names ...string) []Endpoint {
	var list []Endpoint
	for _, name := range names {
		list = append(list, Endpoint{Name: name, URL: "https://" + name, APIKey: "sk-" + name})
	}
	return list
}

// seen is what a caller saw of one call.
type seen struct {
	resp *http.Response // nil: err is RoundTrip's
	body string
	err  error
}

func (s seen) status() int {
	if s.resp == nil {
		return 0
	}
	return s.resp.StatusCode
}

func (s seen) header(name string) string {
	if s.resp == nil {
		return ""
	}
	return strings.Join(s.resp.Header.Values(name), ", ")
}

func (s seen) String() string {
	if s.resp == nil {
		return fmt.Sprintf("error %v", s.err)
	}
	return fmt.Sprintf("%d%s %q, %v", s.status(), callerHeaders(s.resp.Header), s.body, s.err)
}

// asks makes one call to the host named "a" and reads its answer to the end.
func asks(ctx context.Context, rt http.RoundTripper, body string, edit ...func(*http.Request)) seen {
	req, _ := post(ctx, "https://a", body)
	for _, e := range edit {
		e(req)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return seen{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return seen{resp, string(text), err}
}

// with sets a header of the call.
func with(name, value string) func(*http.Request) {
	return func(req *http.Request) { req.Header.Set(name, value) }
}

// question is a JSON question of its own for every n.
func question(n int) string {
	return fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"%d"}]}`, n)
}

// A caller follows one stream, in a goroutine of its own.
type caller struct {
	cancel context.CancelFunc
	resp   *http.Response
	err    error
	read   strings.Builder
	ended  error
	done   bool
}

// calls begins a call that reads on by itself.
func calls(t *testing.T, rt http.RoundTripper, body string, edit ...func(*http.Request)) *caller {
	c := &caller{}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(t.Context())
	go func() {
		defer func() { c.done = true }()
		req, _ := post(ctx, "https://a", body)
		for _, e := range edit {
			e(req)
		}
		if c.resp, c.err = rt.RoundTrip(req); c.err != nil {
			return
		}
		defer c.resp.Body.Close()
		buf := make([]byte, 4096)
		for c.ended == nil {
			var n int
			n, c.ended = c.resp.Body.Read(buf)
			c.read.Write(buf[:n])
		}
	}()
	synctest.Wait()
	return c
}

func deepSeekAt(name string) Endpoint {
	return Endpoint{Name: name, URL: "https://" + name, APIKey: "sk-" + name, Host: HostDeepSeek}
}

// stillHeld is what rt still holds of calls: permits, places in circuits, open
// attempts and flights; "": nothing, as it must be once all calls are over.
func stillHeld(rt *Transport) string {
	var permits, inCircuits, probes, attempts int
	for _, e := range rt.Status().Endpoints {
		for _, l := range e.Limits {
			permits += l.InFlight
		}
	}
	for _, e := range slices.Concat(slices.Collect(maps.Values(rt.now().origins.All())), slices.Concat(rt.now().tiers...)) {
		attempts += int(e.Load.Open())
		inUse, probing := e.circuits.InUse()
		inCircuits += inUse
		probes += probing
	}
	flights := 0
	if l := rt.now().cache; l != nil {
		l.renewals.mu.Lock()
		flights = l.shared.Len() + l.renewals.running
		l.renewals.mu.Unlock()
		if l.repeating != nil {
			flights += l.repeating.Len()
		}
	}
	if permits == 0 && inCircuits == 0 && probes == 0 && attempts == 0 && flights == 0 {
		return ""
	}
	return fmt.Sprintf("%d permits, %d attempts, %d of them in circuits, %d probes, %d flights", permits, attempts, inCircuits, probes, flights)
}

// A held is a call whose stream is open. Its Faucet is what the host sends on.
type held struct {
	*fakehost.Faucet
	resp   *http.Response
	cancel context.CancelFunc
}

// piped is a base whose answers are streams that begin with one event and go
// on as the test says.
type piped struct {
	*fakehost.Base
	opened chan *fakehost.Faucet
}

func newPiped() *piped {
	base, opened := fakehost.Faucets(goodEvent)
	return &piped{base, opened}
}

// hold makes a streaming call and leaves it open after its first event.
func (p *piped) hold(t *testing.T, rt http.RoundTripper) *held {
	t.Helper()
	return p.holdIn(t.Context(), t, rt)
}

func (p *piped) holdIn(ctx context.Context, t *testing.T, rt http.RoundTripper) *held {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	req, _ := post(ctx, "https://a", chatStream)
	resp, err := rt.RoundTrip(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("RoundTrip = %v, %v, want a stream", resp, err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, len(goodEvent))); err != nil {
		t.Fatal(err)
	}
	return &held{<-p.opened, resp, cancel}
}

func (h *held) readAll() { io.Copy(io.Discard, h.resp.Body) }

// leave ends the call.
func (h *held) leave() { h.resp.Body.Close(); h.cancel() }

// refused reports whether a call was refused for a local limit.
func refused(s seen) bool {
	return s.status() == 429 && s.header(headerError) == "rate_limited"
}
