package coalesce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/key"
)

// Events of a stream. All have the same length, except long ones.
func event(n int) string { return fmt.Sprintf("data: %03d\n\n", n) }

func longEvent(size int) string { return "data: " + strings.Repeat("x", size) + "\n\n" }

const lastEvent = "data: end\n\n"

// A tap is the body of an answer that comes as a test lets it. It tells the
// Completion what is read of it, as bodies do.
type tap struct {
	ctx  context.Context // ends its reads
	tell *Completion
	more chan struct{} // has an element if something was added

	mu     sync.Mutex // guards what follows
	chunks []chunk
	end    error // what reads return after the chunks; nil: they wait
	reads  int
	closed bool
}

type chunk struct {
	text    string
	payload bool
	then    func(*Completion) // runs when its first byte is read; nil: nothing does
	told    bool
}

func (b *tap) add(c chunk) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chunks = append(b.chunks, c)
	b.wake()
}

func (b *tap) wake() {
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// send adds an event with payload, ping one without.
func (b *tap) send(text string) { b.add(chunk{text: text, payload: true}) }
func (b *tap) ping(text string) { b.add(chunk{text: text}) }

// finish adds the last event, with which the answer is complete.
func (b *tap) finish() {
	b.add(chunk{text: lastEvent, then: func(c *Completion) { c.Complete("host", true, true, true) }})
}

// stop ends the body in err.
func (b *tap) stop(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end = err
	b.wake()
}

func (b *tap) Read(p []byte) (int, error) {
	for {
		if n, err, ok := b.take(p); ok {
			return n, err
		}
		select {
		case <-b.more:
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
	}
}

func (b *tap) take(p []byte) (int, error, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reads++; len(b.chunks) == 0 {
		return 0, b.end, b.end != nil
	}
	c := &b.chunks[0]
	if !c.told { // the whole event passes when its first byte does
		c.told = true
		if b.tell.mark().size == 0 { // what follows is no part of the answer
			b.tell.Pass(len(c.text), c.payload)
		}
		if c.then != nil {
			c.then(b.tell)
		}
	}
	n := copy(p, c.text)
	if c.text = c.text[n:]; c.text == "" {
		b.chunks = b.chunks[1:]
	}
	return n, nil, true
}

func (b *tap) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

func (b *tap) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// left is how many chunks nobody has read.
func (b *tap) left() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.chunks)
}

// A host makes the calls of a test's callers.
type host struct {
	Group
	answer func(n int, f *Flight) (Source, error) // the n-th call's, from 1
	held   int64
	unsent bool // its calls wait for their turn

	mu       sync.Mutex // guards what follows
	sent     int        // calls
	open     int        // under way
	most     int        // at once
	kept     []string
	taps     []*tap
	released atomic.Int32
}

// streaming returns a host whose answers are taps.
func streaming() *host {
	h := &host{}
	h.answer = func(_ int, f *Flight) (Source, error) { return h.stream(f), nil }
	return h
}

// stream is an answer that comes from a tap.
func (h *host) stream(f *Flight) Source {
	b := &tap{ctx: f.Context(), tell: &f.Completion, more: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taps = append(h.taps, b)
	return Source{Body: b, Success: true, Judged: true, Events: true, AsAsked: true}
}

// tap is the body of the n-th stream, from 1.
func (h *host) tap(n int) *tap {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.taps) < n {
		return nil
	}
	return h.taps[n-1]
}

// inOnePiece is a whole answer that may be kept.
func inOnePiece(f *Flight, text string) Source {
	f.Completion.Pass(len(text), true)
	f.Completion.Complete("host", true, true, true)
	return Source{Body: io.NopCloser(strings.NewReader("")), Whole: true, Data: []byte(text), End: io.EOF, Success: true, Judged: true, AsAsked: true}
}

// refused is what is said to one credential.
func refused(text string) Source {
	return Source{Body: io.NopCloser(strings.NewReader("")), Whole: true, Data: []byte(text), End: io.EOF}
}

// hangs answers nothing until its flight ends.
func hangs(f *Flight) (Source, error) {
	<-f.Context().Done()
	return Source{}, f.Context().Err()
}

type requests struct{ sent, open, most int }

func (h *host) requests() requests {
	h.mu.Lock()
	defer h.mu.Unlock()
	return requests{h.sent, h.open, h.most}
}

// A made is a call of a host's.
type made struct {
	host   *host
	flight *Flight
}

func (m *made) Start() (Source, error) {
	h := m.host
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
	return h.answer(n, m.flight)
}

func (m *made) Keep(answer []byte, forOthers bool) bool {
	if !forOthers {
		return false
	}
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	m.host.kept = append(m.host.kept, string(answer))
	return true
}

func (m *made) LastEvent(said []byte, _ error, open bool) []byte {
	text := ""
	if open {
		text = "\n\n"
	}
	if len(said) > 0 {
		return append([]byte(text), said...)
	}
	return []byte(text + "data: broke off\n\n")
}

func (m *made) IsSent() bool { return !m.host.unsent }

func (m *made) Release() { m.host.released.Add(1) }

func (h *host) isStored() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.kept) > 0
}

var question, _ = key.OfName("test").Key(key.Exact, nil, nil)

const (
	asJSON = iota
	asStream
)

// ask is what a caller asks for, as a stream, unless edits say otherwise.
func (h *host) ask(edits ...func(*Ask)) Ask {
	held := h.held
	if held == 0 {
		held = 1 << 20
	}
	ask := Ask{
		Key: question, Terms: Terms{Form: asStream, Attempts: 3}, Forms: []int{asStream, asJSON},
		Limits: Limits{First: 30 * time.Second, Stall: time.Minute, Held: held},
		Make:   func(f *Flight) Call { return &made{h, f} },
		OnLead: func() {}, Changed: func() bool { return false }, Stored: func() bool { return false },
	}
	for _, edit := range edits {
		edit(&ask)
	}
	return ask
}

func wantJSON(a *Ask) {
	a.Terms.Form, a.Forms, a.Limits.First = asJSON, []int{asJSON, asStream}, 5*time.Minute
}

func of(credential byte) func(*Ask) {
	return func(a *Ask) { a.Terms.Credential[0] = credential }
}

func alone(a *Ask) { a.Private = true }

// A caller waits for an answer and reads it.
type caller struct {
	cancel context.CancelFunc
	wait   *Wait
	result Result
	err    error         // of the call
	text   string        // that it has read
	ended  error         // of the answer
	took   time.Duration // until it had all
	done   bool
	panics any
}

// call asks for an answer and reads that, on this goroutine.
func (h *host) call(ctx context.Context, edits ...func(*Ask)) *caller {
	c := &caller{}
	h.follow(ctx, c, edits)
	return c
}

// begin does so on another goroutine, and returns when that waits.
func (h *host) begin(t *testing.T, edits ...func(*Ask)) *caller {
	t.Helper()
	return h.beginIn(t.Context(), edits...)
}

func (h *host) beginIn(ctx context.Context, edits ...func(*Ask)) *caller {
	c := &caller{}
	ctx, c.cancel = context.WithCancel(ctx)
	go h.follow(ctx, c, edits)
	synctest.Wait()
	return c
}

var errAskedAnew = errors.New("an answer has been kept meanwhile")

func (h *host) follow(ctx context.Context, c *caller, edits []func(*Ask)) {
	start := time.Now()
	defer func() {
		c.panics, c.took, c.done = recover(), time.Since(start), true
	}()
	f, err := h.take(ctx, c, h.ask(edits...))
	if c.err = err; err != nil || f == nil {
		return
	}
	defer f.Close()
	if data, end, ok := f.Whole(); ok {
		c.text, c.ended = string(data), end
		return
	}
	if all, ok := f.All(); f.WaitsForAll() && ok {
		c.text, c.ended = string(all), io.EOF
		return
	}
	f.Watch(ctx, nil)
	room := make([]byte, 4096)
	for c.ended == nil {
		var n int
		n, c.ended = f.Read(room)
		c.text += string(room[:n])
	}
}

// take waits for an answer, and returns whose the caller has.
func (h *host) take(ctx context.Context, c *caller, ask Ask) (f *Follower, err error) {
	if ask.Take == nil {
		ask.Take = func(s *Follower) bool {
			if _, ok := s.All(); s.WaitsForAll() && !ok {
				return false
			}
			f, err = s, s.Err()
			return true
		}
	}
	c.wait = h.Wait(ctx, ask)
	defer c.wait.Leave()
	for c.result == NoAnswer {
		if !c.wait.Join() {
			c.result = Stored
			return nil, errAskedAnew
		}
		var cause error
		if c.result, cause = c.wait.Await(); cause != nil {
			err = cause
		}
	}
	c.wait.HandOver()
	if c.result == Stored {
		err = errAskedAnew
	}
	return f, err
}

// isEmpty fails the test if a flight is left.
func (h *host) isEmpty(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if n, r := h.Len(), h.requests(); n != 0 || r.open != 0 || int(h.released.Load()) < r.sent {
		t.Errorf("left: flights of %d questions, %d calls open, %d of %d released, want none", n, r.open, h.released.Load(), r.sent)
	}
	for i, b := range h.taps {
		if !b.isClosed() {
			t.Errorf("body %d is open", i+1)
		}
	}
}
