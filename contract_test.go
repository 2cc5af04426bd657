package breakwater

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// The contract of http.RoundTripper and the invariants of DESIGN, against
// bases that do what bases should not.

// hostileBases are what a base may do to an attempt, right or wrong.
func hostileBases() map[string]func(*http.Request) (*http.Response, error) {
	cut := func(after string, err error) io.Reader {
		return fakehost.Cut(after, err)
	}
	idle := fakehost.ReaderFunc(func([]byte) (int, error) { return 0, nil })
	return map[string]func(*http.Request) (*http.Response, error){
		"neither": func(*http.Request) (*http.Response, error) { return nil, nil },
		"both":    func(*http.Request) (*http.Response, error) { return answer(200, asJSON, goodJSON), errors.New("x") },
		"error":   func(*http.Request) (*http.Response, error) { return nil, errors.New("x") },
		"no body": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}}, nil
		},
		"no header": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 503, Body: http.NoBody}, nil
		},
		"no header, and a stream": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(wholeStream))}, nil
		},
		"no header, and json": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(goodJSON))}, nil
		},
		"stream with a refusal": func(*http.Request) (*http.Response, error) {
			return answer(200, asStream, goodEvent+riskEvent), nil
		},
		"good json": func(*http.Request) (*http.Response, error) { return answer(200, asJSON, goodJSON), nil },
		"good stream": func(*http.Request) (*http.Response, error) {
			return answer(200, asStream, goodEvent+endEvent+doneEvent), nil
		},
		"stream reset": func(*http.Request) (*http.Response, error) {
			return answerFrom(200, asStream, cut(goodEvent, errors.New("reset"))), nil
		},
		"stream ended": func(*http.Request) (*http.Response, error) { return answer(200, asStream, goodEvent), nil },
		"stream malformed": func(*http.Request) (*http.Response, error) {
			return answer(200, asStream, goodEvent+"data: {\n\n"), nil
		},
		"stream empty": func(*http.Request) (*http.Response, error) { return answer(200, asStream, ""), nil },
		"stream idle":  func(*http.Request) (*http.Response, error) { return answerFrom(200, asStream, idle), nil },
		"json cut":     func(*http.Request) (*http.Response, error) { return answer(200, asJSON, goodJSON[:20]), nil },
		"json reset": func(*http.Request) (*http.Response, error) {
			return answerFrom(200, asJSON, cut(goodJSON, errors.New("reset"))), nil
		},
		"json idle":         func(*http.Request) (*http.Response, error) { return answerFrom(200, asJSON, idle), nil },
		"json after blanks": func(*http.Request) (*http.Response, error) { return answer(200, asJSON, "\n\n\n"+goodJSON), nil },
		"402": func(*http.Request) (*http.Response, error) {
			return answer(402, asJSON, `{"error":{"message":"no"}}`), nil
		},
		"500": func(*http.Request) (*http.Response, error) {
			return answer(500, asJSON, `{"error":{"message":"no"}}`), nil
		},
		"400": func(*http.Request) (*http.Response, error) { return answer(400, "text/plain", `no`), nil },
		"307": func(*http.Request) (*http.Response, error) { return answer(307, "", ``), nil },
		"packed": func(*http.Request) (*http.Response, error) {
			resp := answer(200, asStream, goodEvent)
			resp.Header.Set("Content-Encoding", "br")
			return resp, nil
		},
	}
}

// layerings are the layers alone and together.
func layerings() map[string][]Option {
	noBreaker := WithBreaker(BreakerPolicy{FailureRate: Off, Consecutive: Off})
	once := WithRetry(RetryPolicy{Attempts: 1})
	return map[string][]Option{
		"default":      nil,
		"gate alone":   {noBreaker, once},
		"breaker":      {once},
		"limit":        {noBreaker, once, WithRateLimit(RatePolicy{InFlight: 1, PerSecond: 1000, TokensPerMinute: 100000})},
		"cache":        {noBreaker, once, WithCache(CachePolicy{})},
		"all":          {WithCache(CachePolicy{}), WithRateLimit(RatePolicy{InFlight: 1, TokensPerMinute: 100000})},
		"keyed":        {noBreaker, once, WithIdempotency(IdempotencyPolicy{Linger: Off}), keyedByBody},
		"as Go errors": {WithErrors()},
		"no clocks":    {WithStream(StreamPolicy{FirstToken: Off, Thinking: Off, Queued: Off, Stall: Off, KeepComments: true})},
	}
}

// Invariants 1 (the caller's request unchanged, its body closed once), 2 (the
// base's bodies closed), 3 (response or error), 4 (all given back), 6 (no clean
// end of a truncated answer), 12 (no goroutine left); and that a good answer
// comes as it was.
func TestContract(t *testing.T) {
	for layers, opts := range layerings() {
		for hostile, base := range hostileBases() {
			for _, body := range []string{chatJSON, chatStream, ""} {
				for _, reads := range []int{0, 3, 1 << 20} { // bytes the caller reads before it closes
					t.Run(fmt.Sprintf("%s/%s/%d/%d", layers, hostile, len(body), reads), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { contract(t, opts, hostile, base, body, reads) })
					})
				}
			}
		}
	}
}

func contract(t *testing.T, opts []Option, hostile string, base func(*http.Request) (*http.Response, error), body string, reads int) {
	var given []*fakehost.Body
	rt, err := New(append([]Option{steady(), WithBase(RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			io.Copy(io.Discard, req.Body)
			req.Body.Close()
		}
		resp, err := base(req)
		if resp != nil {
			if b, ok := resp.Body.(*fakehost.Body); ok {
				given = append(given, b)
			}
		}
		return resp, err
	}))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	req, asked := post(t.Context(), "http://host.test", body)
	before, header := *req, req.Header.Clone()
	resp, err := rt.RoundTrip(req)
	if (resp == nil) == (err == nil) {
		t.Fatalf("RoundTrip = %v, %v, want exactly one", resp, err)
	}
	if resp != nil {
		if resp.Body == nil || resp.Request == nil {
			t.Fatalf("response without Body or Request: %+v", resp)
		}
		got, err := io.ReadAll(io.LimitReader(resp.Body, int64(reads)))
		full := reads > len(got)
		want, good := goodAnswers[hostile+" to "+body]
		truncated := strings.HasPrefix(hostile, "stream ") || strings.HasPrefix(hostile, "json ") && hostile != "json after blanks"
		switch {
		case full && good && (resp.StatusCode != 200 || string(got) != want || err != nil):
			t.Errorf("%d %q, %v came, want 200 %q", resp.StatusCode, got, err, want)
		case full && truncated && resp.StatusCode == 200 && err == nil:
			t.Errorf("%q ended cleanly", got)
		}
		resp.Body.Close()
		resp.Body.Close()
	}
	if req.URL.String() != before.URL.String() || req.Method != before.Method || fmt.Sprint(req.Header) != fmt.Sprint(header) || req.Body != before.Body || req.ContentLength != before.ContentLength {
		t.Errorf("the caller's request was changed: %+v", req)
	}
	if n := asked.Closed(); n != 1 {
		t.Errorf("the caller's body was closed %d times, want 1", n)
	}
	for i, b := range given {
		if b.Closed() == 0 {
			t.Errorf("response body %d of %d was not closed", i+1, len(given))
		}
	}
	synctest.Wait()
	if left := stillHeld(rt); left != "" {
		t.Errorf("got %s left, want nothing", left)
	}
	rt.Close()
}

// goodAnswers are what comes of the good ones of hostileBases to a question of
// their form.
var goodAnswers = map[string]string{
	"good json to " + chatJSON: goodJSON, "json after blanks to " + chatJSON: goodJSON, "good stream to " + chatStream: wholeStream,
}

// Nothing reaches the caller before commit, and then each event as it comes
// (invariant 5).
func TestContract_StreamIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, pw := io.Pipe()
		rt, err := New(WithBase(RoundTripperFunc(func(*http.Request) (*http.Response, error) { return answerFrom(200, asStream, pr), nil })))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		go func() {
			for _, part := range []string{": keep-alive\n\n", "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n", goodEvent, goodEvent, endEvent, doneEvent} {
				<-time.After(time.Second)
				io.WriteString(pw, part)
			}
			pw.Close()
		}()
		req, _ := post(t.Context(), "http://host.test", chatStream)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("committed after %v, want 3s: the first payload", d)
		}
		buf := make([]byte, 4096)
		var at []time.Duration
		var all bytes.Buffer
		for {
			n, err := resp.Body.Read(buf)
			if n > 0 && (len(at) == 0 || at[len(at)-1] != time.Since(start)) {
				at = append(at, time.Since(start))
			}
			all.Write(buf[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if fmt.Sprint(at) != "[3s 4s 5s 6s]" {
			t.Errorf("events came at %v, want 3s 4s 5s 6s", at)
		}
		if want := "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n" + goodEvent + goodEvent + endEvent + doneEvent; all.String() != want {
			t.Errorf("the caller read %q, want %q", all.String(), want)
		}
	})
}
