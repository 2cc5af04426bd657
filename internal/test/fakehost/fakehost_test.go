package fakehost

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ask makes a request to a host and reads the answer.
func ask(t *testing.T, base http.RoundTripper, host string) (status int, text string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, _ := Post(ctx, "https://"+host, ChatJSON)
	resp, err := base.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func TestBase_AnswersByHostAndCounts(t *testing.T) {
	base := New(Gives(200, JSON, "others"))
	base.Set("a", Gives(201, JSON, "a"))
	for host, want := range map[string]int{"a": 201, "b": 200, "c": 200} {
		if status, _, err := ask(t, base, host); status != want || err != nil {
			t.Errorf("%s answered %d, %v, want %d", host, status, err, want)
		}
	}
	if a, d, all := base.Count("a"), base.Count("d"), base.Count(""); a != 1 || d != 0 || all != 3 {
		t.Errorf("counted %d of a, %d of d, %d of all, want 1, 0 and 3", a, d, all)
	}
}

func TestBase_RequestBodies(t *testing.T) {
	for name, tt := range map[string]struct {
		base   func(Handler) *Base
		closed int
		text   string
	}{
		"read and closed":      {New, 1, ""},
		"left to the handlers": {NewUnread, 0, ChatJSON},
	} {
		req, body := Post(t.Context(), "https://a", ChatJSON)
		_, _ = tt.base(func(*http.Request) (*http.Response, error) {
			text, _ := io.ReadAll(body.Reader)
			if body.Closed() != tt.closed || string(text) != tt.text {
				t.Errorf("%s: closed %d times, %q left, want %d and %q", name, body.Closed(), text, tt.closed, tt.text)
			}
			return nil, errors.New("x")
		}).RoundTrip(req)
	}
}

func TestBody_IsNotReadBehindClose(t *testing.T) {
	resp := Answer(200, JSON, "text")
	resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
		t.Errorf("Read = %v, want %v", err, http.ErrBodyReadAfterClose)
	}
}

func TestBodies_Open(t *testing.T) {
	var bodies Bodies
	base := New(bodies.Of(Script(Refusing, Failing503)))
	req, _ := Post(t.Context(), "https://a", ChatJSON)
	resp, _ := base.RoundTrip(req)
	if n := bodies.Open(); n != 1 {
		t.Errorf("%d bodies are open, want 1", n)
	}
	resp.Body.Close()
	ask(t, base, "a")
	if n := bodies.Open(); n != 0 {
		t.Errorf("%d bodies are open, want none", n)
	}
}

func TestHandlers(t *testing.T) {
	good := Gives(200, JSON, "good")
	for _, tt := range []struct {
		name   string
		do     Handler
		status int
		text   string
		err    string
		took   time.Duration
	}{
		{"Gives", good, 200, "good", "", 0},
		{"Breaks", Breaks(Stream, GoodEvent), 200, GoodEvent, "reset", 0},
		{"EndsAtOnce", EndsAtOnce(WholeStream), 200, WholeStream, "", 0},
		{"Failing503", Failing503, 503, `{"error":{"message":"busy"}}`, "", 0},
		{"Refusing", Refusing, 0, "", "refused", 0},
		{"Hanging", Hanging, 0, "", "deadline", 10 * time.Second},
		{"After", After(time.Second, good), 200, "good", "", time.Second},
		{"After nothing", After(0, good), 200, "good", "", 0},
		{"After too long", After(time.Minute, good), 0, "", "deadline", 10 * time.Second},
		{"Script, its part", Script(good, Failing503), 503, `{"error":{"message":"busy"}}`, "", 0},
		{"Script, behind it", Script(good), 200, "good", "", 0},
		{"Redirects", Redirects(307, "/moved/", good), 307, "<a>moved</a>", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				status, text, err := ask(t, New(tt.do), "a")
				said := ""
				if err != nil {
					said = err.Error()
				}
				if status != tt.status || text != tt.text || !strings.Contains(said, tt.err) || (err == nil) != (tt.err == "") {
					t.Errorf("got %d %q, %v, want %d %q, %q", status, text, err, tt.status, tt.text, tt.err)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
			})
		})
	}
}

func TestHandlers_Headers(t *testing.T) {
	for name, do := range map[string]Handler{
		"Gives":     Gives(200, JSON, "", "X-A", "1"),
		"Adding":    Adding(Gives(200, JSON, ""), "X-A", "1"),
		"Redirects": Redirects(307, "/moved/", Gives(200, JSON, "", "X-A", "1")),
		"no lines":  Adding(Gives(200, JSON, "", "X-A", "1"), "X-A"),
	} {
		req, _ := Post(t.Context(), "https://a/moved", ChatJSON)
		resp, err := do(req)
		if err != nil || resp.Header.Get("X-A") != "1" {
			t.Errorf("%s: %v, %v, want X-A: 1", name, resp, err)
		}
	}
}

func TestFaucet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, opened := Faucets("first ")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, _ := Post(ctx, "https://a", ChatStream)
		resp, err := base.RoundTrip(req)
		if err != nil || resp.Header.Get("Content-Type") != Stream {
			t.Fatal(resp, err)
		}
		f, body := <-opened, make([]byte, 4)
		read := func(want string, wantErr error) {
			t.Helper()
			if n, err := resp.Body.Read(body); string(body[:n]) != want || err != wantErr {
				t.Errorf("Read = %q, %v, want %q, %v", body[:n], err, want, wantErr)
			}
		}
		read("firs", nil)
		read("t ", nil)
		f.Send("")
		f.Send("ab")
		f.Send("cd")
		read("ab", nil)
		read("cd", nil)
		go func() { Elapse(time.Second); f.Send("late") }()
		read("late", nil)
		f.Send("last")
		f.End()
		read("last", nil)
		read("", io.EOF)
		reset := errors.New("reset")
		f.Break(reset)
		read("", reset)
		resp.Body.Close()
		if read("", http.ErrBodyReadAfterClose); !f.Closed() || f.Context() != ctx {
			t.Errorf("closed: %v, of another request: %v", f.Closed(), f.Context() != ctx)
		}
	})
}

func TestFaucet_EndsWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, _ := Post(ctx, "https://a", ChatStream)
		if n, err := NewFaucet(req, "").Read(make([]byte, 1)); n != 0 || err != context.DeadlineExceeded {
			t.Errorf("Read = %d, %v, want %v", n, err, context.DeadlineExceeded)
		}
	})
}

func TestEvent(t *testing.T) {
	if got := Event("there"); !strings.Contains(got, `"content":"there"`) || Event("hi") != GoodEvent {
		t.Errorf("Event = %q", got)
	}
	read := ReaderFunc(func([]byte) (int, error) { return 0, io.EOF })
	if _, err := io.ReadAll(io.MultiReader(read, Cut("x", io.ErrUnexpectedEOF))); err != io.ErrUnexpectedEOF {
		t.Errorf("a cut text ended in %v", err)
	}
}
