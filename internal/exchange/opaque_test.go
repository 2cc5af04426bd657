package exchange_test

import (
	"bytes"
	"context"
	"errors"
	"io"
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

// How bodies end that nobody can look into. JSON must end in a brace.
func TestOpaque_Ends(t *testing.T) {
	small := policy
	small.MaxBuffer = 4
	none := policy
	none.MaxBuffer = 0
	for _, tt := range []struct {
		name   string
		policy exchange.Policy
		coding string
		text   string
		end    error
		class  outcome.Class
		err    error
	}{
		{"packed", policy, "br", "any bytes", nil, outcome.OK, nil},
		{"packed, nothing", policy, "br", "", nil, outcome.OK, nil},
		{"packed, reset", policy, "br", "any", errReset, outcome.Truncated, errReset},
		{"large JSON", small, "", "{\"a\":\"b\"} \r\n\t", nil, outcome.OK, nil},
		{"large JSON, cut", small, "", "{\"a\":\"b\"", nil, outcome.Truncated, outcome.ErrTruncated},
		{"large JSON, reset", small, "", "{\"a\":\"b\"}", errReset, outcome.Truncated, errReset},
		{"JSON that nobody may read", none, "", "{}", nil, outcome.OK, nil},
		{"JSON that nobody may read, cut", none, "", "{", nil, outcome.Truncated, outcome.ErrTruncated},
		{"no progress", policy, "br", "any", io.ErrNoProgress, outcome.Truncated, io.ErrNoProgress},
	} {
		var body io.Reader = strings.NewReader(tt.text)
		switch {
		case tt.end == io.ErrNoProgress:
			body = io.MultiReader(body, fakehost.ReaderFunc(func([]byte) (int, error) { return 0, nil }))
		case tt.end != nil:
			body = io.MultiReader(body, iotest.ErrReader(tt.end))
		}
		resp := fakehost.AnswerFrom(200, asJSON, iotest.HalfReader(body))
		resp.Header.Set("Content-Encoding", tt.coding)
		came := resp.Body.(*fakehost.Body)
		got := judge(t, tt.policy, wantJSON, resp)
		if got.failure != nil || exchange.KindOf(got.resp.Body) != exchange.KindOpaque {
			t.Errorf("%s: it came as %v", tt.name, got)
			continue
		}
		if got.text != tt.text || !errors.Is(got.err, tt.err) || (got.err == nil) != (tt.err == nil) {
			t.Errorf("%s: read %q, %v, want %q, %v", tt.name, got.text, got.err, tt.text, tt.err)
		}
		if end := got.ended(); end.class != tt.class || !errors.Is(end.err, tt.err) || end.bytes != int64(len(tt.text)) {
			t.Errorf("%s: it ended as %+v, want %s", tt.name, end, tt.class)
		}
		if came.Closed() == 0 {
			t.Errorf("%s: the host's body was not closed", tt.name)
		}
		for range 2 { // what has ended stays ended
			if n, err := got.resp.Body.Read(make([]byte, 10)); n != 0 || err == nil || tt.err == nil && err != io.EOF {
				t.Errorf("%s: behind the end: %d, %v", tt.name, n, err)
			}
		}
	}
}

// Who leaves ends it, and a Close is no failure.
func TestOpaque_Leaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, closes := range []bool{true, false} {
			s := send(t.Context(), policy)
			resp := fakehost.Answer(200, asJSON, "")
			resp.Header.Set("Content-Encoding", "br")
			host := s.faucet("abc")
			resp.Body = host
			resp, f := s.Judge(resp, wantJSON)
			if f != nil {
				t.Fatal(f)
			}
			resp.Body.(exchange.Body).Observe(&completion{})
			resp.Body.Read(make([]byte, 10))
			class, why := outcome.OK, error(nil)
			if closes {
				resp.Body.Close()
			} else {
				class, why = outcome.Canceled, context.Canceled
				time.AfterFunc(time.Second, s.leave)
				if _, err := resp.Body.Read(make([]byte, 10)); err != context.Canceled {
					t.Errorf("the read ended in %v, want %v", err, context.Canceled)
				}
			}
			if end := s.ended(); end.class != class || end.err != why || end.bytes != 3 || !host.Closed() || s.Err() == nil {
				t.Errorf("closes %v: it ended as %+v, want %s and all given back", closes, end, class)
			}
			s.leave()
			synctest.Wait()
			if closes && len(s.ends) != 1 {
				t.Error("the caller is watched behind the end")
			}
		}
	})
}

// A panic of the owner leaves nothing open.
func TestOpaque_Panics(t *testing.T) {
	for _, closes := range []bool{true, false} {
		s := send(t.Context(), policy)
		resp := fakehost.Answer(200, asJSON, "abc")
		came := resp.Body.(*fakehost.Body)
		resp, _ = s.PassOn(resp)
		s.onEnd = func() { panic("of an Observer") }
		func() {
			defer func() { recover() }()
			if closes {
				resp.Body.Close()
			}
			io.ReadAll(resp.Body)
		}()
		if came.Closed() == 0 || s.Err() == nil {
			t.Errorf("closes %v: the host's body or its request goes on", closes)
		}
	}
}

// An answer in one piece is over before anybody reads it, and is complete.
func TestWhole_Observe(t *testing.T) {
	for text, want := range map[string]completion{
		goodJSON: {bytes: len(goodJSON), payloads: 1, complete: true, endpoint: "a", keepable: true, usage: true},
		strings.Replace(goodJSON, `"stop"`, `"length"`, 1): {bytes: len(goodJSON) + 2, payloads: 1, complete: true, endpoint: "a", usage: true},
		`{"choices":[{"message":{"content":"x"}}]}`:        {bytes: 41, payloads: 1, complete: true, endpoint: "a"},
	} {
		s := send(t.Context(), policy)
		resp, f := s.Judge(fakehost.Answer(200, asJSON, text), wantJSON)
		if f != nil {
			t.Fatal(f)
		}
		var c completion
		resp.Body.(exchange.Body).Observe(&c)
		if c.bytes != want.bytes || c.complete != want.complete || c.endpoint != want.endpoint || c.keepable != want.keepable || c.usage != want.usage {
			t.Errorf("%s: told %+v, want %+v", text, c, want)
		}
		if all, err := exchange.ReadAll(resp.Body); string(all) != text || err != nil {
			t.Errorf("ReadAll = %q, %v, want %q", all, err, text)
		}
	}
}

// It reads as any body from memory does.
func TestWhole_Read(t *testing.T) {
	body := func() io.ReadCloser {
		s := send(t.Context(), policy)
		resp, f := s.Judge(fakehost.Answer(200, asJSON, goodJSON), wantJSON)
		if f != nil {
			t.Fatal(f)
		}
		return resp.Body
	}
	if err := iotest.TestReader(body(), []byte(goodJSON)); err != nil {
		t.Error(err)
	}
	w := body()
	w.Read(make([]byte, 5))
	var to bytes.Buffer
	if n, err := io.Copy(&to, w); to.String() != goodJSON[5:] || n != int64(len(goodJSON)-5) || err != nil {
		t.Errorf("copied %q (%d, %v), want the rest", to.String(), n, err)
	}
	if n, err := io.Copy(&to, w); n != 0 || err != nil || w.Close() != nil {
		t.Errorf("copied %d more, %v, want nothing", n, err)
	}
	w = body()
	pr, pw := io.Pipe()
	pr.CloseWithError(errReset)
	if _, err := io.Copy(pw, w); err != errReset {
		t.Errorf("copying to a closed pipe: %v, want %v", err, errReset)
	}
	if _, err := io.Copy(short{}, w); err != io.ErrShortWrite {
		t.Errorf("copying to a short writer: %v, want %v", err, io.ErrShortWrite)
	}
}

// A short writer writes one byte and says nothing of the rest.
type short struct{}

func (short) Write(p []byte) (int, error) { return 1, nil }

// A declined response goes to its reader as it came, until it is held: then what is there is
// kept, and the source is closed. Either way the exchange ends as its owner says.
func TestDecline(t *testing.T) {
	large := strings.Repeat("x", 100<<10)
	for _, tt := range []struct {
		name, text string
		end        error // of the source; nil: io.EOF
		held, want string
		err        error
	}{
		{"small", "busy", nil, "busy", "busy", nil},
		{"nothing", "", nil, "", "", nil},
		{"large", large, nil, large[:64<<10], large, outcome.ErrTruncated},
		{"cut", "half", errReset, "half", "half", errReset},
	} {
		for _, hold := range []bool{false, true} {
			var body io.Reader = strings.NewReader(tt.text)
			if tt.end != nil {
				body = io.MultiReader(body, iotest.ErrReader(tt.end))
			}
			resp := fakehost.AnswerFrom(503, "text/plain", body)
			came := resp.Body.(*fakehost.Body)
			s := send(t.Context(), policy)
			f := s.Decline(resp)
			if f.Status != 503 || !f.Open || came.Closed() != 0 || s.Context.Err() != nil {
				t.Errorf("%s: declined: %+v, closed %d times", tt.name, f, came.Closed())
			}
			s.End(outcome.Unavailable, nil, wire.Usage{}, 0)
			want, wantErr := tt.want, tt.end
			if hold {
				f.Hold()
				f.Hold()
				if came.Closed() == 0 || f.Open {
					t.Errorf("%s: held, and the source is closed %d times", tt.name, came.Closed())
				}
				want, wantErr = tt.held, tt.err
			}
			if text, err := read(f.Resp.Body); text != want || !errors.Is(err, wantErr) {
				t.Errorf("%s, hold %v: read %d bytes, %v, want %d, %v", tt.name, hold, len(text), err, len(want), wantErr)
			}
			if came.Closed() == 0 || s.Context.Err() == nil || s.ended().class != outcome.Unavailable {
				t.Errorf("%s, hold %v: closed %d times, context %v, ended %v", tt.name, hold, came.Closed(), s.Context.Err(), s.ended())
			}
		}
	}
	synctest.Test(t, func(t *testing.T) { // what trickles delays nobody
		s := send(t.Context(), policy)
		f := s.Decline(s.faucet("begun").Answer())
		begun := time.Now()
		f.Hold()
		if took := time.Since(begun); took != 50*time.Millisecond {
			t.Errorf("to hold a body that trickles took %v", took)
		}
		if text, err := read(f.Resp.Body); text != "begun" || !errors.Is(err, outcome.ErrTruncated) {
			t.Errorf("read %q, %v", text, err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // of a caller who left, nothing comes
		s := send(t.Context(), policy)
		f := s.Decline(s.faucet("begun").Answer())
		s.leave()
		synctest.Wait()
		f.Resp.Body.Close()
		if s.ended().class != outcome.Canceled {
			t.Errorf("ended %v", s.ended())
		}
	})
}
