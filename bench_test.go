package breakwater

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// go test -bench . -run ^$

// chat2K is a chat request of about 2 KB.
var chat2K = []byte(`{"model":"deepseek-flash","messages":[{"role":"user","content":"` + strings.Repeat("what is a breakwater? ", 90) + `"}]}`)

type memoryBody struct{ bytes.Reader }

func (*memoryBody) Close() error { return nil }

// memoryBase answers from memory, after reading the request as a wire would.
func memoryBase(contentType, text string) http.RoundTripper {
	header := http.Header{"Content-Type": {contentType}}
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			io.Copy(io.Discard, req.Body)
			req.Body.Close()
		}
		body := &memoryBody{}
		body.Reset([]byte(text))
		return &http.Response{
			StatusCode: 200, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: header.Clone(), Body: body, ContentLength: int64(len(text)), Request: req,
		}, nil
	})
}

func roundTrips(b *testing.B, rt http.RoundTripper, body []byte) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		roundTrip(b, context.Background(), rt, body)
	}
}

// roundTrip asks once and reads the answer.
func roundTrip(b testing.TB, ctx context.Context, rt http.RoundTripper, body []byte) {
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(body))
	req.Header.Set("Authorization", "Bearer sk-caller")
	req.Header.Set("Content-Type", "application/json")
	resp, err := rt.RoundTrip(req)
	if err != nil || resp.StatusCode != 200 {
		b.Fatal(resp, err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

func transport(b testing.TB, opts ...Option) *Transport {
	b.Helper()
	rt, err := New(opts...)
	if err != nil {
		b.Fatal(err)
	}
	return rt
}

func BenchmarkBareBase(b *testing.B) {
	roundTrips(b, memoryBase("application/json", goodJSON), chat2K)
}

func BenchmarkDefaultPipeline(b *testing.B) {
	roundTrips(b, transport(b, WithBase(memoryBase("application/json", goodJSON))), chat2K)
}

func BenchmarkThreeEndpoints(b *testing.B) {
	roundTrips(b, transport(b, append(threeEndpoints(), WithBase(memoryBase("application/json", goodJSON)))...), chat2K)
}

func threeEndpoints() []Option {
	return []Option{
		WithEndpoints(DeepSeek("sk-1"), Endpoint{Name: "second", URL: "https://second.example", APIKey: "sk-2"}),
		WithBackup(SiliconFlow("sk-3")),
	}
}

// BenchmarkPriced is a call whose cost is not known, is that of its usage, and is estimated.
func BenchmarkPriced(b *testing.B) {
	price := map[string]Price{"": {Input: 1, Output: 1, Peak: "Mon-Fri 01:00-04:00 06:00-10:00 UTC", PeakFactor: 2}}
	for _, bb := range []struct {
		name, answer string
		price        map[string]Price
	}{
		{"unpriced", chatWithUsage(`{"prompt_tokens":700,"completion_tokens":300,"total_tokens":1000}`), map[string]Price{}},
		{"usage", chatWithUsage(`{"prompt_tokens":700,"completion_tokens":300,"total_tokens":1000}`), price},
		{"estimated", chatWithUsage(`null`), price},
	} {
		b.Run(bb.name, func(b *testing.B) {
			e := DeepSeek("sk-a")
			e.Price = bb.price
			roundTrips(b, transport(b, WithEndpoints(e), WithBase(memoryBase("application/json", bb.answer))), chat2K)
		})
	}
	for _, cheapest := range []bool{false, true} {
		b.Run(fmt.Sprintf("three endpoints, cheapest=%v", cheapest), func(b *testing.B) {
			var list []Endpoint
			for _, name := range []string{"a", "b", "c"} {
				e := DeepSeek("sk-a").Named(name)
				e.Price = price
				list = append(list, e)
			}
			base := WithBase(memoryBase("application/json", chatWithUsage(`{"prompt_tokens":700,"completion_tokens":300,"total_tokens":1000}`)))
			roundTrips(b, transport(b, WithEndpoints(list...), base, WithBalance(BalancePolicy{Cheapest: cheapest})), chat2K)
		})
	}
	b.Run("bounded", func(b *testing.B) {
		e := DeepSeek("sk-a")
		e.Price = price
		base := WithBase(memoryBase("application/json", chatWithUsage(`{"prompt_tokens":700,"completion_tokens":300,"total_tokens":1000}`)))
		roundTrips(b, transport(b, WithEndpoints(e), base, WithSpend(SpendPolicy{PerDay: 1e9, Cheaper: map[string]string{"a": "b"}})), chat2K)
	})
}

// BenchmarkKeyFunc is an endpoint with a KeyFunc, beside the same one with an APIKey.
func BenchmarkKeyFunc(b *testing.B) {
	base := WithBase(memoryBase("application/json", goodJSON))
	b.Run("APIKey", func(b *testing.B) { roundTrips(b, transport(b, base, WithEndpoints(DeepSeek("sk-1"))), chat2K) })
	b.Run("KeyFunc", func(b *testing.B) { roundTrips(b, transport(b, base, WithEndpoints(withKeyFunc())), chat2K) })
}

// withKeyFunc returns an endpoint whose KeyFunc costs nothing.
func withKeyFunc() Endpoint {
	e := DeepSeek("")
	e.KeyFunc = func(context.Context, string) (string, error) { return "sk-1", nil }
	return e
}

// BenchmarkShift is a call with a backup, without shares, with one that is whole, and with one
// that sends it to the backup.
func BenchmarkShift(b *testing.B) {
	for _, bb := range []struct {
		name  string
		most  float64
		share bool
	}{{"off", 0, false}, {"on", 0.9, false}, {"shifted", 0.9, true}} {
		b.Run(bb.name, func(b *testing.B) {
			rt := transport(b, WithEndpoints(DeepSeek("sk-a")), WithBackup(DeepSeek("sk-b").Named("other")), WithBalance(BalancePolicy{Shift: bb.most}),
				WithBase(memoryBase("application/json", goodJSON)), drawing(0.99))
			if bb.share {
				for n := range 100 {
					rt.now().tiers[0][0].shares.Get("deepseek-flash").Note(true, time.Now().Add(time.Duration(n)*time.Minute/2), 0.1)
				}
			}
			roundTrips(b, rt, chat2K)
		})
	}
}

// BenchmarkWeight is a call with two endpoints, of equal weights and of others.
func BenchmarkWeight(b *testing.B) {
	for _, weight := range []float64{1, 0.05} {
		b.Run(fmt.Sprint(weight), func(b *testing.B) {
			other := DeepSeek("sk-b").Named("other")
			other.Weight = weight
			roundTrips(b, transport(b, WithEndpoints(DeepSeek("sk-a"), other), WithBase(memoryBase("application/json", goodJSON))), chat2K)
		})
	}
}

// BenchmarkCacheHit is a hit, for calls of several sizes, beside SHA-256 of the
// same bytes: the least that telling them apart can cost.
// What WithIdempotency costs a call: without it, without a key, with a new key, and with one
// that has an answer.
func BenchmarkIdempotency(b *testing.B) {
	on := WithIdempotency(IdempotencyPolicy{})
	for _, bb := range []struct {
		name string
		opts []Option
		key  func(n int) []string
	}{
		{"off", nil, nil},
		{"without a key", []Option{on}, nil},
		{"new keys", []Option{on}, func(n int) []string { return []string{strconv.Itoa(n)} }},
		{"a hit", []Option{on}, func(int) []string { return []string{"order-7"} }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			rt := transport(b, append(bb.opts, WithBase(memoryBase("application/json", goodJSON)))...)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				req, _ := http.NewRequest(http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(chat2K))
				req.Header["Authorization"], req.Header["Content-Type"] = []string{"Bearer sk-caller"}, []string{"application/json"}
				if bb.key != nil {
					req.Header["Idempotency-Key"] = bb.key(n)
				}
				resp, err := rt.RoundTrip(req)
				if err != nil || resp.StatusCode != 200 {
					b.Fatal(resp, err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
}

func BenchmarkCacheHit(b *testing.B) {
	for _, size := range []int{2 << 10, 32 << 10, 200 << 10} {
		body := chatOf(size)
		b.Run(fmt.Sprintf("%dKB/sha256", size>>10), func(b *testing.B) {
			for b.Loop() {
				sha256.Sum256(body)
			}
		})
		b.Run(fmt.Sprintf("%dKB/hit", size>>10), func(b *testing.B) {
			hit := hits(b, body)
			b.ReportAllocs()
			for b.Loop() {
				hit()
			}
		})
	}
	// Beside each other, in a cache that is full: what an empty one allocates for
	// hits would keep the garbage collector busy with nothing.
	b.Run("2KB/parallel", func(b *testing.B) {
		rt := transport(b, WithBase(memoryBase("application/json", jsonOf(16<<10))), WithCache(CachePolicy{MaxEntries: Off}))
		for n := range 4000 {
			hitsOf(b, rt, []byte(question(n)))
		}
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			hit := hitsOf(b, rt, chat2K)
			for pb.Next() {
				hit()
			}
		})
	})
}

// chatOf is a chat of about so many bytes, in messages of 2 KB.
func chatOf(size int) []byte {
	message := `{"role":"user","content":"` + strings.Repeat("what is a breakwater? ", 90) + `"},`
	return []byte(`{"model":"deepseek-flash","messages":[` + strings.Repeat(message, max(1, size/len(message))) + `{"role":"user","content":"so?"}]}`)
}

// hits returns a function that makes a call that hits the cache, with a
// request made beforehand: what it costs is the Transport's.
func hits(b testing.TB, body []byte) func() {
	return hitsOf(b, transport(b, WithBase(memoryBase("application/json", goodJSON)), WithCache(CachePolicy{})), body)
}

func hitsOf(b testing.TB, rt *Transport, body []byte) func() {
	sent := &memoryBody{}
	req, _ := http.NewRequest(http.MethodPost, "https://api.deepseek.com/chat/completions", sent)
	req.ContentLength = int64(len(body))
	req.Header.Set("Authorization", "Bearer sk-caller")
	req.Header.Set("Content-Type", "application/json")
	call := func() string {
		sent.Reset(body)
		resp, err := rt.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			b.Fatal(resp, err)
		}
		resp.Body.(io.WriterTo).WriteTo(io.Discard)
		resp.Body.Close()
		return resp.Header.Get("Cache-Status")
	}
	sent.Reset(body)
	if resp, err := rt.RoundTrip(req); err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if got := call(); !strings.HasPrefix(got, "breakwater; hit") {
		b.Fatal(got)
	}
	return func() { call() }
}

// BenchmarkStreamHit replays a kept stream of 2,000 events, as it came and, from
// JSON, made anew.
func BenchmarkStreamHit(b *testing.B) {
	events := strings.Repeat(goodEvent, 2000) + endEvent + doneEvent
	rt := transport(b, WithBase(memoryBase("text/event-stream", events)), WithCache(CachePolicy{}))
	req, _ := http.NewRequest(http.MethodPost, "https://api.deepseek.com/chat/completions", strings.NewReader(chatStream))
	b.SetBytes(int64(len(events)))
	buf := make([]byte, 32<<10)
	for b.Loop() {
		req.Body = io.NopCloser(strings.NewReader(chatStream))
		resp, err := rt.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for err == nil {
			var k int
			k, err = resp.Body.Read(buf)
			n += k
		}
		resp.Body.Close()
		if n != len(events) {
			b.Fatal(n, err)
		}
	}
}

// endlessEvents gives out the same events for ever, the first carrying payload.
type endlessEvents struct {
	events string
	at     int
}

func (e *endlessEvents) Read(p []byte) (int, error) {
	n := copy(p, e.events[e.at:])
	e.at = (e.at + n) % len(e.events)
	return n, nil
}

func (*endlessEvents) Close() error { return nil }

// BenchmarkStreamEvent is one event after the commit.
func BenchmarkStreamEvent(b *testing.B) {
	next := streamEvents(b, oneEvent, StreamPolicy{})
	b.ReportAllocs()
	b.SetBytes(int64(len(oneEvent)))
	for b.Loop() {
		next()
	}
}

// BenchmarkCheckedEvent is one event of a text, with the checks of StreamPolicy and without.
func BenchmarkCheckedEvent(b *testing.B) {
	events := manyEvents()
	for name, p := range map[string]StreamPolicy{"unchecked": {}, "checked": checked, "repetition": {Repetition: 16 << 10}, "answer": {RequireAnswer: true}} {
		b.Run(name, func(b *testing.B) {
			next := streamEvents(b, events, p)
			b.ReportAllocs()
			for b.Loop() {
				next()
			}
		})
	}
}

// manyEvents are events of the same length, whose texts are those of a page, without its line
// ends and quotes.
func manyEvents() string {
	text, err := os.ReadFile("docs/limits-and-circuits.md")
	if err != nil {
		panic(err)
	}
	var events strings.Builder
	for token := range slices.Chunk(text, 5) {
		clean := strings.Map(func(r rune) rune {
			if r < ' ' || r == '"' || r == '\\' || r > '~' {
				return '.'
			}
			return r
		}, string(token)+"     ")
		events.WriteString(strings.Replace(oneEvent, `wa\n\"ve`, clean[:5], 1))
	}
	return events.String()
}

const oneEvent = `data: {"id":"2e6c8ad5-4a4f-4b0e-8f0a-5d5dd1a1d1b2","object":"chat.completion.chunk","created":1764000000,"model":"deepseek-flash","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"wa\n\"ve"},"logprobs":null,"finish_reason":null}]}` + "\n\n"

// streamEvents returns a function that reads the next event of a stream. The events are equally
// long.
func streamEvents(b testing.TB, events string, p StreamPolicy) func() {
	rt := transport(b, WithStream(p), WithBase(RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: &endlessEvents{events: events}}, nil
	})))
	req, _ := http.NewRequest(http.MethodPost, "https://api.deepseek.com/chat/completions", strings.NewReader(chatStream))
	resp, err := rt.RoundTrip(req)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { resp.Body.Close() })
	buf := make([]byte, strings.Index(events, "\n\n")+2)
	return func() {
		if _, err := io.ReadFull(resp.Body, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkThroughput reads streams of 100,000 small events over loopback, with
// rescue on, and bare in the same run.
func BenchmarkThroughput(b *testing.B) {
	const events = 100_000
	var stream bytes.Buffer
	for i := range events {
		fmt.Fprintf(&stream, `data: {"id":"2e6c8ad5","object":"chat.completion.chunk","created":1764000000,"model":"deepseek-flash","choices":[{"index":0,"delta":{"content":" word%d"},"finish_reason":null}]}`+"\n\n", i)
	}
	stream.WriteString(`data: {"id":"2e6c8ad5","object":"chat.completion.chunk","created":1764000000,"model":"deepseek-flash","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n")
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for event := range bytes.SplitAfterSeq(stream.Bytes(), []byte("\n\n")) {
			w.Write(event)
			w.(http.Flusher).Flush() // as hosts do
		}
	}))
	defer host.Close()
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	guarded := transport(b, WithBase(base), WithEndpoints(Endpoint{Name: "host", URL: host.URL, APIKey: "sk-1", Host: HostDeepSeek}))
	read := func(rt http.RoundTripper) time.Duration {
		start := time.Now()
		req, _ := http.NewRequest(http.MethodPost, host.URL+"/chat/completions", strings.NewReader(chatStream))
		resp, err := rt.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != int64(stream.Len()) {
			b.Fatal(n, err)
		}
		return time.Since(start)
	}
	read(base) // connects
	var bare, mine time.Duration
	b.SetBytes(int64(stream.Len()))
	for b.Loop() {
		bare += read(base)
		mine += read(guarded)
	}
	b.ReportMetric(bare.Seconds()/mine.Seconds(), "of-bare")
}

// BenchmarkOpenStream measures what is held for a stream that is open, its
// caller waiting for the next event, over a base from memory.
func BenchmarkOpenStream(b *testing.B) {
	const streams = 5000
	base := newHosts(nil)
	open := func(rt http.RoundTripper) float64 {
		release := make(chan struct{})
		base.Set("", waits(release))
		before := inUse()
		var callers sync.WaitGroup
		reading := make(chan struct{}, streams)
		for range streams {
			callers.Go(func() {
				req, _ := http.NewRequest(http.MethodPost, "https://api.deepseek.com/chat/completions", strings.NewReader(chatStream))
				req.Header.Set("Authorization", "Bearer sk-caller")
				resp, err := rt.RoundTrip(req)
				if err != nil {
					b.Error(err)
					return
				}
				var buf [512]byte
				resp.Body.Read(buf[:])
				reading <- struct{}{}
				for err == nil {
					_, err = resp.Body.Read(buf[:])
				}
				resp.Body.Close()
			})
		}
		for range streams {
			<-reading
		}
		after := inUse()
		close(release)
		callers.Wait()
		return float64(after-before) / streams
	}
	rt := transport(b, WithBase(base), WithRateLimit(RatePolicy{InFlight: streams}))
	open(rt) // so that the runtime has its stacks at hand in both
	for b.Loop() {
		bare := open(base)
		b.ReportMetric(bare, "bare-B/stream")
		b.ReportMetric(open(rt)-bare, "added-B/stream")
	}
}

// inUse is the memory in use: heap and stacks.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// waits answers with streams that wait after their first event until release
// is closed.
func waits(release <-chan struct{}) handler {
	return func(req *http.Request) (*http.Response, error) {
		rest := strings.NewReader(endEvent + doneEvent)
		body := io.MultiReader(strings.NewReader(goodEvent), fakehost.ReaderFunc(func(p []byte) (int, error) {
			<-release
			return rest.Read(p)
		}))
		return answerFrom(200, asStream, body), nil
	}
}

// BenchmarkLayers is what choosing among three endpoints, a permit, the buckets
// and a circuit add to a call: everything that stands before the sending, and
// gives back after it.
func BenchmarkLayers(b *testing.B) {
	pass := layersAlone(b)
	b.ReportAllocs()
	for b.Loop() {
		pass()
	}
}

func layersAlone(b testing.TB) func() {
	rt := transport(b, WithBase(RoundTripperFunc(func(*http.Request) (*http.Response, error) { return nil, io.EOF })),
		WithRateLimit(RatePolicy{InFlight: 100, PerSecond: 1e9, Burst: 1 << 30, TokensPerMinute: 1 << 30}), WithEndpoints(at("a", "b", "c")...))
	req, _ := http.NewRequest(http.MethodPost, "https://a/chat/completions", bytes.NewReader(chat2K))
	c, err := rt.now().newCall(req, request.Chat, rt.now().tiers[0][0])
	if err != nil {
		b.Fatal(err)
	}
	r := rt.now().failover.newRun(c)
	a := &attempt{}
	return func() {
		s := r.next(time.Now())
		e := s.endpoint
		*a = attempt{fleet: r.fleet, call: c, endpoint: e}
		held := attemptLease{}
		if e.limits.Get(s.model, [32]byte{}).Acquire(c, &held.Lease, limit.Use{Prompt: 1000}) != nil || !e.circuits.Get(s.model).Allow(&a.permit, time.Now(), false) {
			b.Fatal("refused")
		}
		e.Load.Begin()
		a.permit.Report(circuit.Success)
		held.finish(a, ClassOK, Usage{})
		e.finish(a, ClassOK, Usage{}, time.Now())
	}
}

// BenchmarkTenants is a call without tenants, and one whose tenant has limits.
func BenchmarkTenants(b *testing.B) {
	limits := TenantLimits{InFlight: 1e6, TokensPerDay: 1e9}
	for _, bb := range []struct {
		name string
		opts []Option
	}{
		{"off", nil},
		{"on", []Option{WithTenants(TenantPolicy{Default: limits, Of: func(*http.Request) (string, Priority) { return "aurora", 0 }})}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			roundTrips(b, transport(b, append(bb.opts, WithBase(memoryBase("application/json", goodJSON)))...), chat2K)
		})
	}
}
