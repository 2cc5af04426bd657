package breakwater

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// underKey gives a call an idempotency key.
func underKey(id string) func(*http.Request) { return with("Idempotency-Key", id) }

// withCall makes a call with options.
func withCall(c Call) func(*http.Request) {
	return func(req *http.Request) { *req = *req.WithContext(WithCall(req.Context(), c)) }
}

// keyedByBody gives each call a key of what it asks, so that those who ask the same repeat one
// call.
var keyedByBody = WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if req.Body == nil || callOf(req.Context()) != nil {
			return next.RoundTrip(req)
		}
		text, err := io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(strings.NewReader(string(text)))
		req.Header.Set("Idempotency-Key", fmt.Sprintf("%x", sha256.Sum256(text)))
		return next.RoundTrip(req)
	})
})

var idempotent = WithIdempotency(IdempotencyPolicy{})

// numbered answers with the number of the attempt, on the wire and in the form that was
// asked for.
func numbered(path string) (base *fakehost.Base, asks func(stream bool) string) {
	var n atomic.Int32
	base = newHosts(func(req *http.Request) (*http.Response, error) {
		text := fmt.Sprintf("answer %d", n.Add(1))
		body, _ := io.ReadAll(req.Body)
		stream := strings.Contains(string(body), `"stream":true`)
		for _, w := range flawWires {
			switch {
			case !strings.HasSuffix(path, w.path):
			case stream:
				return answer(200, asStream, strings.Join(w.events(said{text: text}), "\n\n")+"\n\n"), nil
			default:
				return answer(200, asJSON, w.json(said{text: text})), nil
			}
		}
		switch {
		case strings.HasSuffix(path, "/embeddings"):
			return answer(200, asJSON, fmt.Sprintf(`{"object":"list","data":[{"index":0,"embedding":[0.%d]}],"usage":{"total_tokens":3}}`, n.Load())), nil
		case stream:
			return answer(200, asStream, fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"text\":%q,\"finish_reason\":null}]}\n\ndata: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n", text)+doneEvent), nil
		}
		return answer(200, asJSON, fmt.Sprintf(`{"choices":[{"index":0,"text":%q,"finish_reason":"stop"}]}`, text)), nil
	})
	return base, func(stream bool) string {
		return fmt.Sprintf(`{"model":"m","temperature":1,"prompt":"q","input":"q","messages":[{"role":"user","content":"q"}],"stream":%v}`, stream)
	}
}

// The same key and the same request get the same answer, on every wire and in either form,
// whatever the cache would do. Another key is another call.
func TestIdempotency_TheSameCallIsMadeOnce(t *testing.T) {
	for _, path := range []string{"/chat/completions", "/completions", "/responses", "/v1/messages", "/embeddings"} {
		for name, opts := range map[string][]Option{
			"alone":               nil,
			"deterministic":       {WithCache(CachePolicy{Deterministic: true})},
			"cached for a moment": {WithCache(CachePolicy{TTL: time.Second, StaleIfError: Off})},
			"backed":              {WithEndpoints(at("a")...), WithBackup(at("b")...)},
		} {
			for _, stream := range []bool{false, true} {
				bubble(t, fmt.Sprint(path[1:], "/", name, "/", stream), func(t *testing.T) {
					base, body := numbered(path)
					rt := over(t, base, append(opts, idempotent)...)
					first := asks(t.Context(), rt, body(stream), toPath(path), underKey("k1"))
					elapse(time.Hour)
					second := asks(t.Context(), rt, body(stream), toPath(path), underKey("k1"))
					if first.err != nil || first.status() != 200 || second.body != first.body || second.status() != 200 || second.err != nil || base.Count("") != 1 {
						t.Fatalf("first %v, second %v, %d attempts, want one answer of one attempt", first, second, base.Count(""))
					}
					if got := second.header("Cache-Status"); got != "breakwater; hit; ttl=82800; detail=idempotency-key" || second.header("Age") != "3600" || second.header(headerOutcome) != "hit" {
						t.Errorf("the second has Cache-Status %q, Age %q, outcome %q", got, second.header("Age"), second.header(headerOutcome))
					}
					if got := second.header("Content-Type"); got != first.header("Content-Type") {
						t.Errorf("the second is of type %q, the first of %q", got, first.header("Content-Type"))
					}
					if other := asks(t.Context(), rt, body(stream), toPath(path), underKey("k2")); other.body == first.body || base.Count("") != 2 {
						t.Errorf("with another key: %v after %d attempts, want another answer", other, base.Count(""))
					}
					elapse(24*time.Hour - time.Hour)
					if late := asks(t.Context(), rt, body(stream), toPath(path), underKey("k1")); late.body == first.body || base.Count("") != 3 {
						t.Errorf("after a day: %v after %d attempts, want a new answer", late, base.Count(""))
					}
				})
			}
		}
	}
}

// What the cache would not keep is kept for its key, since the caller says that the call is
// the same. What it says of the cache concerns the cache, but for no-store.
func TestIdempotency_WhatIsKept(t *testing.T) {
	stored := `{"model":"m","input":"q","store":true,"previous_response_id":"r1"}`
	queued := `{"id":"r2","object":"response","status":"queued","output":[]}`
	tools := `{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"f"}}]}`
	for name, tt := range map[string]struct {
		path, body string
		base       handler
		edit       func(*http.Request)
		kept       bool
	}{
		"state at the host":         {"/responses", stored, gives(200, asJSON, said{text: "x"}.response()), nil, true},
		"accepted for later":        {"/responses", `{"model":"m","input":"q","background":true}`, gives(200, asJSON, queued), nil, true},
		"tools":                     {"/chat/completions", tools, gives(200, asJSON, flawWires[0].json(said{tool: "f"})), nil, true},
		"cut at the token limit":    {"/chat/completions", chatJSON, gives(200, asJSON, flawWires[0].json(said{text: "x", cut: true})), nil, true},
		"a stream cut there":        {"/chat/completions", chatStream, gives(200, asStream, strings.Join(flawWires[0].events(said{text: "x", cut: true}), "\n\n")+"\n\n"), nil, true},
		"NoCache":                   {"/chat/completions", chatJSON, gives(200, asJSON, goodJSON), withCall(Call{NoCache: true}), true},
		"NoShare":                   {"/chat/completions", chatJSON, gives(200, asJSON, goodJSON), withCall(Call{NoShare: true}), true},
		"no-cache":                  {"/chat/completions", chatJSON, gives(200, asJSON, goodJSON), with("Cache-Control", "no-cache, max-age=0"), true},
		"no-store":                  {"/chat/completions", chatJSON, gives(200, asJSON, goodJSON), with("Cache-Control", "no-store"), false},
		"a Vary that differs":       {"/chat/completions", chatJSON, gives(200, asJSON, goodJSON, "Vary", "User-Agent, Idempotency-Key"), nil, true},
		"a short time of the host":  {"/chat/completions", chatJSON, gives(200, asJSON, goodJSON, "Cache-Control", "max-age=1, must-revalidate"), nil, true},
		"an answer that is old":     {"/chat/completions", chatJSON, gives(200, asJSON, goodJSON, "Age", "900000"), nil, true},
		"no-store of the host":      {"/chat/completions", chatJSON, gives(200, asJSON, goodJSON, "Cache-Control", "no-store"), nil, false},
		"too large":                 {"/chat/completions", chatJSON, gives(200, asJSON, flawWires[0].json(said{text: strings.Repeat("x", 1<<20)})), nil, false},
		"a refusal":                 {"/chat/completions", chatJSON, gives(400, asJSON, `{"error":{"message":"bad"}}`), nil, false},
		"a failure":                 {"/chat/completions", chatJSON, failing503, nil, false},
		"a broken stream":           {"/chat/completions", chatStream, breaks(asStream, goodEvent), nil, false},
		"reasoning alone":           {"/chat/completions", chatJSON, gives(200, asJSON, flawWires[0].json(said{reasoning: "Hm."})), nil, false},
		"a flawed answer":           {"/v1/messages", chatJSON, gives(200, asJSON, flawWires[2].json(said{reasoning: "Hm."})), nil, false},
		"a body that is not JSON":   {"/chat/completions", `{"model":"m","messages":[]`, gives(200, asJSON, goodJSON), nil, true},
		"a body with an encoding":   {"/chat/completions", "xx", gives(200, asJSON, goodJSON), with("Content-Encoding", "gzip"), false},
		"a body above MaxReplay":    {"/chat/completions", `{"model":"m","messages":["` + strings.Repeat("x", 5000) + `"]}`, gives(200, asJSON, goodJSON), nil, false},
		"Accept: text/event-stream": {"/chat/completions", chatJSON, gives(200, asStream, wholeStream), with("Accept", "text/event-stream"), true},
	} {
		for setup, opts := range map[string][]Option{"cached": {WithCache(CachePolicy{TTL: time.Second, StaleIfError: Off})}, "alone": nil} {
			bubble(t, name+"/"+setup, func(t *testing.T) {
				base := newHosts(tt.base)
				rt := over(t, base, append(opts, idempotent, once, noBreaker, WithRetry(RetryPolicy{Attempts: 1, MaxReplay: 4 << 10}),
					WithStream(StreamPolicy{RequireAnswer: true, KeepFlawed: true, Rescue: RescueOff}))...)
				var got [2]seen
				for i := range got {
					edits := []func(*http.Request){toPath(tt.path), underKey("k"), with("User-Agent", fmt.Sprint(i)), with("X-Stainless-Retry-Count", fmt.Sprint(i))}
					if tt.edit != nil {
						edits = append(edits, tt.edit)
					}
					got[i] = asks(t.Context(), rt, tt.body, edits...)
					elapse(time.Minute)
				}
				if n := base.Count(""); (n == 1) != tt.kept || got[1].body != got[0].body {
					t.Errorf("%d attempts, first %v, second %v, want it kept: %v", n, got[0], got[1], tt.kept)
				}
				if held := stillHeld(rt); held != "" {
					t.Error(held)
				}
			})
		}
	}
}

// A key with another request is refused, in the shape of the wire, while the first call is
// under way and later; white space and order make no other request, and headers, URL and
// caller make another call.
func TestIdempotency_AnotherRequest(t *testing.T) {
	const message = `"message":"breakwater: the Idempotency-Key was used with another request: want a new one for each call"`
	for path, want := range map[string]string{
		"/chat/completions": `{"error":{` + message + `,"type":"breakwater_error","param":null,"code":"idempotency_key_reused"}}`,
		"/responses":        `{"error":{` + message + `,"type":"breakwater_error","param":null,"code":"idempotency_key_reused"}}`,
		"/v1/messages":      `{"type":"error","error":{` + message + `,"type":"invalid_request_error","param":null,"code":"idempotency_key_reused"}}`,
	} {
		for _, asErrors := range []bool{false, true} {
			for _, when := range []string{"under way", "kept"} {
				bubble(t, fmt.Sprint(path[1:], "/", when, "/", asErrors), func(t *testing.T) {
					base, _ := numbered(path)
					slow := newHosts(fakehost.After(time.Minute, base.RoundTrip))
					opts := []Option{idempotent, WithEndpoints(at("a", "b")...)}
					if asErrors {
						opts = append(opts, WithErrors())
					}
					rt := over(t, slow, opts...)
					first := calls(t, rt, `{"model":"m","input":"q","messages":[]}`, toPath(path), underKey("k"))
					if when == "kept" {
						elapse(time.Hour)
						synctest.Wait()
					}
					for _, other := range []string{`{"model":"m","input":"other","messages":[]}`, `{"model":"m","input":"q","messages":[],"stream":true}`, `{"model":"m"`} {
						got := asks(t.Context(), rt, other, toPath(path), underKey("k"))
						err := got.err
						if !asErrors {
							err = ErrorOf(got.resp)
							if got.status() != 422 || got.body != want || got.header(headerError) != "idempotency_key_reused" || got.header(headerRetry) != "false" || got.header(headerOutcome) != "idempotency_key_reused" {
								t.Errorf("got %v, want 422 %s", got, want)
							}
						}
						var failure *Error
						if !errors.As(err, &failure) || failure.Class != ClassIdempotencyReused || len(failure.Attempts) != 0 {
							t.Errorf("the error is %v, want an *Error of %s", err, ClassIdempotencyReused)
						}
					}
					if same := asks(t.Context(), rt, "{ \"messages\": [],\n\"input\":\"q\", \"model\":\"m\"}", toPath(path), underKey("k")); same.status() != 200 {
						t.Errorf("the same in another spelling: %v", same)
					}
					synctest.Wait()
					if n := slow.Count(""); n != 1 || first.err != nil || first.resp.StatusCode != 200 {
						t.Errorf("%d attempts, the first call ended in %v", n, first.err)
					}
					for name, edit := range map[string]func(*http.Request){
						"header": with("X-Tenant", "7"), "query": func(req *http.Request) { req.URL.RawQuery = "v=2" }, "caller": with("Authorization", "Bearer sk-other"),
						"endpoint": withCall(Call{Endpoint: "b"}), "list of endpoints": withCall(Call{Endpoints: []string{"b"}}),
					} {
						if got := asks(t.Context(), rt, `{"model":"m","input":"other","messages":[]}`, toPath(path), underKey("k"), edit); got.status() == 422 {
							t.Errorf("with another %s: %v, want a call of its own", name, got)
						}
					}
				})
			}
		}
	}
}

// Keys come from strangers. What is none is refused before anything is sent, and no message
// quotes it.
func TestIdempotency_KeysThatAreNone(t *testing.T) {
	several := func(req *http.Request) { req.Header["Idempotency-Key"] = []string{"one", "two"} }
	spelled := func(req *http.Request) {
		req.Header["idempotency-key"], req.Header["Idempotency-Key"] = []string{"one"}, []string{"two"}
	}
	own := func(id string) func(*http.Request) { return withCall(Call{IdempotencyKey: id}) }
	for name, tt := range map[string]struct {
		edit func(*http.Request)
		want string // part of the message; empty: it is a good one
	}{
		"empty":                {underKey(""), "is empty"},
		"blank":                {underKey(" \t "), "is empty"},
		"long":                 {underKey(strings.Repeat("s", 256)), "has 256 bytes: want at most 255"},
		"very long":            {underKey(strings.Repeat("s", 1<<20)), "has 1048576 bytes: want at most 255"},
		"a control character":  {underKey("secret\x00key"), "not printable ASCII"},
		"a line break":         {underKey("secret\nkey"), "not printable ASCII"},
		"DEL":                  {underKey("secret\x7f"), "not printable ASCII"},
		"no ASCII":             {underKey("secret-\u00e9"), "not printable ASCII"},
		"bytes":                {underKey("secret\xff\xfe"), "not printable ASCII"},
		"two fields":           {several, "has 2 fields Idempotency-Key: want one"},
		"two spellings":        {spelled, "has 2 fields Idempotency-Key: want one"},
		"of Call, long":        {own(strings.Repeat("s", 256)), "has 256 bytes"},
		"of Call, a line":      {own("secret\r\n"), "not printable ASCII"},
		"the longest":          {underKey(strings.Repeat("s", 255)), ""},
		"one character":        {underKey("s"), ""},
		"a structured field":   {underKey(`"8e03978e-40d5-43e8-bc93-6894a57f9324"`), ""},
		"a space within":       {underKey("order 7"), ""},
		"another spelling":     {func(req *http.Request) { req.Header["idempotency-key"] = []string{"k"} }, ""},
		"no list":              {func(req *http.Request) { req.Header["Idempotency-Key"] = nil }, ""},
		"of Call, over a bad":  {func(req *http.Request) { underKey("")(req); own("k")(req) }, ""},
		"what looks like code": {underKey("${jndi:ldap://x}'; DROP TABLE--%s%n"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			base, _ := numbered("/chat/completions")
			var told strings.Builder
			rt := over(t, base, idempotent, WithObserver(func(_ context.Context, e Event) { fmt.Fprintf(&told, "%+v %v\n", e, e.Err) }))
			got := asks(t.Context(), rt, chatJSON, tt.edit)
			if tt.want == "" {
				if got.status() != 200 {
					t.Errorf("got %v, want an answer", got)
				}
				return
			}
			var failure *Error
			if got.status() != 400 || got.header(headerError) != "idempotency_key_invalid" || !strings.Contains(got.body, tt.want) || base.Count("") != 0 {
				t.Errorf("got %v after %d attempts, want 400 %s", got, base.Count(""), tt.want)
			}
			if !errors.As(ErrorOf(got.resp), &failure) || failure.Class != ClassIdempotencyInvalid {
				t.Errorf("ErrorOf = %v", ErrorOf(got.resp))
			}
			if text := got.body + told.String() + fmt.Sprint(got.resp.Header); strings.Contains(text, "secret") || strings.Contains(text, "ssss") {
				t.Errorf("the key is told: %.200s", text)
			}
			if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
				t.Errorf("without a key: %v", got)
			}
		})
	}
}

// Without the option, keys mean nothing here, whatever they are.
func TestIdempotency_Off(t *testing.T) {
	base, body := numbered("/chat/completions")
	rt := over(t, base)
	for _, id := range []string{"k", "k", "", strings.Repeat("x", 999)} {
		if got := asks(t.Context(), rt, body(false), underKey(id)); got.status() != 200 || got.header("Cache-Status") != "" {
			t.Errorf("got %v, want an answer without a word of the cache", got)
		}
	}
	if base.Count("") != 4 {
		t.Errorf("%d attempts, want 4", base.Count(""))
	}
	rt = over(t, base, idempotent)
	if got := asks(t.Context(), rt, body(false)); got.status() != 200 || got.header("Cache-Status") != "" {
		t.Errorf("without a key: %v, want an answer without a word of the cache", got)
	}
}

// A call joins the one under way with its key, from the first byte on; those with other
// keys, or none, do not share with it.
func TestIdempotency_JoinsACallUnderWay(t *testing.T) {
	for setup, opts := range map[string][]Option{"cached": {WithCache(CachePolicy{})}, "alone": nil} {
		bubble(t, setup, func(t *testing.T) {
			base, opened := fakehost.Faucets("")
			rt := over(t, base, append(opts, idempotent)...)
			first := calls(t, rt, chatStream, underKey("k"), withCall(Call{NoShare: true, NoCache: true}))
			f := <-opened
			f.Send(event("1"))
			synctest.Wait()
			second := calls(t, rt, chatStream, underKey("k"))
			other := calls(t, rt, chatStream, underKey("k2"))
			if got := second.read.String(); got != event("1") || second.resp.Header.Get("Cache-Status") != "breakwater; fwd=uri-miss; collapsed" || second.resp.Header.Get(headerOutcome) != "collapsed" {
				t.Errorf("the second has %q, %v", got, second.resp.Header)
			}
			if base.Count("") != 2 {
				t.Errorf("%d attempts, want one for each key", base.Count(""))
			}
			f.Send(finishEvent)
			f.Send(doneEvent)
			f.End()
			synctest.Wait()
			if want := event("1") + finishEvent + doneEvent; first.read.String() != want || second.read.String() != want || second.ended != io.EOF {
				t.Errorf("first %q, second %q", first.read.String(), second.read.String())
			}
			other.cancel()
			if late := asks(t.Context(), rt, chatStream, underKey("k")); late.body != first.read.String() || base.Count("") != 2 {
				t.Errorf("later: %v", late)
			}
		})
	}
}

// The answer of a call is for its repetitions, whatever its Vary says.
func TestIdempotency_JoinsWhateverVaries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, opened := fakehost.Faucets(event("1"))
		base := newHosts(fakehost.Adding(source.RoundTrip, "Vary", "User-Agent"))
		rt := over(t, base, idempotent)
		first := calls(t, rt, chatStream, underKey("k"), with("User-Agent", "1"))
		second := calls(t, rt, chatStream, underKey("k"), with("User-Agent", "2"))
		if first.read.String() != event("1") || second.read.String() != event("1") || base.Count("") != 1 {
			t.Errorf("first %q, second %q after %d attempts", first.read.String(), second.read.String(), base.Count(""))
		}
		(<-opened).End()
		synctest.Wait()
	})
}

// A failure is for those who waited for it, and the next call is made anew.
func TestIdempotency_FailuresAreNotKept(t *testing.T) {
	for name, fails := range map[string]handler{
		"refused": refusing, "503": failing503, "400": gives(400, asJSON, `{"error":{"message":"bad"}}`), "cut": breaks(asJSON, goodJSON[:50]), "cut stream": breaks(asStream, goodEvent),
	} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(fakehost.After(time.Second, fails))
			rt := over(t, base, idempotent, once, noBreaker, WithStream(StreamPolicy{Rescue: RescueOff}))
			first := calls(t, rt, chatStream, underKey("k"))
			second := calls(t, rt, chatStream, underKey("k"))
			elapse(time.Minute)
			synctest.Wait()
			status := func(c *caller) string { return fmt.Sprint(c.resp.StatusCode, c.read.String(), c.ended) }
			if base.Count("") != 1 || status(first) != status(second) {
				t.Errorf("first %s, second %s, %d attempts, want the same of one", status(first), status(second), base.Count(""))
			}
			base.Set("", gives(200, asStream, wholeStream))
			if third := asks(t.Context(), rt, chatStream, underKey("k")); third.body != wholeStream {
				t.Errorf("the next call got %v, want an answer", third)
			}
			if held := stillHeld(rt); held != "" {
				t.Error(held)
			}
		})
	}
}

// A caller that runs out of time and asks again gets the answer of its first attempt, under
// way or whole by then. This is what keys are for.
func TestIdempotency_TheAnswerOutlivesItsCaller(t *testing.T) {
	leave := map[string]func(c *caller){"cancels": func(c *caller) { c.cancel() }, "closes": func(c *caller) { c.resp.Body.Close() }}
	for name, leaves := range leave {
		for _, when := range []string{"before the answer", "within it"} {
			for _, again := range []string{"before it is whole", "after it"} {
				if name == "closes" && when == "before the answer" {
					continue
				}
				bubble(t, name+" "+when+", asks again "+again, func(t *testing.T) {
					base, opened := fakehost.Faucets("")
					rt := over(t, base, idempotent, WithRateLimit(RatePolicy{InFlight: 1}))
					first := calls(t, rt, chatStream, underKey("k"))
					f := <-opened
					if when == "within it" {
						f.Send(event("1"))
						synctest.Wait()
					}
					leaves(first)
					synctest.Wait()
					if f.Closed() || f.Context().Err() != nil {
						t.Fatal("the attempt ended with its caller")
					}
					if when == "before the answer" {
						f.Send(event("1"))
					}
					elapse(20 * time.Second)
					finish := func() {
						f.Send(finishEvent)
						f.Send(doneEvent)
						f.End()
						synctest.Wait()
					}
					if again == "after it" {
						finish()
					}
					second := calls(t, rt, chatStream, underKey("k"))
					want := event("1")
					if again != "after it" {
						for range 8 { // for longer than it would go on without a caller
							elapse(20 * time.Second)
							f.Send(event("2"))
							want += event("2")
						}
						finish()
					}
					if want += finishEvent + doneEvent; second.read.String() != want || second.ended != io.EOF || base.Count("") != 1 {
						t.Errorf("the second has %q, %v, %v after %d attempts", second.read.String(), second.err, second.ended, base.Count(""))
					}
					if held := stillHeld(rt); held != "" {
						t.Error(held)
					}
				})
			}
		}
	}
}

// Nobody waits for ever: an attempt that all have left ends after Linger, at once if that is
// Off or the answer may not be kept, with Close, and if it becomes too large.
func TestIdempotency_LingeringIsBounded(t *testing.T) {
	off := WithIdempotency(IdempotencyPolicy{Linger: Off})
	goesOn := func(seconds int) func(*Transport, *fakehost.Faucet) {
		return func(_ *Transport, f *fakehost.Faucet) {
			for range seconds {
				f.Send(event("2"))
				elapse(time.Second)
			}
		}
	}
	short := WithIdempotency(IdempotencyPolicy{Linger: time.Second, MaxEntryBytes: 1000})
	for _, tt := range []struct {
		name   string
		option Option
		edit   func(*http.Request)
		after  func(*Transport, *fakehost.Faucet)
		ends   bool // after that
	}{
		{"default", idempotent, nil, goesOn(119), false},
		{"default, longer", idempotent, nil, goesOn(120), true},
		{"a second", short, nil, func(*Transport, *fakehost.Faucet) { elapse(time.Second) }, true},
		{"Off", off, nil, nil, true},
		{"no-store", idempotent, with("Cache-Control", "no-store"), nil, true},
		{"Close", idempotent, nil, func(rt *Transport, _ *fakehost.Faucet) { rt.Close() }, true},
		{"too large", short, nil, func(_ *Transport, f *fakehost.Faucet) { f.Send(event(strings.Repeat("x", 100_000))) }, true},
		{"of no key", idempotent, func(req *http.Request) { req.Header.Del("Idempotency-Key") }, nil, true},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base, opened := fakehost.Faucets(event("1"))
			rt := over(t, base, tt.option, WithRateLimit(RatePolicy{InFlight: 1}))
			edits := []func(*http.Request){underKey("k")}
			if tt.edit != nil {
				edits = append(edits, tt.edit)
			}
			c := calls(t, rt, chatStream, edits...)
			f := <-opened
			synctest.Wait()
			c.cancel()
			synctest.Wait()
			if tt.after != nil {
				tt.after(rt, f)
			}
			synctest.Wait()
			if got := f.Closed(); got != tt.ends || (stillHeld(rt) == "") != tt.ends {
				t.Errorf("ended: %v, still held: %s, want it ended: %v", got, stillHeld(rt), tt.ends)
			}
			if !tt.ends { // the next caller does not restart the time of those who are gone
				rt.Close()
				synctest.Wait()
			}
			if s := rt.Status().Outcomes; s[Outcome(ClassCanceled)] != 1 {
				t.Errorf("outcomes %v, want one call that was cancelled", s)
			}
		})
	}
}

// A call that waits for its turn when its caller leaves has cost nothing: it gives the turn up.
func TestIdempotency_TurnsAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, opened := fakehost.Faucets(event("1"))
		rt := over(t, base, idempotent, WithRateLimit(RatePolicy{InFlight: 1, MaxWait: time.Hour}))
		first := calls(t, rt, chatStream, underKey("k1"))
		waits := calls(t, rt, chatStream, underKey("k2"))
		waits.cancel()
		synctest.Wait()
		if l := rt.Status().Endpoints[0].Limits[0]; l.Waiting != 0 || base.Count("") != 1 {
			t.Errorf("%+v, %d attempts, want nobody to wait", l, base.Count(""))
		}
		first.cancel()
		(<-opened).End()
		synctest.Wait()
		if held := stillHeld(rt); held != "" {
			t.Error(held)
		}
	})
}

// At most 128 attempts go on without a caller.
func TestIdempotency_FewLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, opened := fakehost.Faucets("")
		opened2 := make(chan *fakehost.Faucet, 1000)
		go func() {
			for f := range opened {
				opened2 <- f
			}
		}()
		rt := over(t, base, idempotent)
		var all []*caller
		for i := range 200 {
			all = append(all, calls(t, rt, chatStream, underKey(fmt.Sprint(i))))
		}
		for _, c := range all {
			c.cancel()
		}
		synctest.Wait()
		close(opened)
		open := 0
		for range 200 {
			if f := <-opened2; f.Context().Err() == nil {
				open++
			}
		}
		if open != 128 {
			t.Errorf("%d attempts go on, want 128", open)
		}
		elapse(2 * time.Minute)
		synctest.Wait()
		if held := stillHeld(rt); held != "" {
			t.Error(held)
		}
	})
}

// A caller with little time does not pay twice for an answer that takes long: it waits, asks
// again, and gets it in the end. Only an attempt that shows nothing for as long as the clocks
// allow is given another beside it.
func TestIdempotency_LittleTime(t *testing.T) {
	for took, want := range map[time.Duration]int{25 * time.Second: 1, time.Hour: 3} { // FirstToken: 30s
		bubble(t, took.String(), func(t *testing.T) {
			base := newHosts(fakehost.After(took, gives(200, asStream, wholeStream)))
			rt := over(t, base, idempotent)
			var got seen
			for range 10 {
				ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
				got = asks(ctx, rt, chatStream, underKey("k"))
				cancel()
				if got.err == nil {
					break
				}
				elapse(time.Second)
			}
			if base.Count("") != want || (got.body == wholeStream) != (took < time.Minute) {
				t.Errorf("got %v after %d attempts, want %d", got, base.Count(""), want)
			}
			rt.Close()
			synctest.Wait()
			if held := stillHeld(rt); held != "" {
				t.Error(held)
			}
		})
	}
}

// With a cache, a new key may get a kept answer, which is its own from then on; the key's
// answer is kept for others, too, if the cache would keep it.
func TestIdempotency_BesideTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, body := numbered("/chat/completions")
		rt := over(t, base, idempotent, WithCache(CachePolicy{TTL: time.Minute, StaleIfError: Off}))
		first := asks(t.Context(), rt, body(false), underKey("k1"))
		second := asks(t.Context(), rt, body(false))
		third := asks(t.Context(), rt, body(false), underKey("k2"))
		if second.body != first.body || third.body != first.body || base.Count("") != 1 || second.header("Cache-Status") != "breakwater; hit; ttl=60" {
			t.Errorf("%v, %v, %v after %d attempts, want one answer", first, second, third, base.Count(""))
		}
		elapse(time.Hour)
		fourth := asks(t.Context(), rt, body(false), underKey("k2"))
		fifth := asks(t.Context(), rt, body(false))
		if fourth.body != first.body || fifth.body == first.body || base.Count("") != 2 {
			t.Errorf("an hour later: %v with the key, %v without one after %d attempts", fourth, fifth, base.Count(""))
		}
		if n := rt.Status().Cache; n.Entries != 3 || n.Hits != 3 || n.Stores != 2 {
			t.Errorf("%+v, want the answers of two keys and one of the cache", n)
		}
	})
}

// A caller is its credential, or the tenant that Scope names; nobody's keys have no effect.
func TestIdempotency_Scope(t *testing.T) {
	tenant := func(req *http.Request) string { return req.Header.Get("User-Agent") } // which is in no key
	as := func(credential, agent string) func(*http.Request) {
		return func(req *http.Request) {
			req.Header.Set("Authorization", "Bearer "+credential)
			req.Header.Set("User-Agent", agent)
		}
	}
	for _, tt := range []struct {
		name   string
		opts   []Option
		edits  [2]func(*http.Request)
		shares bool
	}{
		{"one credential", []Option{idempotent}, [2]func(*http.Request){as("sk-1", "x"), as("sk-1", "y")}, true},
		{"two credentials", []Option{idempotent}, [2]func(*http.Request){as("sk-1", "x"), as("sk-2", "x")}, false},
		{"one tenant", []Option{WithIdempotency(IdempotencyPolicy{Scope: tenant})}, [2]func(*http.Request){as("sk-1", "x"), as("sk-2", "x")}, true},
		{"two tenants", []Option{WithIdempotency(IdempotencyPolicy{Scope: tenant})}, [2]func(*http.Request){as("sk-1", "x"), as("sk-1", "y")}, false},
		{"nobody", []Option{WithIdempotency(IdempotencyPolicy{Scope: tenant})}, [2]func(*http.Request){as("sk-1", ""), as("sk-1", "")}, false},
		{"the cache's tenants", []Option{idempotent, WithCache(CachePolicy{Scope: tenant, Deterministic: true})}, [2]func(*http.Request){as("sk-1", "x"), as("sk-1", "y")}, false},
		{"of Call", []Option{idempotent}, [2]func(*http.Request){withCall(Call{Scope: "x"}), withCall(Call{Scope: "y"})}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base, body := numbered("/chat/completions")
			rt := over(t, base, tt.opts...)
			var got [2]seen
			for i, edit := range tt.edits {
				got[i] = asks(t.Context(), rt, body(false), underKey("k"), edit)
			}
			if shares := got[0].body == got[1].body; shares != tt.shares || got[0].status() != 200 || got[1].status() != 200 {
				t.Errorf("%v and %v, want the same: %v", got[0], got[1], tt.shares)
			}
		})
	}
}

// What one process has kept, another gives; it finds another request, too. What is damaged,
// of another form or of the cache's is a miss.
func TestIdempotency_Store(t *testing.T) {
	for _, stream := range []bool{false, true} {
		bubble(t, fmt.Sprint(stream), func(t *testing.T) {
			shared := &memoryStore{}
			base, body := numbered("/chat/completions")
			process := func(opts ...Option) *Transport {
				return over(t, base, append(opts, WithIdempotency(IdempotencyPolicy{Store: shared, TTL: time.Hour}))...)
			}
			first := asks(t.Context(), process(), body(stream), underKey("k"))
			synctest.Wait()
			second := process()
			if got := asks(t.Context(), second, body(stream), underKey("k")); got.body != first.body || got.header("Content-Type") != first.header("Content-Type") || base.Count("") != 1 {
				t.Errorf("another process got %v after %d attempts, want %v", got, base.Count(""), first)
			}
			if got := asks(t.Context(), process(), chatJSON, underKey("k")); got.status() != 422 {
				t.Errorf("another request got %v, want 422", got)
			}
			if shared.keep != time.Hour || len(shared.all) != 1 {
				t.Errorf("%d entries, kept for %v", len(shared.all), shared.keep)
			}
			for id, entry := range shared.all {
				if text := id + string(entry); len(id) != 64 || strings.Contains(text, `"k"`) || strings.Contains(text, "sk-caller") {
					t.Errorf("the Store has %q", text)
				}
				shared.all[id] = append(entry[:len(entry)-1], '!')
			}
			if got := asks(t.Context(), process(), body(stream), underKey("k")); got.body == first.body || base.Count("") != 2 {
				t.Errorf("a damaged entry: %v after %d attempts", got, base.Count(""))
			}
			elapse(time.Hour)
			synctest.Wait()
			if got := asks(t.Context(), process(), body(stream), underKey("k")); base.Count("") != 3 {
				t.Errorf("an old entry: %v after %d attempts", got, base.Count(""))
			}
		})
	}
}

// The key goes where the call is meant to go, as without the option, and nowhere else; not
// with the attempt that continues a stream, and never that of Call.
func TestIdempotency_WhereTheKeyGoes(t *testing.T) {
	for name, opts := range map[string][]Option{"off": nil, "on": {idempotent}} {
		synctest.Test(t, func(t *testing.T) {
			fleet := WithEndpoints(deepSeekAt("a"))
			var sent []string
			note := func(do handler) handler {
				return func(req *http.Request) (*http.Response, error) {
					sent = append(sent, req.URL.Host+" "+strings.Join(req.Header["Idempotency-Key"], ","))
					return do(req)
				}
			}
			base := newHosts(note(gives(200, asStream, wholeStream)))
			base.Set("a", note(breaks(asStream, goodEvent)))
			rt := over(t, base, append(opts, fleet, WithBackup(deepSeekAt("b")), once)...)
			asks(t.Context(), rt, chatStream, underKey("k"))
			asks(t.Context(), rt, chatStream, withCall(Call{IdempotencyKey: "k2"}))
			base.Set("a", note(refusing))
			asks(t.Context(), rt, chatStream, underKey("k3"))
			if got, want := strings.Join(sent, "; "), "a k; b ; a ; b ; a k3; b "; got != want {
				t.Errorf("%s: sent %q, want %q", name, got, want)
			}
		})
	}
}

// A call within a call, as of middleware that passes the headers on, does not wait for itself.
func TestIdempotency_WithinACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, body := numbered("/chat/completions")
		var rt *Transport
		nests := WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper {
			return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				if req.Header.Get("User-Agent") != "inner" {
					inner := req.Clone(req.Context())
					inner.Body, _ = req.GetBody()
					inner.Header.Set("User-Agent", "inner")
					if resp, err := rt.RoundTrip(inner); err == nil {
						resp.Body.Close()
					}
				}
				return next.RoundTrip(req)
			})
		})
		rt = over(t, base, idempotent, nests)
		start := time.Now()
		if got := asks(t.Context(), rt, body(false), underKey("k")); got.status() != 200 || time.Since(start) > 0 || base.Count("") != 2 {
			t.Errorf("got %v after %v and %d attempts", got, time.Since(start), base.Count(""))
		}
	})
}

// Many callers with few keys, who leave when they like: one answer for each key.
func TestIdempotency_Crowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, _ := numbered("/chat/completions")
		slow := newHosts(fakehost.After(3*time.Second, base.RoundTrip))
		rt := over(t, slow, idempotent, WithCache(CachePolicy{Deterministic: true}))
		var wait sync.WaitGroup
		var mu sync.Mutex
		answers := make(map[string]map[string]bool)
		for i := range ifFull(2000, 300) {
			wait.Go(func() {
				id, stream := fmt.Sprint(i%20), i%20%2 == 0
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%7)*time.Second)
				defer cancel()
				got := asks(ctx, rt, fmt.Sprintf(`{"model":"m","messages":[],"user":%q,"stream":%v}`, id, stream), underKey(id))
				if got.err != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if answers[id] == nil {
					answers[id] = make(map[string]bool)
				}
				answers[id][got.body] = true
			})
		}
		wait.Wait()
		for id, all := range answers {
			if len(all) != 1 {
				t.Errorf("key %s has %d answers", id, len(all))
			}
		}
		if n := slow.Count(""); n != 20 || len(answers) != 20 {
			t.Errorf("%d attempts and %d keys with answers, want 20", n, len(answers))
		}
		synctest.Wait()
		if held := stillHeld(rt); held != "" {
			t.Error(held)
		}
	})
}

// A stream that was rescued is whole, and kept as its caller has read it.
func TestIdempotency_RescuedStreams(t *testing.T) {
	inWorld(t, "primary second", []Option{idempotent}, func(w *world) {
		for _, s := range w.fleet.Servers() {
			s.BreakNext(1, kit.CutStream(4))
		}
		first, err := w.callWith(w.t.Context(), "q", true, underKey("k"))
		before := len(w.fleet.Server("primary").Requests()) + len(w.fleet.Server("second").Requests())
		second, again := w.callWith(w.t.Context(), "q", true, underKey("k"))
		after := len(w.fleet.Server("primary").Requests()) + len(w.fleet.Server("second").Requests())
		one, _ := json.Marshal(first)
		other, _ := json.Marshal(second)
		if err != nil || again != nil || first.Content != kit.Answer("q") || string(one) != string(other) || before < 2 || after != before {
			t.Errorf("%s, %v after %d attempts, then %s, %v after %d", one, err, before, other, again, after)
		}
	})
}

// Update keeps the answers of keys, and the calls under way, as long as the Scope is the same.
func TestIdempotency_Update(t *testing.T) {
	tenant := func(*http.Request) string { return "team" }
	for _, tt := range []struct {
		name          string
		before, after []Option
		kept          bool
	}{
		{"nothing changed", []Option{idempotent}, []Option{idempotent}, true},
		{"another time", []Option{idempotent}, []Option{WithIdempotency(IdempotencyPolicy{TTL: time.Hour})}, true},
		{"a shorter time", []Option{idempotent}, []Option{WithIdempotency(IdempotencyPolicy{TTL: time.Second})}, false},
		{"less memory", []Option{idempotent}, []Option{WithIdempotency(IdempotencyPolicy{MaxBytes: 10})}, false},
		{"a cache", []Option{idempotent}, []Option{idempotent, WithCache(CachePolicy{Deterministic: true})}, true},
		{"no cache", []Option{idempotent, WithCache(CachePolicy{Deterministic: true})}, []Option{idempotent}, true},
		{"another Scope by the same literal", []Option{WithIdempotency(IdempotencyPolicy{Scope: byHeader("User")})}, []Option{WithIdempotency(IdempotencyPolicy{Scope: byHeader("Tenant")})}, false},
		{"another Scope", []Option{idempotent}, []Option{WithIdempotency(IdempotencyPolicy{Scope: tenant})}, false},
		{"off", []Option{idempotent}, nil, false},
		{"off, with a cache", []Option{idempotent}, []Option{WithCache(CachePolicy{Deterministic: true})}, false},
		{"on", []Option{WithCache(CachePolicy{Deterministic: true})}, []Option{idempotent}, false},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			answers, body := numbered("/chat/completions")
			base := newHosts(fakehost.After(30*time.Second, answers.RoundTrip))
			must := []Option{steady(), WithBase(base), WithEndpoints(at("a")...)}
			rt := over(t, base, append(must[2:3:3], tt.before...)...)
			first := asks(t.Context(), rt, body(false), underKey("k"))
			leaves := calls(t, rt, body(true), underKey("k2"))
			leaves.cancel()
			elapse(10 * time.Second)
			if err := rt.Update(append(must, tt.after...)...); err != nil {
				t.Fatal(err)
			}
			again := asks(t.Context(), rt, body(false), underKey("k"))
			joins := asks(t.Context(), rt, body(true), underKey("k2"))
			want := 4
			if tt.kept {
				want = 2
			}
			if same := again.body == first.body; same != tt.kept || again.status() != 200 || joins.status() != 200 || base.Count("") != want {
				t.Errorf("%v, then %v and %v after %d attempts, want %d", first, again, joins, base.Count(""), want)
			}
			synctest.Wait()
			if held := stillHeld(rt); held != "" {
				t.Error(held)
			}
		})
	}
}

// A client with a Timeout, which ends the request in its own way, gets its answer when it asks
// again, on every wire and in either form.
func TestIdempotency_ClientTimeout(t *testing.T) {
	for _, wire := range kit.Wires() {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprint(wire, "/", stream), func(t *testing.T) {
				inWorld(t, "primary", []Option{idempotent}, func(w *world) {
					host := w.fleet.Server("primary")
					host.SetPace(kit.Pace{FirstToken: 15 * time.Second, PerToken: time.Second})
					client := &http.Client{Transport: w.rt, Timeout: 10 * time.Second}
					var reply kit.Reply
					tries := 0
					for ; tries < 5; tries++ {
						req, err := wire.Request(w.t.Context(), host.WireURL(wire), "sk-caller", testModel, "q", stream)
						if err != nil {
							t.Fatal(err)
						}
						underKey("k")(req)
						resp, err := client.Do(req)
						if err == nil {
							if reply, err = kit.ReadAnswer(resp); err == nil {
								break
							}
						}
						elapse(time.Second)
					}
					if n := len(host.Requests()); reply.Content != kit.Answer("q") || n != 1 || tries == 0 {
						t.Errorf("after %d tries: %q and %d requests, want the answer of one", tries+1, reply.Content, n)
					}
				})
			})
		}
	}
}

// A request that is refused for its key has its body closed, once, whatever its size.
func TestIdempotency_RefusedBodiesAreClosed(t *testing.T) {
	for _, size := range []int{10, 100_000} {
		rt := over(t, newHosts(gives(200, asJSON, goodJSON)), idempotent, WithRetry(RetryPolicy{MaxReplay: 1 << 10}))
		req, body := post(t.Context(), "https://a", fmt.Sprintf(`{"model":"m","user":%q}`, strings.Repeat("x", size)))
		underKey("")(req)
		resp, err := rt.RoundTrip(req)
		if err != nil || resp.StatusCode != 400 || body.Closed() != 1 {
			t.Errorf("%d bytes: %v, %v, the body was closed %d times", size, resp, err, body.Closed())
		}
	}
}
