package exchange_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// How streams end after the commit: what is read, and what the owner and an
// observer are told.
func TestStream_Ends(t *testing.T) {
	outOfResources := strings.Replace(endEvent, "stop", "insufficient_system_resource", 1)
	failing := strings.Replace(endEvent, `{"choices"`, `{"error":{"message":"no"},"choices"`, 1)
	for _, tt := range []struct {
		name     string
		text     string
		end      error // that the host's body ends in; nil: io.EOF
		reads    string
		class    outcome.Class
		err      error
		complete bool
		keepable bool
	}{
		{"whole", wholeStream, nil, wholeStream, outcome.OK, nil, true, true},
		{"whole, usage behind the answer", goodEvent + endEvent + fakehost.UsageEvent + doneEvent, nil, goodEvent + endEvent + fakehost.UsageEvent + doneEvent, outcome.OK, nil, true, true},
		{"without a terminator", goodEvent + endEvent, nil, goodEvent + endEvent, outcome.OK, nil, true, true},
		{"without a terminator, reset", goodEvent + endEvent, errReset, goodEvent + endEvent, outcome.OK, nil, false, false},
		{"with only a terminator", goodEvent + doneEvent, nil, goodEvent + doneEvent, outcome.OK, nil, true, false},
		{"more behind the terminator", wholeStream + "data: x\n\n: c\n\n", nil, wholeStream + "data: x\n\n", outcome.OK, nil, true, true},
		{"reset behind the terminator", wholeStream, errReset, wholeStream, outcome.OK, nil, true, true},
		{"cut by the host", strings.Replace(wholeStream, `"stop"`, `"length"`, 1), nil, strings.Replace(wholeStream, `"stop"`, `"length"`, 1), outcome.OK, nil, true, false},
		{"an error behind the answer", goodEvent + endEvent + errorEvent, nil, goodEvent + endEvent + errorEvent, outcome.OK, nil, true, true},
		{"malformed behind the answer", goodEvent + endEvent + "data: {\n\n", nil, goodEvent + endEvent + "data: {\n\n", outcome.OK, nil, true, true},
		{"the last event without its blank line", goodEvent + strings.TrimSuffix(endEvent, "\n\n"), nil, goodEvent + strings.TrimSuffix(endEvent, "\n\n"), outcome.OK, nil, true, true},

		{"cut", goodEvent, nil, goodEvent, outcome.Truncated, outcome.ErrTruncated, false, false},
		{"cut within an event", goodEvent + "data: {", nil, goodEvent, outcome.Truncated, outcome.ErrTruncated, false, false},
		{"reset", goodEvent, errReset, goodEvent, outcome.Truncated, errReset, false, false},
		{"malformed", goodEvent + "data: {\n\n" + endEvent, nil, goodEvent, outcome.BadResponse, outcome.ErrBadResponse, false, false},
		{"an event too large", goodEvent + "data: " + strings.Repeat("x", exchange.MaxEvent+1), nil, goodEvent, outcome.BadResponse, outcome.ErrBadResponse, false, false},
		{"out of resources", goodEvent + outOfResources + doneEvent, nil, goodEvent, outcome.Truncated, outcome.ErrTruncated, false, false},
		{"an error event", goodEvent + errorEvent + doneEvent, nil, goodEvent + errorEvent, outcome.RateLimited, outcome.ErrBadResponse, false, false},
		{"the last event ends it and tells of an error", goodEvent + failing, nil, goodEvent + failing, outcome.BadResponse, outcome.ErrBadResponse, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, observed := range []bool{false, true} {
				var body io.Reader = strings.NewReader(tt.text)
				if tt.end != nil {
					body = io.MultiReader(body, iotest.ErrReader(tt.end))
				} else {
					body = iotest.DataErrReader(body)
				}
				s := send(t.Context(), policy)
				resp, f := s.Judge(fakehost.AnswerFrom(200, asStream, body), wantStream)
				if f != nil {
					t.Fatalf("Judge: %+v", f)
				}
				c := &completion{}
				if observed {
					resp.Body.(exchange.Body).Observe(c)
				}
				text, err := read(resp.Body)
				reads := tt.reads
				if observed { // an observer tells its readers of the error itself
					reads = strings.TrimSuffix(reads, string(c.broke))
				}
				if text != reads || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
					t.Errorf("observed %v: read %q, %v, want %q and %v", observed, text, err, reads, tt.err)
				}
				if end := s.ended(); end.class != tt.class || !errors.Is(end.err, tt.err) {
					t.Errorf("observed %v: it ended as %s, %v, want %s, %v", observed, end.class, end.err, tt.class, tt.err)
				}
				if !observed {
					continue
				}
				if c.complete != tt.complete || c.keepable != tt.keepable || c.complete && c.endpoint != "a" {
					t.Errorf("the observer was told %+v, want complete: %v, keepable: %v", c, tt.complete, tt.keepable)
				}
				if c.bytes != len(strings.TrimSuffix(text, "data: x\n\n")) { // what follows the terminator is nobody's
					t.Errorf("the observer was told of %d bytes of %d", c.bytes, len(text))
				}
				if private := strings.HasPrefix(tt.name, "an error behind"); c.private != private {
					t.Errorf("what came was private: %v, want %v", c.private, private)
				}
			}
		})
	}
}

// A host whose index counts events may go on after a finish_reason: then
// something is missing again.
func TestStream_GoesOnBehindItsEnd(t *testing.T) {
	event := func(index, member, reason string) string {
		return `data: {"choices":[{"index":` + index + `,` + member + `,"finish_reason":` + reason + "}]}\n\n"
	}
	begun := event("0", `"delta":{"content":"a"}`, "null") + event("1", `"delta":{}`, `"stop"`) + event("2", `"delta":{"content":"b"}`, "null")
	for text, whole := range map[string]bool{begun: false, begun + event("3", `"delta":{}`, `"stop"`): true} {
		if got := judgeText(t, wantStream, asStream, text); got.text != text || (got.err == nil) != whole {
			t.Errorf("read %q, %v, want all of it, and a clean end: %v", got.text, got.err, whole)
		}
	}
}

// What is there reaches the reader at once, and nothing before the commit.
func TestStream_IsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := send(t.Context(), policy)
		defer s.leave()
		host := s.faucet("")
		go func() {
			for _, part := range []string{": keep-alive\n\n", roleEvent, goodEvent, goodEvent, endEvent, doneEvent} {
				time.Sleep(time.Second)
				host.Send(part)
			}
			host.End()
		}()
		resp, f := s.Judge(host.Answer(), wantStream)
		if f != nil || time.Since(s.Start) != 3*time.Second {
			t.Fatalf("committed after %v, %v, want 3s: the first payload", time.Since(s.Start), f)
		}
		buf := make([]byte, 1<<10)
		for i, want := range []string{roleEvent + goodEvent, goodEvent, endEvent, doneEvent} {
			n, err := resp.Body.Read(buf)
			if at := time.Since(s.Start); string(buf[:n]) != want || err != nil || at != time.Duration(i+3)*time.Second {
				t.Errorf("read %q, %v after %v, want %q after %ds", buf[:n], err, at, want, i+3)
			}
		}
		if end := s.ended(); end.class != outcome.OK {
			t.Errorf("behind the terminator it has ended as %+v, want %s", end, outcome.OK)
		}
		if n, err := resp.Body.Read(buf); n != 0 || err != io.EOF {
			t.Errorf("behind the end: %d, %v, want io.EOF", n, err)
		}
	})
}

// A Read returns the events together that are there already and repeat each other, as many as
// it has space for. Each of them is payload of its own.
func TestStream_RepeatsComeTogether(t *testing.T) {
	repeats := fakehost.Event("a") + fakehost.Event("bc") + fakehost.Event("d")
	text := goodEvent + repeats + endEvent + fakehost.Event("e") + doneEvent
	for space, first := range map[int]string{
		1: goodEvent[:1], len(goodEvent) + 1: goodEvent, len(goodEvent+repeats) - 1: goodEvent + fakehost.Event("a") + fakehost.Event("bc"), 1 << 12: goodEvent + repeats,
	} {
		s := send(t.Context(), policy)
		want := wantStream
		want.Transcript = limit(10)
		resp, f := s.Judge(fakehost.Answer(200, asStream, text), want)
		if f != nil {
			t.Fatal(f)
		}
		c := &completion{}
		resp.Body.(exchange.Body).Observe(c)
		buf := make([]byte, space)
		n, err := resp.Body.Read(buf)
		if string(buf[:n]) != first || err != nil {
			t.Errorf("with space for %d, the first Read returned %q, %v, want %q", space, buf[:n], err, first)
		}
		rest, err := read(resp.Body)
		if first+rest != text || err != nil || c.bytes != len(text) || !c.complete {
			t.Errorf("with space for %d, read %q, %v, and the observer was told %+v, want all of it", space, first+rest, err, c)
		}
	}
}

// The owner is told what was used and how much was read.
func TestStream_TellsWhatWasUsed(t *testing.T) {
	got := judgeText(t, wantStream, asStream, goodEvent+fakehost.FinishEvent+doneEvent)
	if end := got.ended(); end.used != (wire.Usage{TotalTokens: 3}) || end.bytes != int64(len(got.text)) {
		t.Errorf("it ended as %+v, want 3 tokens and %d bytes", end, len(got.text))
	}
}

// A host that keeps the connection open after the terminator keeps nobody.
func TestStream_ReadEndsBehindTheTerminator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := send(t.Context(), policy)
		defer s.leave()
		host, body := s.stream(t)
		host.Send(endEvent + doneEvent)
		text, err := read(body)
		if text != wholeStream || err != nil || time.Since(s.Start) > 50*time.Millisecond {
			t.Errorf("read %q, %v after %v, want the stream and a clean end at once", text, err, time.Since(s.Start))
		}
	})
}

// A tailBody is a stream that its host leaves open after text: it sends on for
// ever, or nothing more.
type tailBody struct {
	io.Reader
	endless bool
	drained int // bytes after text
	closed  chan struct{}
}

func (b *tailBody) Read(p []byte) (int, error) {
	if n, _ := b.Reader.Read(p); n > 0 {
		return n, nil
	}
	if b.endless {
		b.drained += len(p)
		return copy(p, bytes.Repeat([]byte("\n"), len(p))), nil
	}
	<-b.closed
	return 0, http.ErrBodyReadAfterClose
}

func (b *tailBody) Close() error {
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
	return nil
}

// Behind the terminator little is drained, briefly, so that the connection can
// be used again; before it nothing is.
func TestStream_LittleIsDrained(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		endless    bool
		most       int // bytes drained
		takes      time.Duration
	}{
		{"endless behind the terminator", wholeStream, true, 4 << 10, 0},
		{"hanging behind the terminator", wholeStream, false, 0, 50 * time.Millisecond},
		{"endless before it", goodEvent, true, 0, 0},
		{"hanging before it", goodEvent, false, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			host := &tailBody{Reader: strings.NewReader(tt.text), endless: tt.endless, closed: make(chan struct{})}
			s := send(t.Context(), policy)
			defer s.leave()
			resp := fakehost.Answer(200, asStream, "")
			resp.Body = host
			resp, f := s.Judge(resp, wantStream)
			if f != nil {
				t.Fatal(f)
			}
			if _, err := io.ReadFull(resp.Body, make([]byte, len(tt.text))); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			resp.Body.Close()
			<-host.closed
			if took := time.Since(start); host.drained > tt.most || took != tt.takes {
				t.Errorf("%s: %d bytes were drained in %v, want at most %d in %v", tt.name, host.drained, took, tt.most, tt.takes)
			}
			if end := s.ended(); end.class != outcome.OK || end.err != nil {
				t.Errorf("%s: it ended as %+v, want %s", tt.name, end, outcome.OK)
			}
		})
	}
}

// Close ends a Read that waits, even if the host's body heeds no context.
func TestStream_CloseEndsARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, pw := io.Pipe()
		go io.WriteString(pw, goodEvent)
		resp := fakehost.Answer(200, asStream, "")
		resp.Body = pr
		s := send(t.Context(), policy)
		defer s.leave()
		resp, f := s.Judge(resp, wantStream)
		if f != nil {
			t.Fatal(f)
		}
		time.AfterFunc(time.Second, func() { resp.Body.Close() })
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, http.ErrBodyReadAfterClose) || time.Since(s.Start) != time.Second {
			t.Errorf("the read ended in %v after %v, want %v after 1s", err, time.Since(s.Start), http.ErrBodyReadAfterClose)
		}
		if end := s.ended(); end.class != outcome.OK {
			t.Errorf("it ended as %+v, want %s: who has seen payload may leave", end, outcome.OK)
		}
	})
}

// A Close that comes while a Read has its bytes already takes place after it.
func TestStream_CloseWhileReading(t *testing.T) {
	s := send(t.Context(), policy)
	var body io.ReadCloser
	parts := []string{goodEvent, fakehost.Event("ho")}
	resp, f := s.Judge(fakehost.AnswerFrom(200, asStream, fakehost.ReaderFunc(func(p []byte) (int, error) {
		if body != nil {
			body.Close()
		}
		n := copy(p, parts[0])
		parts = parts[1:]
		return n, nil
	})), wantStream)
	if f != nil {
		t.Fatal(f)
	}
	body = resp.Body
	buf := make([]byte, 1<<10)
	body.Read(buf)
	if n, err := body.Read(buf); string(buf[:n]) != fakehost.Event("ho") || err != nil {
		t.Errorf("read %q, %v, want the event", buf[:n], err)
	}
	if end := s.ended(); end.class != outcome.OK || s.Err() == nil {
		t.Errorf("behind it, the exchange has ended as %+v, want %s", end, outcome.OK)
	}
	if _, err := body.Read(buf); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("behind Close: %v, want %v", err, http.ErrBodyReadAfterClose)
	}
}

// Who closes between reads ends the exchange as it stands.
func TestStream_Close(t *testing.T) {
	for _, tt := range []struct {
		name  string
		text  string
		leave bool
		class outcome.Class
		err   error
	}{
		{"amid the answer", goodEvent, false, outcome.OK, nil},
		{"amid the answer, the caller gone", goodEvent, true, outcome.Canceled, context.Canceled},
		{"behind the answer", goodEvent + endEvent, false, outcome.OK, nil},
		{"behind the answer, the caller gone", goodEvent + endEvent, true, outcome.OK, nil},
		{"behind the terminator", wholeStream, true, outcome.OK, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := send(t.Context(), policy)
			host, body := s.stream(t)
			host.Send(strings.TrimPrefix(tt.text, goodEvent))
			buf := make([]byte, len(tt.text))
			if _, err := io.ReadFull(body, buf); err != nil {
				t.Fatal(err)
			}
			if tt.leave {
				s.leave()
			}
			body.Close()
			body.Close()
			synctest.Wait()
			if end := s.ended(); end.class != tt.class || !errors.Is(end.err, tt.err) {
				t.Errorf("%s: it ended as %+v, want %s, %v", tt.name, end, tt.class, tt.err)
			}
			if _, err := body.Read(buf); !errors.Is(err, http.ErrBodyReadAfterClose) {
				t.Errorf("%s: behind Close: %v", tt.name, err)
			}
			if !host.Closed() || context.Cause(s.Context) == nil {
				t.Errorf("%s: the host's body or its request goes on", tt.name)
			}
			if s.leave(); tt.leave {
				return
			}
			synctest.Wait()
			if len(s.ends) != 1 {
				t.Errorf("%s: the caller is watched behind the end", tt.name)
			}
		})
	}
}

// The caller's cancel ends the exchange at once, even if nobody reads.
func TestStream_EndsWithItsCaller(t *testing.T) {
	for _, reads := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := send(t.Context(), policy)
			_, body := s.stream(t)
			time.AfterFunc(time.Second, s.leave)
			var err error
			if reads {
				_, err = io.ReadAll(body)
			} else {
				time.Sleep(2 * time.Second)
			}
			synctest.Wait()
			if end := s.ended(); end.class != outcome.Canceled || end.err != context.Canceled || reads && err != context.Canceled {
				t.Errorf("reads %v: it ended as %+v, in %v, want %s", reads, end, err, outcome.Canceled)
			}
			body.Close()
		})
	}
}

// Who is told of the end may do as it likes with the stream.
func TestStream_OwnerClosesIt(t *testing.T) {
	for _, text := range []string{wholeStream, goodEvent, goodEvent + "data: {\n\n"} {
		s := send(t.Context(), policy)
		resp, f := s.Judge(fakehost.Answer(200, asStream, text), wantStream)
		if f != nil {
			t.Fatal(f)
		}
		s.onEnd = func() {
			resp.Body.Read(make([]byte, 10))
			resp.Body.Close()
		}
		read(resp.Body)
		if n := len(s.ends); n == 0 {
			t.Errorf("%q: the end was told %d times", text, n)
		}
	}
}

// A panic of the owner, or of the host's body, keeps nothing from being given back.
func TestStream_Panics(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(s *sender, body io.ReadCloser)
	}{
		{"of the owner, in Read", func(s *sender, body io.ReadCloser) { io.ReadAll(body) }},
		{"of the owner, in Close", func(s *sender, body io.ReadCloser) { body.Close() }},
	} {
		s := send(t.Context(), policy)
		came := &fakehost.Body{Reader: strings.NewReader(wholeStream)}
		resp := fakehost.Answer(200, asStream, "")
		resp.Body = came
		resp, f := s.Judge(resp, wantStream)
		if f != nil {
			t.Fatal(f)
		}
		s.onEnd = func() { panic("of an Observer") }
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: the panic was lost", tt.name)
				}
			}()
			tt.do(s, resp.Body)
		}()
		resp.Body.Close() // nothing is locked
		if came.Closed() == 0 || context.Cause(s.Context) == nil {
			t.Errorf("%s: the host's body or its request goes on", tt.name)
		}
	}
	s := send(t.Context(), policy)
	resp := fakehost.Answer(200, asStream, "")
	resp.Body = closePanics{strings.NewReader(goodEvent)}
	resp, f := s.Judge(resp, wantStream)
	if f != nil {
		t.Fatal(f)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the body's panic was lost")
			}
		}()
		resp.Body.Close()
	}()
	if s.ended().class != outcome.OK || context.Cause(s.Context) == nil {
		t.Errorf("behind the body's panic it ended as %+v", s.ended())
	}
}

// closePanics is a body that does not want to be closed.
type closePanics struct{ io.Reader }

func (closePanics) Close() error { panic("of a body") }

// A stream keeps what it has delivered as long as it can be continued, and gives
// it away once it has broken.
func TestStream_KeepsWhatCanBeContinued(t *testing.T) {
	tool := `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]}}]}` + "\n\n"
	for _, tt := range []struct {
		name       string
		limit      int // bytes
		text       string
		resumable  bool // at the commit
		told, kept string
	}{
		{"text", 10, goodEvent + fakehost.Event("ho"), true, "hiho", "hiho"},
		{"text beyond the limit", 3, goodEvent + fakehost.Event("ho"), true, "", ""},
		{"text beyond the limit at once", 1, goodEvent, false, "", ""},
		{"a tool call", 10, goodEvent + tool, true, "", ""},
		{"a tool call at once", 10, tool, false, "", ""},
		{"text, then what is not passed on", 10, goodEvent + strings.NewReplacer("{}", `{"content":"no"}`, "stop", "insufficient_system_resource").Replace(endEvent), true, "hi", "hi"},
		{"a whole answer", 10, wholeStream, true, "", ""},
		{"nothing is to be kept", 0, goodEvent, false, "", ""},
	} {
		want := wantStream
		if tt.limit > 0 {
			want.Transcript = limit(tt.limit)
		}
		s := send(t.Context(), policy)
		resp, f := s.Judge(fakehost.Answer(200, asStream, tt.text), want)
		if f != nil {
			t.Fatal(f)
		}
		b := resp.Body.(*exchange.Stream)
		if b.IsResumable() != tt.resumable || !strings.HasPrefix(tt.text, string(b.Head())) || len(b.Head()) == 0 || b.Owner() != exchange.Owner(s) {
			t.Errorf("%s: resumable %v at %q, want %v", tt.name, b.IsResumable(), b.Head(), tt.resumable)
		}
		read(b)
		transcript := b.TakeTranscript()
		if string(transcript.Text) != tt.told || len(b.TakeTranscript().Text) != 0 {
			t.Errorf("%s: it kept %q, want %q, once", tt.name, transcript.Text, tt.told)
		}
	}
}

// A limit is how many bytes of a text can be continued.
type limit int

func (l limit) Allow(text, reasoning int, other bool) bool {
	return !other && text+reasoning <= int(l)
}

// Whoever continues a stream tells how it ends: not the stream itself.
func TestStream_BreaksForWhoContinuesIt(t *testing.T) {
	on := policy
	on.ErrorFrames = true
	continues, kept := wantStream, wantStream
	continues.Continues, kept.Transcript = true, limit(10)
	for name, want := range map[string]exchange.Want{"continues another": continues, "is continued": kept} {
		s := send(t.Context(), on)
		resp, f := s.Judge(fakehost.Answer(200, asStream, goodEvent+errorEvent), want)
		if f != nil {
			t.Fatal(f)
		}
		b := resp.Body.(*exchange.Stream)
		text, err := read(b)
		if frame := string(b.TakeFrame()); text != goodEvent || !errors.Is(err, outcome.ErrBadResponse) || frame != errorEvent || b.TakeFrame() != nil {
			t.Errorf("%s: read %q, %v and took %q, want the event apart, once", name, text, err, frame)
		}
		c := &completion{}
		b.Complete(c)
		if b.Complete(nil); !c.complete || c.endpoint != "a" {
			t.Errorf("%s: told complete as %+v", name, c)
		}
	}
}
