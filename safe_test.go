package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// Safe requests: GET and HEAD to an endpoint that are no inference.

const list = `{"object":"list","data":[]}`

// gets makes a safe request and reads its answer to the end.
func gets(ctx context.Context, rt http.RoundTripper, url string, edit ...func(*http.Request)) seen {
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
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

// head makes a request a HEAD.
func head(req *http.Request) { req.Method = http.MethodHead }

// safeWorlds are the ways in which an endpoint is known, with a URL of its API.
var safeWorlds = []struct {
	name, url string
	opts      []Option
	asked     string // the origin was asked for inference here
}{
	{"a known host", "https://api.deepseek.com/user/balance", nil, ""},
	{"an origin asked before", "https://a/v1/models", nil, "https://a/v1/chat/completions"},
	{"an endpoint", "https://a/models", []Option{WithEndpoints(at("a")...)}, ""},
	{"an endpoint of a tier", "https://a/files/f-1/content", []Option{WithEndpoints(at("a", "b")...), WithBackup(at("c")...)}, ""},
	{"a backup", "https://b/responses/r-1", []Option{WithEndpoints(at("a")...), WithBackup(at("b")...)}, ""},
	{"with a cache and hedges", "https://a/models", []Option{WithCache(CachePolicy{}), WithStream(StreamPolicy{Hedge: time.Second}), WithEndpoints(at("a", "b")...)}, ""},
	{"a host's other root", "https://api.siliconflow.cn/v1/models", []Option{WithEndpoints(SiliconFlowCN("sk-own")), WithBackup(at("b")...)}, ""},
}

// inSafeWorlds runs f in each of them. The host of the URL gets the handler do, any other
// fails the test.
func inSafeWorlds(t *testing.T, opts []Option, f func(t *testing.T, rt *Transport, base *fakehost.Base, url string, set func(handler))) {
	for _, w := range safeWorlds {
		bubble(t, w.name, func(t *testing.T) {
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				t.Errorf("%s was sent elsewhere, to %s", req.URL.Path, req.URL.Host)
				return failing503(req)
			})
			rt := over(t, base, append(opts, w.opts...)...)
			u := mustURL(t, w.url)
			if w.asked != "" {
				base.Set(u.Host, gives(200, asJSON, goodJSON))
				asks(t.Context(), rt, chatJSON, func(req *http.Request) { req.URL = mustURL(t, w.asked) })
			}
			f(t, rt, base, w.url, func(do handler) { base.Set(u.Host, do) })
			if left := stillHeld(rt); left != "" {
				t.Errorf("%s is held", left)
			}
		})
	}
}

// What may pass is tried again where it was meant for, as inference is, and its attempts
// are told.
func TestSafe_TriedAgain(t *testing.T) {
	for name, fails := range map[string]handler{
		"408": gives(408, asJSON, "{}"), "429": gives(429, asJSON, "{}"), "500": gives(500, "text/html", "<p>"), "502": gives(502, asJSON, ""),
		"503": failing503, "504": gives(504, asJSON, "{}"), "529": gives(529, asJSON, "{}"), "no connection": refusing,
		"409, told to": gives(409, asJSON, "{}", "X-Should-Retry", "true"),
	} {
		for _, method := range []string{"GET", "HEAD", ""} {
			t.Run(name+" "+method, func(t *testing.T) {
				var told []Kind
				observed := WithObserver(func(_ context.Context, e Event) { told = append(told, e.Kind) })
				inSafeWorlds(t, []Option{observed}, func(t *testing.T, rt *Transport, _ *fakehost.Base, url string, set func(handler)) {
					set(fakehost.Script(gives(200, asJSON, list), fails, fails))
					told = nil
					before := rt.Status()
					got := gets(t.Context(), rt, url, func(req *http.Request) { req.Method = method })
					if got.status() != 200 || got.body != list || got.header(headerAttempts) != "3" || got.header(headerEndpoint) == "" {
						t.Errorf("got %v, want the answer at the third attempt", got)
					}
					trail := TrailOf(got.resp)
					if len(trail) != 3 || trail[0].Verdict != VerdictAgain || trail[0].Class == ClassOK || trail[2].Class != ClassOK || trail[2].Verdict != VerdictAccept || trail[0].Model != "" {
						t.Errorf("the trail is %+v", trail)
					}
					if after := rt.Status(); after.Calls-before.Calls != 1 || after.Attempts-before.Attempts != 3 || after.Failed != 0 || after.Passed != 0 {
						t.Errorf("the status is %+v", after)
					}
					for _, kind := range []Kind{KindAttempt, KindWait, KindCommit, KindCall} {
						if !slices.Contains(told, kind) {
							t.Errorf("observers were not told of %s", kind)
						}
					}
				})
			})
		}
	}
}

// What another try would not change comes as it came, at once.
func TestSafe_AsItCame(t *testing.T) {
	for _, status := range []int{200, 204, 206, 301, 304, 307, 400, 401, 402, 403, 404, 409, 412, 416, 418, 501, 505} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inSafeWorlds(t, nil, func(t *testing.T, rt *Transport, base *fakehost.Base, url string, set func(handler)) {
				before := base.Count("")
				set(gives(status, "application/x-thing", "some bytes", "Location", "https://stranger/", "Content-Range", "bytes 0-9/100", "Www-Authenticate", "Bearer", "Retry-After", "30"))
				got := gets(t.Context(), rt, url, with("Range", "bytes=0-9"), with("If-None-Match", `"x"`))
				if got.status() != status || got.body != "some bytes" || got.header("Content-Range") != "bytes 0-9/100" || got.header("Location") != "https://stranger/" || got.header(headerRetry) != "" {
					t.Errorf("got %v, want it as it came", got)
				}
				if n := base.Count("") - before; n != 1 {
					t.Errorf("%d requests, want 1", n)
				}
				if again := gets(t.Context(), rt, url); again.status() != status {
					t.Errorf("the next one got %v: such an answer means nothing to it", again)
				}
			})
		})
	}
}

// When the tries are spent, the host's last answer comes as it came, of any size and pace,
// and an SDK is told that its own tries are of no use.
func TestSafe_Exhausted(t *testing.T) {
	large := strings.Repeat("down ", 1<<20)
	slow := func(req *http.Request) (*http.Response, error) {
		return answerFrom(503, asJSON, io.MultiReader(strings.NewReader("half"), &delayed{time.Second, strings.NewReader(" and half")})), nil
	}
	for name, last := range map[string]struct {
		do   handler
		want string
	}{
		"small": {gives(503, asJSON, `{"error":"last"}`), `{"error":"last"}`},
		"large": {gives(500, "text/plain", large), large},
		"slow":  {slow, "half and half"},
		"429":   {gives(429, asJSON, `{"error":"slow down"}`), `{"error":"slow down"}`},
		"empty": {gives(502, "", ""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			inSafeWorlds(t, nil, func(t *testing.T, rt *Transport, base *fakehost.Base, url string, set func(handler)) {
				var bodies fakehost.Bodies
				before := base.Count("")
				set(bodies.Of(fakehost.Script(last.do, gives(504, asJSON, "first"), refusing)))
				got := gets(t.Context(), rt, url)
				if got.err != nil || got.body != last.want || got.header(headerRetry) != "false" || got.header(headerAttempts) != "3" {
					t.Errorf("got status %d and %d bytes, %v, want the last answer of %d bytes", got.status(), len(got.body), got.err, len(last.want))
				}
				if n := base.Count("") - before; n != 3 {
					t.Errorf("%d attempts, want 3", n)
				}
				if trail := TrailOf(got.resp); len(trail) != 3 || trail[2].Verdict != VerdictStop || trail[2].Status != got.status() {
					t.Errorf("the trail is %+v", trail)
				}
				if rt.Status().Failed != 1 {
					t.Errorf("%d failed calls, want 1", rt.Status().Failed)
				}
				if n := bodies.Open(); n != 0 {
					t.Errorf("%d bodies are open", n)
				}
			})
		})
	}
}

// A delayed reader waits before it reads.
type delayed struct {
	wait time.Duration
	r    io.Reader
}

func (d *delayed) Read(p []byte) (int, error) {
	elapse(d.wait)
	d.wait = 0
	return d.r.Read(p)
}

// If the last try has no answer, the last answer that there was is given; if there was
// none, the caller gets an error, as with any transport. With WithErrors, it always does.
func TestSafe_ExhaustedWithoutAnAnswer(t *testing.T) {
	t.Run("after an answer", func(t *testing.T) {
		inSafeWorlds(t, nil, func(t *testing.T, rt *Transport, _ *fakehost.Base, url string, set func(handler)) {
			set(fakehost.Script(refusing, gives(503, asJSON, "busy")))
			if got := gets(t.Context(), rt, url); got.status() != 503 || got.body != "busy" {
				t.Errorf("got %v, want the only answer there was", got)
			}
		})
	})
	t.Run("never", func(t *testing.T) {
		inSafeWorlds(t, nil, func(t *testing.T, rt *Transport, _ *fakehost.Base, url string, set func(handler)) {
			set(func(*http.Request) (*http.Response, error) { return nil, slowError{} })
			got := gets(t.Context(), rt, url)
			failure, ok := errors.AsType[*Error](got.err)
			if !ok || len(failure.Attempts) != 3 || !errors.Is(got.err, slowError{}) || !failure.Timeout() {
				t.Errorf("got %v, want an *Error with three attempts and their cause", got)
			}
		})
	})
	t.Run("WithErrors", func(t *testing.T) {
		inSafeWorlds(t, []Option{WithErrors()}, func(t *testing.T, rt *Transport, _ *fakehost.Base, url string, set func(handler)) {
			var bodies fakehost.Bodies
			set(bodies.Of(failing503))
			got := gets(t.Context(), rt, url)
			if failure, ok := errors.AsType[*Error](got.err); !ok || len(failure.Attempts) != 3 {
				t.Errorf("got %v, want an *Error with three attempts", got)
			}
			if n := bodies.Open(); n != 0 {
				t.Errorf("%d bodies are open", n)
			}
		})
	})
}

// The length that a HEAD tells stays, also of a refusal.
func TestSafe_LengthOfAHead(t *testing.T) {
	inSafeWorlds(t, nil, func(t *testing.T, rt *Transport, _ *fakehost.Base, url string, set func(handler)) {
		set(func(*http.Request) (*http.Response, error) {
			resp := answer(503, asJSON, "")
			resp.Body, resp.ContentLength = http.NoBody, 1234
			resp.Header.Set("Content-Length", "1234")
			return resp, nil
		})
		got := gets(t.Context(), rt, url, head)
		if got.status() != 503 || got.resp.ContentLength != 1234 || got.header("Content-Length") != "1234" {
			t.Errorf("got %v of length %d", got, got.resp.ContentLength)
		}
	})
}

// What is coming is passed on as it comes, and nothing is sent again once it has begun.
func TestSafe_BodiesPass(t *testing.T) {
	inSafeWorlds(t, nil, func(t *testing.T, rt *Transport, base *fakehost.Base, url string, set func(handler)) {
		before := base.Count("")
		opened := make(chan *fakehost.Faucet, 1)
		set(func(req *http.Request) (*http.Response, error) {
			f := fakehost.NewFaucet(req, "event: response.created\ndata: {}\n\n")
			opened <- f
			return f.Answer(), nil
		})
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"?stream=true", nil)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		f := <-opened
		buf := make([]byte, 1024)
		n, _ := resp.Body.Read(buf)
		f.Send(": comment\n\n")
		m, _ := resp.Body.Read(buf[n:])
		if got := string(buf[:n+m]); got != "event: response.created\ndata: {}\n\n: comment\n\n" {
			t.Errorf("read %q", got)
		}
		elapse(10 * time.Minute) // nobody judges how fast it is
		f.Break(iotest.ErrTimeout)
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, iotest.ErrTimeout) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the broken body ended in %v", err)
		}
		resp.Body.Close()
		if n := base.Count("") - before; n != 1 {
			t.Errorf("%d requests, want 1: the answer had begun", n)
		}
		if trail := TrailOf(resp); len(trail) != 1 || trail[0].Class != ClassTruncated {
			t.Errorf("the trail is %+v", trail)
		}
	})
}

// Through an endpoint, on loopback: what the caller sees and the host sees is what they see
// through the bare transport, but for breakwater's headers.
func TestSafe_Transparent(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(serveOddly))
	defer server.Close()
	base := newBase()
	defer base.CloseIdleConnections()
	rt, err := New(WithBase(base), WithEndpoints(Endpoint{Name: "own", URL: server.URL, Keyless: true}))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/models", "/gzip", "/trailers", "/hints", "/redirect", "/204", "/304", "/huge", "/models?a=b%20c&d#e", "/chat/completions"} {
		for _, header := range []http.Header{nil, {"Accept-Encoding": {"gzip"}}, {"Authorization": {"Bearer sk-mine"}, "Range": {"bytes=0-1"}, "X-Huge": {strings.Repeat("x", 64<<10)}}} {
			for _, method := range []string{"GET", "HEAD"} {
				see := func(rt http.RoundTripper) string {
					req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					for name, values := range header {
						req.Header[name] = values
					}
					resp, err := (&http.Client{Transport: rt}).Do(req)
					if resp != nil {
						resp.Header.Del(headerEndpoint)
						resp.Header.Del(headerAttempts)
						resp.Header.Del("Breakwater-Outcome")
					}
					return allOf(resp, err)
				}
				if got, want := see(rt), see(base); got != want {
					t.Errorf("%s %s through breakwater:\n%s\nthrough the bare transport:\n%s", method, path, got, want)
				}
			}
		}
	}
}

// A Retry-After is heeded: waited for within MaxRetryAfter and the deadline, otherwise the
// answer comes at once, and so for who asks meanwhile.
func TestSafe_RetryAfter(t *testing.T) {
	for name, status := range map[string]int{"429": 429, "503": 503} {
		t.Run(name, func(t *testing.T) {
			inSafeWorlds(t, nil, func(t *testing.T, rt *Transport, base *fakehost.Base, url string, set func(handler)) {
				asks := gives(status, asJSON, "later", "Retry-After", "20")
				start := time.Now()
				set(fakehost.Script(gives(200, asJSON, list), asks))
				if got := gets(t.Context(), rt, url); got.body != list || time.Since(start) < 20*time.Second || time.Since(start) > 21*time.Second {
					t.Errorf("got %v after %v, want the answer after 20s", got, time.Since(start))
				}
				set(asks)
				before := base.Count("")
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				start = time.Now()
				for range 3 {
					if got := gets(ctx, rt, url); got.status() != status || got.body == "" || time.Since(start) > 0 {
						t.Errorf("got %v after %v, want the refusal at once: the deadline is sooner", got, time.Since(start))
					}
				}
				if n := base.Count("") - before; n != 1 {
					t.Errorf("%d requests within the Retry-After, want 1", n)
				}
			})
		})
	}
}

// A host that says that it is of no use is not asked again.
func TestSafe_ShouldRetry(t *testing.T) {
	inSafeWorlds(t, nil, func(t *testing.T, rt *Transport, base *fakehost.Base, url string, set func(handler)) {
		before := base.Count("")
		set(gives(503, asJSON, "no", "X-Should-Retry", "false"))
		if got := gets(t.Context(), rt, url); got.body != "no" || base.Count("")-before != 1 {
			t.Errorf("got %v after %d requests, want it after one", got, base.Count("")-before)
		}
	})
}

// The policies and options of calls apply.
func TestSafe_Policies(t *testing.T) {
	for _, tt := range []struct {
		name string
		call Call
		opts []Option
		want int
	}{
		{"by default", Call{}, nil, 3},
		{"Attempts of the call", Call{Attempts: 2}, nil, 2},
		{"Attempts off for the call", Call{Attempts: Off}, nil, 1},
		{"Attempts", Call{}, []Option{WithRetry(RetryPolicy{Attempts: 5})}, 5},
		{"no budget", Call{}, []Option{WithRetry(RetryPolicy{Budget: Off})}, 1},
		{"SendOnce", Call{}, []Option{WithRetry(RetryPolicy{SendOnce: true})}, 3}, // they are not billed
		{"no circuits", Call{}, []Option{noBreaker}, 3},
		{"another endpoint for calls", Call{Endpoint: "b"}, nil, 3},
		{"a rate limit of models", Call{}, []Option{WithRateLimit(RatePolicy{PerSecond: 0.01, Burst: 1, MaxWait: Off})}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inSafeWorlds(t, tt.opts, func(t *testing.T, rt *Transport, base *fakehost.Base, url string, set func(handler)) {
				before := base.Count("")
				set(failing503)
				var trail Trail
				tt.call.Trail = &trail
				got := gets(WithCall(t.Context(), tt.call), rt, url)
				if n := base.Count("") - before; n != tt.want || len(trail.Attempts()) != tt.want || got.status() != 503 {
					t.Errorf("got %v after %d requests, trail %+v, want %d", got, n, trail.Attempts(), tt.want)
				}
			})
		})
	}
}

// The caller's end ends the wait and the attempt, and counts against nobody.
func TestSafe_CallersEnd(t *testing.T) {
	for name, do := range map[string]handler{"while it waits": failing503, "while it is under way": hanging} {
		t.Run(name, func(t *testing.T) {
			inSafeWorlds(t, nil, func(t *testing.T, rt *Transport, _ *fakehost.Base, url string, set func(handler)) {
				set(do)
				for range 4 { // one more failure would open the circuit
					ctx, cancel := context.WithCancelCause(t.Context())
					time.AfterFunc(100*time.Millisecond, func() { cancel(errors.New("enough")) })
					start := time.Now()
					if got := gets(ctx, rt, url); got.err == nil || got.err.Error() != "enough" || time.Since(start) != 100*time.Millisecond {
						t.Errorf("got %v after %v, want the cause of the caller's end", got, time.Since(start))
					}
					elapse(time.Second)
				}
				set(gives(200, asJSON, list))
				if got := gets(t.Context(), rt, url); got.body != list {
					t.Errorf("later, got %v", got)
				}
			})
		})
	}
}

// A GET heeds what the host said to inference, until it answers something: a Retry-After is
// waited for, an open circuit fails it or has it wait, as it does a call that has no other
// endpoint.
func TestSafe_HeedsWhatInferenceMet(t *testing.T) {
	mine := with("Authorization", "Bearer sk-mine")
	for _, world := range []struct {
		name string
		opts []Option
	}{
		{"alone", nil}, {"an endpoint", []Option{WithEndpoints(at("a")...)}}, {"backed", []Option{WithEndpoints(at("a")...), WithBackup(at("b")...)}},
	} {
		for name, status := range map[string]int{"429": 429, "503": 503} {
			bubble(t, world.name+", a Retry-After of "+name, func(t *testing.T) {
				base := newHosts(gives(200, asJSON, goodJSON))
				base.Set("a", gives(status, asJSON, "later", "Retry-After", "20"))
				rt := over(t, base, append(world.opts, once)...)
				asks(t.Context(), rt, chatJSON, mine)
				base.Set("a", gives(200, asJSON, list))
				before, start := base.Count("a"), time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if got := gets(ctx, rt, "https://a/models", mine); got.status() != status || got.body != "later" || got.header("Retry-After") != "20" || time.Since(start) > 0 || base.Count("a") != before {
					t.Errorf("got %v, want the host's own words unsent", got)
				}
				got := gets(t.Context(), rt, "https://a/models", mine)
				if took := time.Since(start); got.body != list || took < 20*time.Second || took > 21*time.Second {
					t.Errorf("got %v after %v, want the answer after 20s", got, took)
				}
			})
		}
		bubble(t, world.name+", an open circuit", func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("a", failing503)
			rt := over(t, base, append(world.opts, once)...)
			for range 5 {
				asks(t.Context(), rt, chatJSON, mine)
			}
			before := base.Count("a")
			for range 20 { // the first may probe, as an inference call may
				gets(t.Context(), rt, "https://a/models", mine)
			}
			if n := base.Count("a") - before; n > 20 { // tries of calls that fail in one second each
				t.Errorf("20 requests behind an open circuit were sent %d times", n)
			}
			var many []chan seen
			before = base.Count("a")
			for range 20 {
				result := make(chan seen, 1)
				many = append(many, result)
				go func() { result <- gets(t.Context(), rt, "https://a/models", mine) }()
			}
			for _, result := range many {
				<-result
			}
			if n := base.Count("a") - before; n > 5 {
				t.Errorf("20 requests at once behind an open circuit were sent %d times, want a few probes", n)
			}
			base.Set("a", gives(200, asJSON, list))
			elapse(10 * time.Minute)
			for range 3 {
				start := time.Now()
				if got := gets(t.Context(), rt, "https://a/models", mine); got.body != list || time.Since(start) > 0 {
					t.Errorf("the host is well, got %v after %v", got, time.Since(start))
				}
			}
		})
	}
}

// What one model met stops no GET once the host has answered something else, nor does what
// it said to another credential.
func TestSafe_OneModelIsNotTheHost(t *testing.T) {
	of := func(model string) string { return strings.Replace(chatJSON, `"m"`, `"`+model+`"`, 1) }
	byModel := func(sick handler) handler {
		return func(req *http.Request) (*http.Response, error) {
			switch {
			case req.Method == "GET":
				return answer(200, asJSON, list), nil
			case callOf(req.Context()).params.Model == "sick":
				return sick(req)
			}
			return answer(200, asJSON, goodJSON), nil
		}
	}
	for name, sick := range map[string]handler{"its circuit": failing503, "its Retry-After": gives(503, asJSON, "later", "Retry-After", "50"), "its limit": gives(429, asJSON, "later", "Retry-After", "50")} {
		bubble(t, name, func(t *testing.T) {
			rt := over(t, newHosts(byModel(sick)), once, WithEndpoints(at("a")...))
			for range 6 {
				asks(t.Context(), rt, of("sick"))
			}
			elapse(2 * time.Second)
			asks(t.Context(), rt, of("well"))
			for range 3 {
				start := time.Now()
				if got := gets(t.Context(), rt, "https://a/models"); got.body != list || time.Since(start) > 0 {
					t.Errorf("got %v after %v, want the list at once", got, time.Since(start))
				}
			}
		})
	}
	bubble(t, "another credential's limit", func(t *testing.T) {
		rt := over(t, newHosts(byModel(gives(429, asJSON, "later", "Retry-After", "50"))), once)
		asks(t.Context(), rt, of("sick"), with("Authorization", "Bearer sk-theirs"))
		start := time.Now()
		if got := gets(t.Context(), rt, "https://a/models", with("Authorization", "Bearer sk-mine")); got.body != list || time.Since(start) > 0 {
			t.Errorf("got %v after %v, want the list at once", got, time.Since(start))
		}
		if got := gets(t.Context(), rt, "https://a/models", with("Authorization", "Bearer sk-theirs")); got.body != list || time.Since(start) < 50*time.Second {
			t.Errorf("got %v after %v, want the list after 50s", got, time.Since(start))
		}
	})
}

// However GETs fail, inference goes on as it did: its circuits, pauses, limits and balance
// do not hear of them. And what GETs answer ends no quarantine.
func TestSafe_InferenceDoesNotHearOfIt(t *testing.T) {
	bad := map[string]handler{
		"503": failing503, "429": gives(429, asJSON, "{}", "Retry-After", "100"), "unreachable": refusing, "401": gives(401, asJSON, "{}"),
		"402": gives(402, asJSON, "{}"), "404": gives(404, asJSON, "{}"), "cut": breaks(asJSON, "half"), "spent": gives(200, asJSON, "{}", "X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "60"),
	}
	for name, fails := range bad {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				if req.Method == "GET" {
					return fails(req)
				}
				return answer(200, asJSON, goodJSON), nil
			})
			rt := over(t, base, WithEndpoints(at("a", "b")...), WithBackup(at("c")...))
			for range 30 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				gets(ctx, rt, "https://a/models")
				cancel()
			}
			if base.Count("b")+base.Count("c") > 0 {
				t.Error("some were sent elsewhere")
			}
			for n := range 20 {
				if got := asks(t.Context(), rt, question(n)); got.body != goodJSON || got.header(headerAttempts) != "1" || got.header(headerEndpoint) == "c" {
					t.Errorf("call %d got %v", n, got)
				}
			}
			if n := base.Count("b"); n < 8 || n > 12 {
				t.Errorf("of 20 calls %d went to b, want half", n)
			}
		})
	}
	bubble(t, "a quarantine stays", func(t *testing.T) {
		base := newHosts(func(req *http.Request) (*http.Response, error) {
			switch {
			case req.Method == "GET":
				return answer(200, asJSON, list), nil
			case req.URL.Host == "a":
				return answer(401, asJSON, "{}"), nil
			}
			return answer(200, asJSON, goodJSON), nil
		})
		rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...))
		asks(t.Context(), rt, chatJSON)
		start := time.Now()
		if got := gets(t.Context(), rt, "https://a/user/balance"); got.body != list || time.Since(start) > 0 {
			t.Errorf("a person looks at the balance: got %v after %v, want it at once", got, time.Since(start))
		}
		before := base.Count("a")
		if got := asks(t.Context(), rt, chatJSON); got.header(headerEndpoint) != "b" || base.Count("a") != before {
			t.Errorf("got %v, want b's answer: the key of a is still rejected", got)
		}
	})
}

// GETs that keep failing open a circuit of their own, which keeps others from the host and
// closes when one is answered.
func TestSafe_CircuitOfItsOwn(t *testing.T) {
	inSafeWorlds(t, []Option{once}, func(t *testing.T, rt *Transport, base *fakehost.Base, url string, set func(handler)) {
		set(refusing)
		for range 5 {
			gets(t.Context(), rt, url)
		}
		circuit := func() (state string) {
			for _, e := range rt.Status().Endpoints {
				for _, c := range e.Circuits {
					if c.Model == "GET" {
						state = c.State
					}
				}
			}
			return state
		}
		if circuit() != "open" {
			t.Fatalf("the circuit is %q, want open", circuit())
		}
		set(gives(200, asJSON, list))
		elapse(time.Minute)
		if got := gets(t.Context(), rt, url); got.body != list || circuit() != "closed" {
			t.Errorf("got %v, and the circuit is %q, want the answer and closed", got, circuit())
		}
	})
}

// What is not a safe request to an endpoint is sent once, as it is.
func TestSafe_OthersAreSentOnce(t *testing.T) {
	withBody := func(req *http.Request) {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
	}
	method := func(m string) func(*http.Request) { return func(req *http.Request) { req.Method = m } }
	endpoint := []Option{WithEndpoints(Endpoint{Name: "a", URL: "https://a/v1", APIKey: "sk-a"})}
	for _, tt := range []struct {
		name, url string
		opts      []Option
		edit      func(*http.Request)
	}{
		{"another origin", "https://b/v1/models", endpoint, nil},
		{"another path of the origin", "https://a/wiki", endpoint, nil},
		{"another port", "https://a:8443/v1/models", endpoint, nil},
		{"a stranger, alone", "https://a/models", nil, nil},
		{"a stranger's look-alike", "https://api.deepseek.com.evil.example/models", nil, nil},
		{"with a body", "https://a/v1/models", endpoint, withBody},
		{"PUT", "https://a/v1/files/f", endpoint, method("PUT")},
		{"DELETE", "https://a/v1/files/f", endpoint, method("DELETE")},
		{"POST", "https://a/v1/files", endpoint, method("POST")},
		{"OPTIONS", "https://a/v1/files", endpoint, method("OPTIONS")},
		{"an upgrade", "https://a/v1/realtime", endpoint, with("Upgrade", "websocket")},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(gives(503, asJSON, "busy", "Retry-After", "1"))
			passed := 0
			rt := over(t, base, append(tt.opts, WithObserver(func(_ context.Context, e Event) {
				if e.Kind == KindPassed {
					passed++
				}
			}))...)
			if tt.edit == nil {
				tt.edit = func(*http.Request) {}
			}
			for range 10 {
				if got := gets(t.Context(), rt, tt.url, tt.edit); got.body != "busy" || got.header(headerEndpoint) != "" || got.header(headerRetry) != "" {
					t.Errorf("got %v, want the host's answer as it is", got)
				}
			}
			if base.Count("") != 10 || passed != 10 || rt.Status().Passed != 10 {
				t.Errorf("10 requests were sent %d times, with %d events", base.Count(""), passed)
			}
		})
	}
}

// With New alone, what lies beside the paths that were asked for inference is none of ours.
func TestSafe_AloneOnlyItsAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, noBreaker)
		for _, path := range []string{"/llm/v1/chat/completions", "/other/v1/messages"} {
			asks(t.Context(), rt, chatJSON, func(req *http.Request) { req.URL.Path = path })
		}
		base.Set("a", failing503)
		for path, want := range map[string]int{"/llm/v1/models": 3, "/other/v1/models": 3, "/wiki": 1, "/llm": 1, "/llm/v10/models": 1, "/v1/models": 1} {
			before := base.Count("a")
			gets(t.Context(), rt, "https://a"+path)
			if n := base.Count("a") - before; n != want {
				t.Errorf("%s was sent %d times, want %d", path, n, want)
			}
			elapse(10 * time.Minute)
		}
	})
}

// A user's middleware, Rewrite and Header apply to each try, and the endpoint's key is sent
// as for any other request.
func TestSafe_UserCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var perCall, perAttempt, rewrites int
		counts := func(n *int) Middleware {
			return func(next http.RoundTripper) http.RoundTripper {
				return RoundTripperFunc(func(req *http.Request) (*http.Response, error) { *n++; return next.RoundTrip(req) })
			}
		}
		e := at("a")[0]
		e.Header = http.Header{"X-Own": {"yes"}}
		e.Rewrite = func(req *http.Request) error { rewrites++; req.Header.Set("X-Rewritten", "yes"); return nil }
		base := newHosts(fakehost.Script(func(req *http.Request) (*http.Response, error) {
			for name, want := range map[string]string{"Authorization": "Bearer sk-a", "X-Own": "yes", "X-Rewritten": "yes", "Accept-Encoding": "br", "X-Mine": "kept"} {
				if got := req.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			return answer(200, asJSON, list), nil
		}, failing503, refusing))
		rt := over(t, base, WithEndpoints(e), WithMiddleware(counts(&perCall)), WithAttemptMiddleware(counts(&perAttempt)))
		got := gets(t.Context(), rt, "https://a/models", with("Authorization", "Bearer sk-caller"), with("Accept-Encoding", "br"), with("X-Mine", "kept"))
		if got.body != list || perCall != 1 || perAttempt != 3 || rewrites != 3 {
			t.Errorf("got %v, middleware %d and %d times, Rewrite %d times, want 1, 3 and 3", got, perCall, perAttempt, rewrites)
		}
		wrong := errors.New("wrong")
		e.Rewrite = func(*http.Request) error { return wrong }
		rt = over(t, base, WithEndpoints(e))
		if got := gets(t.Context(), rt, "https://a/models"); !errors.Is(got.err, wrong) {
			t.Errorf("got %v, want Rewrite's error", got)
		}
	})
}

// An Observer that panics at any event of a safe request leaves nothing held or open.
func TestSafe_PanicsHoldNothing(t *testing.T) {
	for at := 1; ; at++ {
		var cried bool
		bubble(t, fmt.Sprint("event ", at), func(t *testing.T) {
			o := &outcry{at: at}
			var bodies fakehost.Bodies
			base := newHosts(bodies.Of(fakehost.Script(gives(503, asJSON, "last"), failing503, refusing, gives(429, asJSON, "{}", "Retry-After", "1"), gives(200, asJSON, list), breaks(asJSON, "half"), failing503)))
			rt := over(t, base, WithEndpoints(fakeEndpoint()), WithBreaker(BreakerPolicy{Consecutive: 3}), WithObserver(o.observe))
			for range 6 {
				func() {
					defer func() { _ = recover() }()
					gets(t.Context(), rt, "https://a/models")
				}()
				elapse(3 * time.Second)
			}
			cried = o.cries > 0
			synctest.Wait()
			if left := stillHeld(rt); left != "" || bodies.Open() > 0 {
				t.Errorf("%s held, %d bodies open", left, bodies.Open())
			}
			o.quiet = true
			base.Set("a", gives(200, asJSON, list))
			elapse(time.Hour)
			if got := gets(t.Context(), rt, "https://a/models"); got.body != list {
				t.Errorf("later, got %v", got)
			}
		})
		if !cried {
			if at < 20 {
				t.Errorf("there are %d events: little was tested", at-1)
			}
			return
		}
	}
}

func fakeEndpoint() Endpoint { return at("a")[0] }

// The cache neither keeps a GET nor answers one.
func TestSafe_NeverKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON, "Cache-Control", "max-age=600"))
		rt := over(t, base, WithEndpoints(at("a")...), WithCache(CachePolicy{}))
		for range 3 {
			gets(t.Context(), rt, "https://a/chat/completions")
		}
		if s := rt.Status().Cache; base.Count("a") != 3 || s.Entries+int(s.Misses)+int(s.Shared) != 0 {
			t.Errorf("%d requests, and the cache is %+v, want 3 and an empty one", base.Count("a"), s)
		}
	})
}

// The last try comes no sooner than Patience after the first, so that an endpoint that is
// away for a moment answers; an open circuit is waited for as long. A deadline that leaves
// less time, or Patience Off, leaves the backoff alone.
func TestSafe_Patience(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   []Option
		within time.Duration // the deadline; 0: none
		away   time.Duration
		want   int
		took   time.Duration
	}{
		{"by default", nil, 0, 1900 * time.Millisecond, 200, 2 * time.Second},
		{"away for longer", nil, 0, 2100 * time.Millisecond, 503, 2 * time.Second},
		{"more patience", []Option{WithRetry(RetryPolicy{Patience: 10 * time.Second})}, 0, 9 * time.Second, 200, 10 * time.Second},
		{"none", []Option{WithRetry(RetryPolicy{Patience: Off})}, 0, 1900 * time.Millisecond, 503, 1500 * time.Millisecond},
		{"a deadline before", nil, 1800 * time.Millisecond, 1900 * time.Millisecond, 503, 1500 * time.Millisecond},
		{"a deadline behind", nil, 3 * time.Second, 1900 * time.Millisecond, 200, 2 * time.Second},
		{"more attempts", []Option{WithRetry(RetryPolicy{Attempts: 2})}, 0, 1900 * time.Millisecond, 200, 2 * time.Second},
		{"one attempt", []Option{once}, 0, 1900 * time.Millisecond, 503, 0},
		{"a circuit that opens", []Option{WithBreaker(BreakerPolicy{Consecutive: 2})}, 0, 1600 * time.Millisecond, 200, 2500 * time.Millisecond},
		{"a circuit that nobody waits for", []Option{WithBreaker(BreakerPolicy{Consecutive: 2, MaxWait: Off})}, 0, 1600 * time.Millisecond, 503, 500 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inSafeWorlds(t, tt.opts, func(t *testing.T, rt *Transport, _ *fakehost.Base, url string, set func(handler)) {
				start := time.Now()
				set(func(req *http.Request) (*http.Response, error) {
					if time.Since(start) < tt.away {
						return failing503(req)
					}
					return answer(200, asJSON, list), nil
				})
				ctx := t.Context()
				if tt.within > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.within)
					defer cancel()
				}
				if got := gets(ctx, rt, url); got.status() != tt.want || time.Since(start).Round(time.Millisecond) != tt.took {
					t.Errorf("got %v after %v, want %d after %v", got, time.Since(start), tt.want, tt.took)
				}
			})
		})
	}
}

// With MaxWait Off, an open circuit that inference has met fails a GET at once, unsent.
func TestSafe_FailsFast(t *testing.T) {
	for name, opts := range map[string][]Option{"alone": nil, "backed": {WithEndpoints(at("a")...), WithBackup(at("b")...)}} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("a", failing503)
			rt := over(t, base, append(opts, once, WithBreaker(BreakerPolicy{MaxWait: Off}))...)
			for range 5 {
				asks(t.Context(), rt, chatJSON)
			}
			before, start := base.Count("a"), time.Now()
			for range 10 {
				got := gets(t.Context(), rt, "https://a/models")
				if failure, ok := errors.AsType[*Error](got.err); !ok || !errors.Is(got.err, ErrCircuitOpen) || len(failure.Attempts) == 0 {
					t.Errorf("got %v, want ErrCircuitOpen", got)
				}
			}
			if n := base.Count("a") - before; n != 0 || time.Since(start) > time.Microsecond {
				t.Errorf("10 GETs were sent %d times, and took %v", n, time.Since(start))
			}
			base.Set("a", gives(200, asJSON, list))
			elapse(10 * time.Second)
			if got := gets(t.Context(), rt, "https://a/models"); got.body != list {
				t.Errorf("the pause is over, got %v, want the answer", got)
			}
		})
	}
}
