package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
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
	chatJSON, chatStream = fakehost.AskJSON, fakehost.AskStream
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
	failing503         = handler(fakehost.Busy)
	refusing           = handler(fakehost.Refuses)
	hanging            = handler(fakehost.Hangs)
	elapse             = fakehost.Elapse
)

// steady takes the chance out of delays: 500ms, 1s, 2s … by default; and out of
// who of a tier is compared with whose turn it is: the next in turn.
func steady() Option {
	return func(c *config) error {
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

// A world is a fleet of fake hosts and a Transport over it, in virtual time,
// with everything that happens written down.
type world struct {
	t     *testing.T
	fleet *kit.Fleet
	rt    *Transport
	start time.Time
	wire  kit.Wire // of the calls

	mu    sync.Mutex
	lines []string
}

const (
	testModel   = "deepseek-flash"
	backupModel = "deepseek-v4-flash-ga"
)

// fleetOf returns two DeepSeek hosts and a backup elsewhere under another name.
func fleetOf() []kit.Host {
	backup := kit.OpenAI("backup")
	backup.BasePath = "/api/v3"
	backup.Models = []string{backupModel}
	backup.Keys = []string{"sk-backup"}
	primary, second := kit.DeepSeek("primary"), kit.DeepSeek("second")
	primary.Keys, second.Keys = []string{"sk-primary"}, []string{"sk-second"}
	return []kit.Host{primary, second, backup}
}

// inWorld runs f in a bubble with the fleet's named endpoints: those of the
// first tier, and the backup if it is among them.
func inWorld(t *testing.T, names string, opts []Option, f func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fleet, err := kit.NewPipeFleet(fleetOf()...)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, fleet: fleet, start: time.Now()}
		base := fleet.Transport()
		w.rt, err = New(append(append([]Option{steady(), WithBase(base), WithObserver(w.observe)}, w.endpoints(names)...), opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		f(w)
		w.rt.Close()
		base.CloseIdleConnections()
		fleet.Close()
	})
}

func (w *world) endpoints(names string) []Option {
	var opts []Option
	for name := range strings.FieldsSeq(names) {
		e := w.endpoint(name)
		if name == "backup" {
			opts = append(opts, WithBackup(e))
		} else {
			opts = append(opts, WithEndpoints(e))
		}
	}
	return opts
}

func (w *world) endpoint(name string) Endpoint {
	e := Endpoint{Name: name, URL: w.fleet.Server(name).URL(), APIKey: "sk-" + name, Host: HostDeepSeek}
	if name == "backup" {
		e.Host = HostOpenAI
		e.Models = map[string]string{testModel: backupModel}
	}
	return e
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf("%8.3fs  ", time.Since(w.start).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) observe(_ context.Context, e Event) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-11s", e.Kind)
	add := func(ok bool, format string, args ...any) {
		if ok {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	add(e.Endpoint != "", "%s", e.Endpoint)
	add(e.Attempt != 0, "#%d", e.Attempt)
	add(e.Status != 0, "%d", e.Status)
	add(e.Class != "", "%s", e.Class)
	add(e.Verdict != "", "-> %s", e.Verdict)
	add(e.Wait != 0, "wait %v", e.Wait)
	add(e.To != "", "%s -> %s", e.From, e.To)
	add(e.From != "" && e.To == "", "%s", e.From)
	w.note("%s", b.String())
}

// call asks one question and notes what the caller saw.
func (w *world) call(prompt string, stream bool) (kit.Reply, error) {
	return w.callWith(context.Background(), prompt, stream, nil)
}

func (w *world) callWith(ctx context.Context, prompt string, stream bool, edit func(*http.Request)) (kit.Reply, error) {
	w.t.Helper()
	server := w.fleet.Servers()[0]
	req, err := w.wire.Request(ctx, server.WireURL(w.wire), "sk-caller", testModel, prompt, stream)
	if err != nil {
		w.t.Fatal(err)
	}
	if edit != nil {
		edit(req)
	}
	on := ""
	if w.wire != kit.Chat {
		on = " on " + w.wire.String()
	}
	w.note("caller asks %q stream=%v%s", prompt, stream, on)
	resp, err := (&http.Client{Transport: w.rt}).Do(req)
	if err != nil {
		w.note("caller sees error: %s", sentinel(err))
		return kit.Reply{}, err
	}
	status, headers := resp.StatusCode, callerHeaders(resp.Header)
	reply, err := kit.ReadAnswer(resp)
	said := "part of an answer"
	switch {
	case reply.Content == kit.Answer(prompt) && reply.FinishReason == "stop":
		said = "the right answer"
	case reply.Content == "":
		said = "no answer"
	}
	if err != nil {
		said += ", error: " + sentinel(err)
	}
	w.note("caller sees %d%s: %s", status, headers, said)
	return reply, err
}

// callerHeaders tells the headers that are part of our behaviour.
func callerHeaders(h http.Header) string {
	var b strings.Builder
	for _, name := range []string{headerEndpoint, headerAttempts, headerError, headerRetry, "Retry-After", "Cache-Status", "Age"} {
		if v := h.Get(name); v != "" {
			fmt.Fprintf(&b, " %s=%q", strings.TrimPrefix(name, "Breakwater-"), v)
		}
	}
	return b.String()
}

// sentinel tells an error by what it is, for the text may vary.
func sentinel(err error) string {
	var status *kit.StatusError
	for name, target := range map[string]error{
		"ErrTruncated": ErrTruncated, "ErrStalled": ErrStalled, "ErrBadResponse": ErrBadResponse,
		"ErrNoFirstToken": ErrNoFirstToken, "deadline exceeded": context.DeadlineExceeded, "canceled": context.Canceled,
	} {
		if errors.Is(err, target) {
			return name
		}
	}
	if errors.As(err, &status) {
		return fmt.Sprintf("status %d", status.Code)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "unexpected EOF"
	}
	return err.Error()
}

// golden compares what was written down with the file of the test's name.
// UPDATE_GOLDEN=1 writes it instead.
func (w *world) golden() {
	w.t.Helper()
	w.mu.Lock()
	got := strings.Join(w.lines, "\n") + "\n"
	w.mu.Unlock()
	file := filepath.Join("testdata", "timelines", strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(w.t.Name(), "TestTimeline/"), "Test"), " ", "_")+".txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if got != string(want) {
		w.t.Errorf("timeline differs from %s\ngot:\n%swant:\n%s", file, got, want)
	}
}

// quick is for tests that break hosts in every way.
var quick = StreamPolicy{FirstToken: 2 * time.Second, Thinking: 2 * time.Second, Queued: 2 * time.Second, Stall: 2 * time.Second}

// stops are the faults that send no call to another host: the caller's to see,
// or over with the next connection.
var stops = map[string]bool{"ContentFilter": true, "IdleClosed": true}

func debugLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// ownText is the text of breakwater's own error inside err, if there is one.
func ownText(err error) string {
	var own *Error
	if errors.As(err, &own) {
		return own.Error()
	}
	return ""
}

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
	for _, e := range slices.Concat(slices.Collect(maps.Values(rt.origins.All())), slices.Concat(rt.tiers...)) {
		attempts += int(e.Load.Open())
		inUse, probing := e.circuits.InUse()
		inCircuits += inUse
		probes += probing
	}
	flights := 0
	if l := rt.cache; l != nil {
		l.renewals.mu.Lock()
		flights = l.shared.Len() + l.renewals.running
		l.renewals.mu.Unlock()
	}
	if permits == 0 && inCircuits == 0 && probes == 0 && attempts == 0 && flights == 0 {
		return ""
	}
	return fmt.Sprintf("%d permits, %d attempts, %d of them in circuits, %d probes, %d flights", permits, attempts, inCircuits, probes, flights)
}

// posts sends body to a URL with an http.Client on rt, as users do.
func posts(t *testing.T, rt http.RoundTripper, url, body string) seen {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Authorization": "Bearer sk-caller", "X-Api-Key": "sk-caller", "X-Tenant": "secret", "Content-Type": asJSON} {
		req.Header.Set(name, value)
	}
	resp, err := (&http.Client{Transport: rt}).Do(req)
	if err != nil {
		return seen{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return seen{resp, string(text), err}
}

var once = WithRetry(RetryPolicy{Attempts: 1})

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

// hold makes a streaming call and leaves it open behind its first event.
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

var noBreaker = WithBreaker(BreakerPolicy{FailureRate: Off, Consecutive: Off})
