package fakehost

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing/iotest"
	"time"
)

// Gives answers with one response. Its header is given as names and values by
// turns.
func Gives(status int, contentType, body string, header ...string) Handler {
	return func(*http.Request) (*http.Response, error) {
		resp := Answer(status, contentType, body)
		for i := 0; i+1 < len(header); i += 2 {
			resp.Header.Set(header[i], header[i+1])
		}
		return resp, nil
	}
}

// Breaks answers 200 with a body that fails after text.
func Breaks(contentType, text string) Handler {
	return func(*http.Request) (*http.Response, error) {
		return AnswerFrom(200, contentType, Cut(text, errors.New("reset"))), nil
	}
}

// EndsAtOnce answers 200 with a stream whose last read brings both its last
// bytes and its end.
func EndsAtOnce(text string) Handler {
	return func(*http.Request) (*http.Response, error) {
		return AnswerFrom(200, Stream, iotest.DataErrReader(strings.NewReader(text))), nil
	}
}

// Failing503 answers 503.
func Failing503(*http.Request) (*http.Response, error) {
	return Answer(503, JSON, `{"error":{"message":"busy"}}`), nil
}

// Refusing fails as a host that cannot be reached.
func Refusing(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }

// Hanging answers nothing until the request is given up.
func Hanging(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// After has do answer after d, unless the request is given up before.
func After(d time.Duration, do Handler) Handler {
	return func(req *http.Request) (*http.Response, error) {
		if err := Sleep(req.Context(), d); err != nil {
			return nil, err
		}
		return do(req)
	}
}

// Adding sets the lines of a header on each response of do, each line as it is.
// Without lines it changes nothing.
func Adding(do Handler, name string, lines ...string) Handler {
	return func(req *http.Request) (*http.Response, error) {
		resp, err := do(req)
		if resp != nil && len(lines) > 0 {
			resp.Header[name] = lines
		}
		return resp, err
	}
}

// Redirects answers with a redirect, unless the path has "/moved/" in it: those
// requests are for then.
func Redirects(status int, location string, then Handler) Handler {
	return func(req *http.Request) (*http.Response, error) {
		if strings.Contains(req.URL.Path, "/moved/") {
			return then(req)
		}
		return Gives(status, "text/html", "<a>moved</a>", "Location", location)(req)
	}
}

// Script has one handler answer each request, in turn, and then answers all
// others.
func Script(then Handler, parts ...Handler) Handler {
	var mu sync.Mutex
	next := 0
	return func(req *http.Request) (*http.Response, error) {
		mu.Lock()
		do := then
		if next < len(parts) {
			do = parts[next]
			next++
		}
		mu.Unlock()
		return do(req)
	}
}

// Sleep waits for d, or returns the cause why ctx ended before.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Elapse lets virtual time pass.
func Elapse(d time.Duration) { <-time.After(d) }
