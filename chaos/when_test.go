package chaos_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
	bt "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/chaos"
)

// fine answers every request.
var fine = breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
})

// ask sends a request and returns the status.
func ask(t *testing.T, rt http.RoundTripper, method, url, body string) int {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, r)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// pattern asks n times and writes x for each request that is hit.
func pattern(t *testing.T, rt http.RoundTripper, n int, between time.Duration) string {
	var b strings.Builder
	for range n {
		mark := byte('.')
		if ask(t, rt, "POST", "http://a.test/chat/completions", `{"model":"m"}`) != 200 {
			mark = 'x'
		}
		b.WriteByte(mark)
		if between > 0 {
			time.Sleep(between)
		}
	}
	return b.String()
}

func injector(t *testing.T, c chaos.Config) *chaos.Injector {
	t.Helper()
	i, err := chaos.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestRule_When(t *testing.T) {
	for _, test := range []struct {
		name string
		rule chaos.Rule
		want string // one request a second
	}{
		{"always", chaos.Rule{}, "xxxxxxxxxxxx"},
		{"for a time", chaos.Rule{From: 3 * time.Second, Until: 6 * time.Second}, "...xxx......"},
		{"flapping", chaos.Rule{From: time.Second, On: 2 * time.Second, Off: 3 * time.Second}, ".xx...xx...x"},
		{"every third", chaos.Rule{Every: 3}, "x..x..x..x.."},
		{"after two", chaos.Rule{Skip: 2}, "..xxxxxxxxxx"},
		{"every second after one", chaos.Rule{Skip: 1, Every: 2}, ".x.x.x.x.x.x"},
		{"three times", chaos.Rule{Times: 3}, "xxx........."},
		{"twice, every other", chaos.Rule{Every: 2, Times: 2}, "x.x........."},
		{"counted only while it acts", chaos.Rule{From: 2 * time.Second, Skip: 1, Times: 2}, "...xx......."},
	} {
		synctest.Test(t, func(t *testing.T) {
			test.rule.Fault = chaos.Busy
			rt := injector(t, chaos.Config{Rules: []chaos.Rule{test.rule}}).Middleware(fine)
			if got := pattern(t, rt, len(test.want), time.Second); got != test.want {
				t.Errorf("%s: %s, want %s", test.name, got, test.want)
			}
		})
	}
}

// Offsets count from when a rule was set, or from New.
func TestRule_SinceStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := injector(t, chaos.Config{})
		rt := i.Middleware(fine)
		time.Sleep(2 * time.Second)
		r := chaos.Rule{Fault: chaos.Busy, From: 3 * time.Second, Until: 5 * time.Second}
		if err := i.Set(r); err != nil {
			t.Fatal(err)
		}
		if got := pattern(t, rt, 6, time.Second); got != "...xx." {
			t.Errorf("since Set: %s, want ...xx.", got)
		}
		r.SinceStart, r.From, r.Until = true, 10*time.Second, 11*time.Second
		if err := i.Set(r); err != nil {
			t.Fatal(err)
		}
		if got := pattern(t, rt, 4, time.Second); got != "..x." {
			t.Errorf("since New: %s, want ..x.", got)
		}
	})
}

// One seed gives one pattern, another seed another one, and the share is about that asked for.
func TestRule_Probability(t *testing.T) {
	play := func(seed uint64) string {
		i := injector(t, chaos.Config{Seed: seed, Rules: []chaos.Rule{{Fault: chaos.Busy, Probability: 0.3}}})
		return pattern(t, i.Middleware(fine), 1000, 0)
	}
	first := play(1)
	if again := play(1); again != first {
		t.Error("one seed gave two patterns")
	}
	if play(2) == first {
		t.Error("two seeds gave one pattern")
	}
	if hits := strings.Count(first, "x"); hits < 250 || hits > 350 {
		t.Errorf("%d of 1000 requests were hit, want about 300", hits)
	}
	if !strings.HasPrefix(first, "..x...xx..x.....x.....x..") {
		t.Errorf("seed 1 begins with %s: it must be the same in every version and on every machine", first[:25])
	}
}

// With concurrent requests, the same number is hit as without.
func TestRule_ProbabilityOfConcurrentRequests(t *testing.T) {
	const n = 400
	c := chaos.Config{Seed: 7, Rules: []chaos.Rule{{Fault: chaos.Busy, Probability: 0.5}, {Fault: chaos.Reset, Every: 5, Times: 20}}}
	alone, together := injector(t, c), injector(t, c)
	rt := alone.Middleware(fine)
	request := func(rt http.RoundTripper) {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://a.test/chat/completions", strings.NewReader("{}"))
		if resp, err := rt.RoundTrip(req); err == nil {
			_ = resp.Body.Close()
		}
	}
	for range n {
		request(rt)
	}
	rt = together.Middleware(fine)
	var all sync.WaitGroup
	for range n {
		all.Go(func() { request(rt) })
	}
	all.Wait()
	for at, want := range alone.Stats().Rules {
		if got := together.Stats().Rules[at]; got != want {
			t.Errorf("together %+v, alone %+v", got, want)
		}
	}
}

// A prompt has the same fate each time, in any order.
func TestRule_Share(t *testing.T) {
	i := injector(t, chaos.Config{Rules: []chaos.Rule{{Fault: chaos.Busy, Share: 0.5}}})
	rt := i.Middleware(fine)
	fate := make(map[string]int)
	for _, suffix := range []string{"", "", ""} {
		hit := 0
		for n := range 100 {
			body := `{"model":"m","prompt":"` + strings.Repeat("p", n) + suffix + `"}`
			status := ask(t, rt, "POST", "http://a.test/completions", body)
			if before, ok := fate[body]; ok && before != status {
				t.Fatal("a prompt had two fates")
			}
			fate[body] = status
			if status != 200 {
				hit++
			}
		}
		if hit < 35 || hit > 65 {
			t.Errorf("%d of 100 prompts were hit, want about 50", hit)
		}
	}
}

func TestRule_Match(t *testing.T) {
	i := injector(t, chaos.Config{Endpoints: []breakwater.Endpoint{
		{Name: "a", URL: "http://a.test"}, {Name: "a-v2", URL: "http://a.test/v2"}, {Name: "b", URL: "http://b.test:8080/v1"},
	}})
	rt := i.Middleware(fine)
	const chat = `{"model":"deepseek-flash","stream":true}`
	for _, test := range []struct {
		match             chaos.Match
		method, url, body string
		hit               bool
	}{
		{chaos.Match{}, "GET", "http://a.test/models", "", true},
		{chaos.Match{Endpoints: []string{"a"}}, "POST", "http://a.test/chat/completions", chat, true},
		{chaos.Match{Endpoints: []string{"a"}}, "POST", "http://a.test/v2/chat/completions", chat, false},
		{chaos.Match{Endpoints: []string{"a-v2"}}, "POST", "http://a.test/v2/chat/completions", chat, true},
		{chaos.Match{Endpoints: []string{"a"}}, "POST", "http://A.test:80/v1/chat/completions", chat, true},
		{chaos.Match{Endpoints: []string{"b"}}, "POST", "http://b.test:8080/v1/chat/completions", chat, true},
		{chaos.Match{Endpoints: []string{"b"}}, "POST", "http://b.test/v1/chat/completions", chat, false},
		{chaos.Match{Hosts: []string{"*.test"}}, "GET", "http://a.test/models", "", true},
		{chaos.Match{Hosts: []string{"a.test"}}, "GET", "http://a.test:81/models", "", true},
		{chaos.Match{Hosts: []string{"a.test:80"}}, "GET", "http://a.test:81/models", "", false},
		{chaos.Match{Models: []string{"deepseek-*"}}, "POST", "http://a.test/chat/completions", chat, true},
		{chaos.Match{Models: []string{"deepseek"}}, "POST", "http://a.test/chat/completions", chat, false},
		{chaos.Match{Operations: []string{"messages", "chat/completions"}}, "POST", "http://a.test/chat/completions", chat, true},
		{chaos.Match{Operations: []string{"completions"}}, "POST", "http://a.test/chat/completions", chat, false},
		{chaos.Match{Operations: []string{"other"}}, "GET", "http://a.test/models", "", true},
		{chaos.Match{Methods: []string{"GET"}}, "POST", "http://a.test/chat/completions", chat, false},
		{chaos.Match{Stream: new(true)}, "POST", "http://a.test/chat/completions", chat, true},
		{chaos.Match{Stream: new(false)}, "POST", "http://a.test/chat/completions", chat, false},
		{chaos.Match{Stream: new(false)}, "POST", "http://a.test/embeddings", chat, true},
	} {
		if err := i.Set(chaos.Rule{Fault: chaos.Busy, Match: test.match}); err != nil {
			t.Fatal(err)
		}
		if hit := ask(t, rt, test.method, test.url, test.body) != 200; hit != test.hit {
			t.Errorf("%+v and %s %s: hit %v, want %v", test.match, test.method, test.url, hit, test.hit)
		}
	}
}

// A request to a real host passes untouched, and somebody is told.
func TestProtected(t *testing.T) {
	var told []chaos.Hit
	i := injector(t, chaos.Config{
		Rules: []chaos.Rule{{Fault: chaos.Busy}}, Allow: []string{"allowed.com"},
		OnProtected: func(h chaos.Hit) { told = append(told, h) },
	})
	rt := i.Middleware(fine)
	for url, want := range map[string]int{
		"https://api.deepseek.com/chat/completions": 200, "http://10.0.0.7:8000/v1/chat/completions": 200,
		"https://allowed.com/chat/completions": 503, "http://[::1]:80/chat/completions": 503,
	} {
		if got := ask(t, rt, "POST", url, "{}"); got != want {
			t.Errorf("%s: %d, want %d", url, got, want)
		}
	}
	if s := i.Stats(); s.Protected != 2 || s.Requests != 4 || s.Rules[0].Hits != 2 || len(told) != 2 {
		t.Errorf("the counts are %+v, and %d were told", s, len(told))
	}
}

// Faults inside a 200 leave what is no inference alone.
func TestInside_OnlyInference(t *testing.T) {
	i := injector(t, chaos.Config{Rules: []chaos.Rule{{Fault: chaos.EmptyInside}}})
	ask(t, i.Middleware(fine), "GET", "http://a.test/models", "")
	if s := i.Stats(); s.Rules[0].Matched != 0 {
		t.Errorf("GET /models matched: %+v", s)
	}
}

// Slow faults add up, and go with one other fault.
func TestSlow_Timing(t *testing.T) {
	slow := chaos.Rule{Fault: chaos.Slow, Queue: 10 * time.Second, KeepAlive: 3 * time.Second, FirstToken: 20 * time.Second, PerToken: time.Second}
	for _, test := range []struct {
		name          string
		rules         []chaos.Rule
		stream        bool
		headers, took time.Duration
	}{
		{"nothing", nil, true, 0, 1200 * time.Millisecond},
		{"latency twice", []chaos.Rule{{Fault: chaos.Latency, Delay: 2 * time.Second}, {Fault: chaos.Latency, Delay: 3 * time.Second}}, true, 5 * time.Second, 6200 * time.Millisecond},
		// The queue, the first token, and twelve tokens that each come later than the host's own.
		{"a slow stream", []chaos.Rule{slow}, true, 0, 42 * time.Second},
		{"slow JSON", []chaos.Rule{slow}, false, 0, 30 * time.Second},
		{"latency and a refusal", []chaos.Rule{{Fault: chaos.Busy}, {Fault: chaos.Latency, Delay: time.Minute}}, true, time.Minute, time.Minute},
	} {
		inBubble(t, host(), chaos.Config{Rules: test.rules}, func(r *rig) {
			got := r.call(bt.Chat, test.stream)
			if got.headers != test.headers || got.took.Round(time.Second/10) != test.took {
				t.Errorf("%s: headers after %v, end after %v, want %v and %v", test.name, got.headers, got.took, test.headers, test.took)
			}
			if got.status == 200 && (got.err != nil || got.reply.Content != bt.Answer(prompt)) {
				t.Errorf("%s: the answer is %q, %v", test.name, got.reply.Content, got.err)
			}
		})
	}
}

// A body of 10 kB at 1 kB a second takes ten seconds.
func TestBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Repeat("0123456789", 1000)
		base := breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Length": {"10000"}}, ContentLength: 10000, Body: io.NopCloser(strings.NewReader(text)), Request: req}, nil
		})
		rt := injector(t, chaos.Config{Rules: []chaos.Rule{{Fault: chaos.Bandwidth, BytesPerSecond: 1000}}}).Middleware(base)
		start := time.Now()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://a.test/models", nil)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if took := time.Since(start); string(got) != text || err != nil || took != 10*time.Second || resp.ContentLength != 10000 {
			t.Errorf("%d bytes of %d after %v, %v", len(got), resp.ContentLength, took, err)
		}
	})
}

// A cancel ends each wait at once, with its cause.
func TestFaults_EndWithTheirCaller(t *testing.T) {
	for _, rule := range []chaos.Rule{
		{Fault: chaos.BlackHole}, {Fault: chaos.DialTimeout}, {Fault: chaos.Latency, Delay: time.Hour}, {Fault: chaos.QueueForever},
		{Fault: chaos.Silence}, {Fault: chaos.BlankThenClose}, {Fault: chaos.Slow, Queue: time.Hour}, {Fault: chaos.Slow, FirstToken: time.Hour},
		{Fault: chaos.StallStream}, {Fault: chaos.StallKeepAlive}, {Fault: chaos.Bandwidth, BytesPerSecond: 1},
	} {
		inBubble(t, host(), chaos.Config{Rules: []chaos.Rule{rule}}, func(r *rig) {
			cause := context.DeadlineExceeded.Error()
			ctx, cancel := context.WithTimeout(r.t.Context(), 3500*time.Millisecond)
			defer cancel()
			req, err := bt.ChatRequest(ctx, r.fleet.Servers()[0].URL(), "sk-1", "m", prompt, true)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			resp, err := r.client.Do(req)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if !strings.Contains(err.Error(), cause) || time.Since(start) != 3500*time.Millisecond {
				t.Errorf("%s: %v after %v, want the deadline", rule.Fault, err, time.Since(start))
			}
		})
	}
}

// Of the faults that are not slow, a request meets the first one, and later rules do not count it.
func TestRules_FirstOneCounts(t *testing.T) {
	var told []string
	i := injector(t, chaos.Config{
		Rules: []chaos.Rule{
			{Fault: chaos.Busy, Every: 2}, {Fault: chaos.Latency, Delay: time.Nanosecond}, {Fault: chaos.ServerError, Times: 1},
		},
		OnHit: func(h chaos.Hit) { told = append(told, h.Rule) },
	})
	rt := i.Middleware(fine)
	for _, want := range []int{503, 500, 503, 200} {
		if got := ask(t, rt, "POST", "http://a.test/chat/completions", "{}"); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	var counts [][2]int64
	for _, r := range i.Stats().Rules {
		counts = append(counts, [2]int64{r.Matched, r.Hits})
	}
	if want := [][2]int64{{4, 2}, {4, 4}, {2, 1}}; !slices.Equal(counts, want) {
		t.Errorf("matched and hits are %v, want %v", counts, want)
	}
	if want := "busy latency latency server_error busy latency latency"; strings.Join(told, " ") != want {
		t.Errorf("told %v, want %s", told, want)
	}
}

// By default, the log is told of each protected host once.
func TestProtected_Log(t *testing.T) {
	var text bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&text, nil)))
	defer slog.SetDefault(before)
	rt := injector(t, chaos.Config{Rules: []chaos.Rule{{Fault: chaos.Busy}}}).Middleware(fine)
	for range 3 {
		ask(t, rt, "POST", "https://api.deepseek.com/chat/completions?key=secret", "{}")
	}
	if n := strings.Count(text.String(), "host=api.deepseek.com"); n != 1 || strings.Contains(text.String(), "secret") {
		t.Errorf("the log is %s, want one warning", text.String())
	}
}

// A slow answer has every byte of the host's, however its events and reads are cut.
func TestSlow_ChangesNoByte(t *testing.T) {
	parts := []string{
		"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "event: ping", ": comment", "data:", "\n", "\n\n", "\r\n", "\r\n\r\n", "\n\r\n", "no field",
		"data: [DONE]\n\n", "\xef\xbb\xbf", "data: " + strings.Repeat("x", 9000), "\r",
	}
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			var text strings.Builder
			for range rng.IntN(30) {
				text.WriteString(parts[rng.IntN(len(parts))])
			}
			base := breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				return &http.Response{
					StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}}, ContentLength: -1, Request: req,
					Body: io.NopCloser(iotest.OneByteReader(strings.NewReader(text.String()))),
				}, nil
			})
			if seed%2 == 0 {
				whole := base
				base = func(req *http.Request) (*http.Response, error) {
					resp, err := whole(req)
					resp.Body = io.NopCloser(iotest.DataErrReader(strings.NewReader(text.String())))
					return resp, err
				}
			}
			rules := []chaos.Rule{{Fault: chaos.Slow, PerToken: time.Second}, {Fault: chaos.Bandwidth, BytesPerSecond: 1 + rng.IntN(1e6)}}
			rt := injector(t, chaos.Config{Rules: rules}).Middleware(base)
			req, err := http.NewRequestWithContext(t.Context(), "POST", "http://a.test/chat/completions", strings.NewReader(`{"stream":true}`))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(got) != text.String() || err != nil {
				t.Errorf("seed %d: got %q, %v, want %q", seed, got, err, text.String())
			}
		})
	}
}
