package breakwater

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// What hosts, and what stands in front of them, say beside an answer: see also
// verdict_test.go, pause_test.go and foreign_test.go.

// then answers by each handler once, and by the last one from then on.
func then(all ...handler) handler {
	var n atomic.Int64
	return func(req *http.Request) (*http.Response, error) {
		return all[min(int(n.Add(1)), len(all))-1](req)
	}
}

// A host that says whether to repeat a request is obeyed. Others may be asked
// whatever it says.
func TestRefusal_ShouldRetry(t *testing.T) {
	for _, tt := range []struct {
		status int
		header []string
		asks   int // of the host, alone
	}{
		{503, nil, 3},
		{503, []string{"X-Should-Retry", "false"}, 1},
		{500, []string{"X-Should-Retry", "false"}, 1},
		{529, []string{"X-Should-Retry", " False "}, 1},
		{429, []string{"X-Should-Retry", "false"}, 1},
		{429, []string{"X-Should-Retry", "false", "Retry-After", "1"}, 1},
		{408, []string{"X-Should-Retry", "false"}, 1},
		{409, nil, 1},
		{409, []string{"X-Should-Retry", "true"}, 3},
		{400, []string{"X-Should-Retry", "true"}, 3},
		{422, []string{"X-Should-Retry", "true"}, 3},
		{503, []string{"X-Should-Retry", "true"}, 3},
		{503, []string{"X-Should-Retry", "perhaps"}, 3},
		{409, []string{"X-Should-Retry", "false"}, 1},
		{401, []string{"X-Should-Retry", "false"}, 1},
	} {
		for _, body := range []string{chatJSON, chatStream} {
			bubble(t, fmt.Sprint(tt.status, tt.header, body == chatStream), func(t *testing.T) {
				base := newHosts(gives(tt.status, asJSON, `{"error":{"message":"m"}}`, tt.header...))
				got := asks(t.Context(), over(t, base, WithEndpoints(at("a")...)), body)
				if got.status() != tt.status || base.Count("a") != tt.asks {
					t.Errorf("alone, the caller got %v after %d requests, want %d", got, base.Count("a"), tt.asks)
				}
				base = newHosts(gives(200, asJSON, goodJSON))
				base.Set("a", gives(tt.status, asJSON, `{"error":{"message":"m"}}`, tt.header...))
				got = asks(t.Context(), over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...)), chatJSON)
				if passing := tt.status != 409 || tt.asks > 1; passing != (got.status() == 200) || tt.asks == 1 && base.Count("a") != 1 {
					t.Errorf("backed, the caller got %v after %d requests to the first", got, base.Count("a"))
				}
			})
		}
	}
	bubble(t, "the second time is answered", func(t *testing.T) {
		base := newHosts(then(gives(409, asJSON, "{}", "X-Should-Retry", "true"), gives(200, asJSON, goodJSON)))
		if got := asks(t.Context(), over(t, base), chatJSON); got.body != goodJSON || base.Count("") != 2 {
			t.Errorf("the caller got %v after %d requests", got, base.Count(""))
		}
	})
}

// What has just worked works: one challenge, or one prompt that a firewall refuses, sends
// calls elsewhere for a moment at most. Only a key that is refused as one rests.
func TestRefusal_WhatHasJustWorked(t *testing.T) {
	page := "<!DOCTYPE html><title>Just a moment...</title>"
	no := `{"error":{"message":"no","type":"x","code":"x"}}`
	wrong := `{"error":{"message":"Incorrect API key","type":"invalid_request_error","code":"invalid_api_key"}}`
	for _, tt := range []struct {
		name   string
		before int // good calls
		says   handler
		backup int // of 60 calls, one every ten seconds
	}{
		{"a challenge, at first", 0, gives(403, "text/html", page, "Cf-Mitigated", "challenge"), 0},
		{"a challenge, later", 20, gives(403, "text/html", page, "Cf-Mitigated", "challenge"), 0},
		{"a challenge by 503", 0, gives(503, "text/html", page, "Cf-Mitigated", "challenge"), 0},
		{"a firewall's page, at first", 0, gives(403, "text/html", "<html>"), 0},
		{"a firewall's page, later", 20, gives(403, "text/html", "<html>"), 0},
		{"a proxy's refusal", 20, gives(407, "text/plain", ""), 0},
		{"403 for a prompt", 20, gives(403, asJSON, no), 0},
		{"403 for a prompt, inside a 200", 20, gives(200, asJSON, `{"error":{"code":403,"message":"no"}}`), 0},
		{"403 for a prompt, in a stream", 20, gives(200, asStream, "data: {\"error\":{\"type\":\"permission_error\",\"message\":\"no\"}}\n\n"), 0},
		{"403 where nothing has worked", 0, gives(403, asJSON, no), 59},
		{"403 for the key", 20, gives(403, asJSON, wrong), 59},
		{"401", 20, gives(401, asJSON, no), 59},
		{"402", 20, gives(402, asJSON, no), 59},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := over(t, base, impatient, WithEndpoints(at("a")...), WithBackup(at("b")...))
			for range tt.before {
				asks(t.Context(), rt, chatJSON)
			}
			base.Set("a", tt.says)
			if got := asks(t.Context(), rt, chatJSON); got.header(headerEndpoint) != "b" || base.Count("a") != tt.before+1 {
				t.Errorf("the refused call got %v", got)
			}
			base.Set("a", gives(200, asJSON, goodJSON))
			backup := 0
			for range 60 {
				elapse(10 * time.Second)
				if got := asks(t.Context(), rt, chatJSON); got.header(headerEndpoint) == "b" {
					backup++
				}
			}
			if backup != tt.backup {
				t.Errorf("%d of 60 later calls went to the backup, want %d", backup, tt.backup)
			}
		})
	}
}

// What goes on refusing is asked less and less, and a burst of refusals counts once.
func TestRefusal_BlockedInARow(t *testing.T) {
	for _, before := range []int{0, 20} {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := over(t, base, impatient, WithEndpoints(at("a")...), WithBackup(at("b")...))
			for range before {
				asks(t.Context(), rt, chatJSON)
			}
			base.Set("a", gives(403, "text/html", "<html>"))
			var callers sync.WaitGroup
			for range 50 {
				callers.Go(func() { asks(t.Context(), rt, chatJSON) })
			}
			callers.Wait()
			if p := rt.Status().Endpoints[0].Pauses; len(p) != 1 || time.Until(p[0].Until) != time.Second {
				t.Errorf("after a burst it rests for %+v, want one second", p)
			}
			asked := base.Count("a")
			for range 600 {
				elapse(time.Second)
				if got := asks(t.Context(), rt, chatJSON); got.header(headerEndpoint) != "b" {
					t.Fatalf("a caller got %v", got)
				}
			}
			if n := base.Count("a") - asked; n < 10 || n > 20 {
				t.Errorf("in ten minutes it was asked %d times, want at most once a minute", n)
			}
			base.Set("a", gives(200, asJSON, goodJSON))
			elapse(time.Minute)
			if got := asks(t.Context(), rt, chatJSON); got.header(headerEndpoint) != "a" || len(rt.Status().Endpoints[0].Pauses) != 0 {
				t.Errorf("well again, the caller got %v", got)
			}
		})
	}
}

// Alone, the host's page is handed over as it came, after one request; nobody rests, and no
// circuit opens.
func TestRefusal_BlockedAlone(t *testing.T) {
	for _, opts := range [][]Option{nil, {WithEndpoints(at("a")...)}} {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(403, "text/html", "<html>no", "Cf-Mitigated", "challenge"))
			rt := over(t, base, opts...)
			for n := range 20 {
				if got := asks(t.Context(), rt, chatStream); got.status() != 403 || got.body != "<html>no" || base.Count("") != n+1 || rests(rt) != "" {
					t.Fatalf("call %d got %v after %d requests; %q rests", n, got, base.Count(""), rests(rt))
				}
			}
			base.Set("", gives(200, asJSON, goodJSON))
			if got := asks(t.Context(), rt, chatJSON); got.body != goodJSON {
				t.Errorf("well again, the caller got %v", got)
			}
		})
	}
}

// A Retry-After stops its model and operation at its endpoint, and nothing else; and its
// words are for the credential that they were said to.
func TestRefusal_RetryAfterOfOneModel(t *testing.T) {
	mine := "the organisation of one"
	for _, status := range []int{503, 500, 529, 403} {
		for _, keyed := range []bool{true, false} {
			bubble(t, fmt.Sprint(status, keyed), func(t *testing.T) {
				base := newHosts(gives(status, asJSON, mine, "Retry-After", "120", "Cf-Mitigated", map[bool]string{true: "block"}[status == 403]))
				opts := []Option{once}
				if keyed {
					opts = append(opts, WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk-a"}))
				}
				rt := over(t, base, opts...)
				asks(t.Context(), rt, chatJSON)
				base.Set("", func(req *http.Request) (*http.Response, error) {
					switch req.URL.Path {
					case "/embeddings":
						return answer(200, asJSON, `{"data":[{"index":0,"embedding":[1]}]}`), nil
					case "/completions":
						return answer(200, asJSON, `{"choices":[{"index":0,"text":"hi","finish_reason":"stop"}]}`), nil
					}
					return answer(200, asJSON, goodJSON), nil
				})
				if got := asks(t.Context(), rt, chatJSON); got.body != mine || got.header(headerError) != "paused" {
					t.Errorf("the same caller got %v, want what the host had said", got)
				}
				other := asks(t.Context(), rt, chatJSON, with("Authorization", "Bearer sk-other"))
				if keyed && (other.status() != status || strings.Contains(other.body, mine) || other.header("Retry-After") != "120") || !keyed && other.status() != 200 {
					t.Errorf("another caller got %v", other)
				}
				if got := asks(t.Context(), rt, strings.Replace(chatJSON, `"m"`, `"n"`, 1)); got.status() != 200 {
					t.Errorf("another model got %v", got)
				}
				for path, body := range map[string]string{"/embeddings": `{"model":"m","input":"q"}`, "/completions": `{"model":"m","prompt":"q"}`} {
					if got := posts(t, rt, "https://a"+path, body); got.status() != 200 {
						t.Errorf("%s got %v", path, got)
					}
				}
			})
		}
	}
}

// mostAtOnce returns the most requests that came within a time.
func mostAtOnce(times []time.Time, within time.Duration) (most int) {
	slices.SortFunc(times, time.Time.Compare)
	first := 0
	for i, at := range times {
		for at.Sub(times[first]) > within {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// Those who wait for the end of a pause go one after another, the first at once.
func TestRefusal_WaitersAreSpread(t *testing.T) {
	const callers = 200
	for _, tt := range []struct {
		name   string
		status int
		header []string
		first  int // so many callers were refused themselves; the others come during the pause
		ends   time.Duration
		late   time.Duration // how long a refusal takes
	}{
		{"429, all refused", 429, []string{"Retry-After", "10"}, callers, 10*time.Second + 100*time.Millisecond, 100 * time.Millisecond},
		{"429 without a time, all refused", 429, nil, callers, 600 * time.Millisecond, 100 * time.Millisecond},
		{"429, one refused", 429, []string{"Retry-After", "10"}, 1, 10 * time.Second, 0},
		{"429 with a date", 429, []string{"Retry-After", "Sat, 01 Jan 2000 00:00:10 GMT"}, 1, 10 * time.Second, 0},
		{"429 of a limit", 429, []string{"X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "10s"}, 1, 10 * time.Second, 0},
		{"429 without a time", 429, nil, 1, 500 * time.Millisecond, 0},
		{"503, one refused", 503, []string{"Retry-After", "10"}, 1, 10 * time.Second, 0},
		{"503, all refused", 503, []string{"Retry-After", "10"}, callers, 0, 100 * time.Millisecond},
		{"503 in milliseconds", 503, []string{"Retry-After-Ms", "10000"}, 1, 10 * time.Second, 0},
	} {
		for _, took := range []time.Duration{0, time.Second} {
			for _, body := range []string{chatJSON, chatStream} {
				bubble(t, fmt.Sprint(tt.name, took, body == chatStream), func(t *testing.T) {
					start := time.Now()
					var mu sync.Mutex
					var times []time.Time
					refused := 0
					base := newHosts(func(req *http.Request) (*http.Response, error) {
						mu.Lock()
						refuses := refused < tt.first
						if refuses {
							refused++
						} else {
							times = append(times, time.Now())
						}
						mu.Unlock()
						if refuses {
							elapse(tt.late)
							return gives(tt.status, asJSON, "{}", tt.header...)(req)
						}
						elapse(took)
						if body == chatStream {
							return answer(200, asStream, wholeStream), nil
						}
						return answer(200, asJSON, goodJSON), nil
					})
					rt := over(t, base, WithEndpoints(at("a")...), WithRetry(RetryPolicy{Budget: 10}))
					var all sync.WaitGroup
					good := atomic.Int64{}
					for n := range callers {
						if n == tt.first {
							synctest.Wait()
						}
						all.Go(func() {
							if got := asks(t.Context(), rt, body); got.status() == 200 && got.err == nil {
								good.Add(1)
							}
						})
					}
					all.Wait()
					if good.Load() != callers || len(times) != callers {
						t.Fatalf("%d of %d were answered", good.Load(), callers)
					}
					if most := mostAtOnce(times, 0); most > 5 { // four follow a probe, and the next probe may be due at that instant
						t.Errorf("%d went in one instant", most)
					}
					if most := mostAtOnce(times, 50*time.Millisecond); most > callers/8 {
						t.Errorf("%d went within 50ms", most)
					}
					if first := times[0].Sub(start); tt.ends > 0 && first != tt.ends {
						t.Errorf("the first went after %v, want %v", first, tt.ends)
					}
					if lasts := times[callers-1].Sub(times[0]); lasts > 15*time.Second {
						t.Errorf("the last went %v after the first", lasts)
					}
				})
			}
		}
	}
}

// Behind a probe that is answered, those who waited for it go in growing numbers.
func TestRefusal_GrowthBehindAProbe(t *testing.T) {
	const callers = 200
	for _, took := range []time.Duration{100 * time.Millisecond, time.Second, 2 * time.Second} {
		for _, deadline := range []time.Duration{0, 20 * time.Second} {
			bubble(t, fmt.Sprint(took, deadline), func(t *testing.T) {
				base := newHosts(failing503)
				rt := over(t, base, WithEndpoints(at("a")...), WithRetry(RetryPolicy{Attempts: 1}))
				for range 5 {
					asks(t.Context(), rt, chatJSON)
				}
				elapse(5 * time.Second)
				var mu sync.Mutex
				var times []time.Time
				base.Set("a", func(*http.Request) (*http.Response, error) {
					mu.Lock()
					times = append(times, time.Now())
					mu.Unlock()
					elapse(took)
					return answer(200, asJSON, goodJSON), nil
				})
				ctx := t.Context()
				if deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, deadline)
					defer cancel()
				}
				var all sync.WaitGroup
				good := atomic.Int64{}
				for range callers {
					all.Go(func() {
						if got := asks(ctx, rt, chatJSON); got.status() == 200 {
							good.Add(1)
						}
					})
				}
				all.Wait()
				if good.Load() != callers || len(times) != callers {
					t.Fatalf("%d of %d were answered by %d requests", good.Load(), callers, len(times))
				}
				if most := mostAtOnce(times, 0); most > 4 {
					t.Errorf("%d went in one instant", most)
				}
				at := func(d time.Duration) (n int) {
					for _, t := range times {
						if t.Sub(times[0]) <= d {
							n++
						}
					}
					return n
				}
				if one, two := at(took), at(took+min(took/4, maxRampStep)); one > 1+4 || two > 1+8 {
					t.Errorf("%d had gone when the probe ended, %d a step later", one, two)
				}
			})
		}
	}
}

// A certificate that does not verify will not verify a moment later either.
func TestRefusal_CertificatesAreTriedOnce(t *testing.T) {
	good := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", asJSON)
		io.WriteString(w, goodJSON)
	})
	trusted, plain := httptest.NewUnstartedServer(good), httptest.NewServer(good)
	trusted.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
	trusted.StartTLS()
	defer trusted.Close()
	defer plain.Close()
	old, mutual := httptest.NewUnstartedServer(good), httptest.NewUnstartedServer(good)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS12}
	mutual.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}
	for _, server := range []*httptest.Server{old, mutual} {
		server.Config.ErrorLog = trusted.Config.ErrorLog
		server.StartTLS()
		defer server.Close()
	}
	pool := x509.NewCertPool()
	pool.AddCert(trusted.Certificate())
	for name, tt := range map[string]struct {
		url    string
		config *tls.Config
	}{
		"unknown authority": {trusted.URL, &tls.Config{RootCAs: x509.NewCertPool()}},
		"another name":      {trusted.URL, &tls.Config{RootCAs: pool, ServerName: "other.test"}},
		"out of date":       {trusted.URL, &tls.Config{RootCAs: pool, Time: func() time.Time { return time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC) }}},
		"another version":   {old.URL, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}},
		"ours is missing":   {mutual.URL, &tls.Config{RootCAs: pool}},
		"no TLS at all":     {"https" + plain.URL[len("http"):], &tls.Config{RootCAs: pool}},
	} {
		for _, body := range []string{chatJSON, chatStream} {
			t.Run(name, func(t *testing.T) {
				base := &http.Transport{TLSClientConfig: tt.config}
				defer base.CloseIdleConnections()
				alone := Endpoint{Name: "a", URL: tt.url, APIKey: "sk-a"}
				trail := &Trail{}
				ask := func(rt *Transport) (*http.Response, error) {
					req, _ := post(WithCall(context.Background(), Call{Trail: trail}), tt.url, body)
					return rt.RoundTrip(req)
				}
				resp, err := ask(over(t, base, WithEndpoints(alone)))
				if err != nil || resp.StatusCode != 503 || len(trail.Attempts()) != 1 {
					t.Errorf("alone, %d attempts ended in %v, %v, want one", len(trail.Attempts()), resp, err)
				}
				resp, err = ask(over(t, base, WithEndpoints(alone), WithBackup(Endpoint{Name: "b", URL: plain.URL, Keyless: true})))
				if got := trail.Attempts(); err != nil || resp.StatusCode != 200 || len(got) != 2 || got[0].Class != ClassUnreachable {
					t.Errorf("backed, it ended in %v, %v after %+v", resp, err, got)
				}
				if resp != nil {
					resp.Body.Close()
				}
			})
		}
	}
}

// A refusal whose body trickles delays nothing: a backup answers at once.
func TestRefusal_BodyThatTrickles(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504, 529, 429, 408, 401, 403, 402} {
		for _, endless := range []bool{false, true} {
			bubble(t, fmt.Sprint(status, endless), func(t *testing.T) {
				base := newHosts(gives(200, asJSON, goodJSON))
				base.Set("a", func(req *http.Request) (*http.Response, error) {
					n := 0
					return answerFrom(status, asJSON, fakehost.ReaderFunc(func(p []byte) (int, error) {
						select {
						case <-time.After(time.Second):
						case <-req.Context().Done():
							return 0, req.Context().Err()
						}
						if n++; n > 5 && !endless {
							return 0, io.EOF
						}
						return copy(p, "{"), nil
					})), nil
				})
				rt := over(t, base, impatient, WithEndpoints(at("a")...), WithBackup(at("b")...))
				start := time.Now()
				got := asks(t.Context(), rt, chatJSON)
				if took := time.Since(start); got.header(headerEndpoint) != "b" || took > 500*time.Millisecond {
					t.Errorf("the caller got %v after %v", got, took)
				}
			})
		}
	}
}

// Whatever was asked for, and however: the backup answers where another host may, and alone
// the refusal is handed over as it came.
func TestRefusal_OnEveryWire(t *testing.T) {
	refusals := map[string]struct {
		do     handler
		status int
		alone  int // requests
	}{
		"a challenge":             {gives(403, "text/html", "<html>no", "Cf-Mitigated", "challenge"), 403, 1},
		"a challenge by 503":      {gives(503, "text/html", "<html>no", "Cf-Mitigated", "challenge"), 503, 1},
		"a firewall's page":       {gives(405, "text/html", "<!DOCTYPE html>no"), 405, 1},
		"the end of life":         {gives(410, asJSON, `{"error":{"message":"m"}}`), 410, 1},
		"too many tokens at once": {gives(413, asJSON, `{"error":{"message":"m","code":"rate_limit_exceeded"}}`), 413, 1},
		"a proxy's limit":         {gives(413, "text/html", "<html>413"), 413, 1},
		"a provider's 404":        {gives(404, asJSON, `{"error":{"message":"Provider returned error","code":404}}`), 404, 3},
		"misdirected":             {gives(421, asJSON, ""), 421, 3},
		"too early":               {gives(425, asJSON, ""), 425, 3},
		"not again":               {gives(503, asJSON, "", "X-Should-Retry", "false"), 503, 1},
		"again":                   {gives(409, asJSON, `{"error":{"message":"m"}}`, "X-Should-Retry", "true"), 409, 3},
	}
	for op, body := range map[request.Operation]string{
		request.Chat: chatJSON, request.Completions: `{"model":"m","prompt":"q"}`, request.Responses: `{"model":"m","input":"q"}`,
		request.Messages: chatJSON, request.Embeddings: `{"model":"m","input":"q"}`,
	} {
		for name, tt := range refusals {
			for _, stream := range []bool{false, true} {
				if stream && op == request.Embeddings {
					continue
				}
				asked := body
				answers := wellOn(op, stream)
				switch {
				case stream:
					asked = strings.Replace(body, `"model"`, `"stream":true,"model"`, 1)
				case op == request.Embeddings:
					answers = func() (*http.Response, error) {
						return answer(200, asJSON, `{"data":[{"index":0,"embedding":[1]}]}`), nil
					}
				case op == request.Completions:
					answers = func() (*http.Response, error) {
						return answer(200, asJSON, `{"choices":[{"index":0,"text":"hi","finish_reason":"stop"}]}`), nil
					}
				}
				bubble(t, fmt.Sprint(op, name, stream), func(t *testing.T) {
					base := newHosts(tt.do)
					base.Set("b", func(*http.Request) (*http.Response, error) { return answers() })
					endpoint, backup := at("a")[0], at("b")[0]
					backup.Models = map[string]string{"m": "m"}
					got := posts(t, over(t, base, WithEndpoints(endpoint), WithBackup(backup)), "https://a/v1"+string(op), asked)
					if got.status() != 200 || got.err != nil || got.header(headerEndpoint) != "b" {
						t.Errorf("backed, the caller got %v", got)
					}
					asks := base.Count("a")
					got = posts(t, over(t, base, WithEndpoints(endpoint)), "https://a/v1"+string(op), asked)
					if got.status() != tt.status || base.Count("a")-asks != tt.alone {
						t.Errorf("alone, the caller got %v after %d requests, want %d", got, base.Count("a")-asks, tt.alone)
					}
				})
			}
		}
	}
}

// More wait for a host than it can answer before their deadlines. It gets no more than half as
// many a second again as it took before, and those whose turn comes too late are told so in
// time.
func TestRefusal_TurnsThatComeTooLate(t *testing.T) {
	for _, status := range []int{503, 429} {
		for _, body := range []string{chatJSON, chatStream} {
			bubble(t, fmt.Sprint(status, body == chatStream), func(t *testing.T) {
				var seen [90]int
				var refuses atomic.Bool
				var mu sync.Mutex
				start := time.Now()
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					mu.Lock()
					seen[time.Since(start)/time.Second]++
					mu.Unlock()
					if refuses.Load() {
						return gives(status, asJSON, "{}", "Retry-After", "15")(req)
					}
					elapse(time.Second)
					if body == chatStream {
						return answer(200, asStream, wholeStream), nil
					}
					return answer(200, asJSON, goodJSON), nil
				})
				rt := over(t, base, WithEndpoints(at("a")...), WithRetry(RetryPolicy{Budget: 10}))
				var all sync.WaitGroup
				good, late := atomic.Int64{}, atomic.Int64{}
				call := func() {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					switch got := asks(ctx, rt, body); {
					case got.status() == 200 && got.err == nil:
						good.Add(1)
					case got.err != nil || got.header("Breakwater-Error") != string(ClassPaused) || got.header("Retry-After") == "":
						t.Errorf("a caller got %v", got)
					default:
						late.Add(1)
					}
				}
				for n := range 900 { // 20 a second, also in the pause, which the 200th causes
					refuses.Store(n == 200)
					elapse(50 * time.Millisecond)
					all.Go(call)
					synctest.Wait()
				}
				all.Wait()
				if n := good.Load(); n < 650 || late.Load() < 50 {
					t.Errorf("%d were answered, and %d told that their turn comes too late", n, late.Load())
				}
				for second, n := range seen {
					if n > 31 {
						t.Errorf("the host got %d requests in second %d, and 20 a second before", n, second)
					}
				}
			})
		}
	}
}

// Who would wait too long for a turn goes to a backup that could answer.
func TestRefusal_LateTurnsGoElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		base.Set("a", gives(429, asJSON, "{}", "Retry-After", "1"))
		rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...), WithRetry(RetryPolicy{Budget: 10}))
		start := time.Now()
		var slowest atomic.Int64
		by := make(map[string]int)
		var mu sync.Mutex
		var all sync.WaitGroup
		for n := range 200 {
			if n == 1 {
				synctest.Wait()
				base.Set("a", gives(200, asJSON, goodJSON))
			}
			all.Go(func() {
				got := asks(t.Context(), rt, chatJSON)
				if got.status() != 200 {
					t.Errorf("a caller got %v", got)
				}
				mu.Lock()
				by[got.header(headerEndpoint)]++
				mu.Unlock()
				slowest.Store(max(slowest.Load(), int64(time.Since(start))))
			})
		}
		all.Wait()
		if slowest := time.Duration(slowest.Load()); slowest > 2*time.Second || by["a"] < 3 || by["b"] < 100 {
			t.Errorf("the slowest took %v; answers came by %v", slowest, by)
		}
	})
}

// The same over real connections: the host goes on for as long as the client listens.
func TestRefusal_BodyThatNeverEnds(t *testing.T) {
	for _, status := range []int{503, 429, 403, 404} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprint(status, h2), func(t *testing.T) {
				endless := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "text/html")
					w.WriteHeader(status)
					io.WriteString(w, "<html>")
					w.(http.Flusher).Flush()
					<-r.Context().Done()
				}))
				endless.EnableHTTP2 = h2
				endless.StartTLS()
				defer endless.Close()
				base := endless.Client().Transport.(*http.Transport)
				defer base.CloseIdleConnections()
				well := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					if req.URL.Host != "b" {
						return base.RoundTrip(req)
					}
					return gives(200, asJSON, goodJSON)(req)
				})
				rt := over(t, well, impatient, WithEndpoints(Endpoint{Name: "a", URL: endless.URL, APIKey: "sk-a"}), WithBackup(at("b")...))
				req, _ := post(t.Context(), endless.URL, chatStream)
				resp, err := rt.RoundTrip(req)
				if err != nil || resp.Header.Get(headerEndpoint) != "b" {
					t.Fatalf("the caller got %v, %v, want the backup's answer", resp, err)
				}
				resp.Body.Close()
			})
		}
	}
}
