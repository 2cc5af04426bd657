package breakwater

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/price"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// priced gives all endpoints one price: a dollar for a token of the prompt, a half for a cached
// one, and a hundred for a token of the answer.
func priced(edit ...func(*Price)) Option {
	return func(c *config) error {
		p := Price{Input: 1e6, CachedInput: 5e5, Output: 1e8}
		for _, e := range edit {
			e(&p)
		}
		for _, tier := range c.tiers {
			for i := range tier {
				tier[i].Price = map[string]Price{"": p}
			}
		}
		return nil
	}
}

// dollars is a cost that is known, by usage.
func dollars(amount float64) Cost { return Cost{Amount: amount, Known: true, currency: price.Dollar} }

// about is dollars for a cost that is estimated.
func about(amount float64) Cost {
	return Cost{Amount: amount, Known: true, Estimated: true, currency: price.Dollar}
}

// A bill is what a call cost: each of its attempts, as its trail and its events say, and all.
type bill struct {
	attempts []Attempt
	events   []Event // KindAttempt
	end      Event   // KindEnd
}

// charge makes a call to the fleet's first host and returns its bill.
func (w *world) charge(bills *[]Event, stream bool, read func(*http.Response)) bill {
	w.t.Helper()
	*bills = nil
	var trail Trail
	server := w.fleet.Servers()[0]
	req, err := w.wire.Request(WithCall(context.Background(), Call{Trail: &trail}), server.WireURL(w.wire), "sk-caller", testModel, "how long is it?", stream)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := w.rt.RoundTrip(req)
	if err == nil {
		read(resp)
		resp.Body.Close()
	}
	synctest.Wait()
	b := bill{attempts: trail.Attempts()}
	for _, e := range *bills {
		switch e.Kind {
		case KindAttempt:
			b.events = append(b.events, e)
		case KindEnd:
			b.end = e
		}
	}
	return b
}

func readAll(resp *http.Response) { io.Copy(io.Discard, resp.Body) }

// noting has the events added to a list.
func noting(events *[]Event) Option {
	return WithObserver(func(_ context.Context, e Event) { *events = append(*events, e) })
}

// check compares a bill with what each attempt should cost.
func (b bill) check(t *testing.T, name string, want ...Cost) {
	t.Helper()
	sum := Cost{Known: true, currency: price.Dollar}
	for _, c := range want {
		sum.add(c)
	}
	if len(b.attempts) != len(want) || b.end.Cost != sum {
		t.Errorf("%s: %d attempts cost %v, want %d and %v", name, len(b.attempts), b.end.Cost, len(want), sum)
	}
	for i := range min(len(want), len(b.attempts)) {
		if b.attempts[i].Cost != want[i] {
			t.Errorf("%s: attempt %d (%s) cost %#v, want %#v", name, i+1, b.attempts[i].Class, b.attempts[i].Cost, want[i])
		}
	}
	for _, e := range b.events {
		if e.Attempt > 0 && e.Attempt <= len(want) && e.Cost != want[e.Attempt-1] {
			t.Errorf("%s: the event of attempt %d says %v, want %v", name, e.Attempt, e.Cost, want[e.Attempt-1])
		}
	}
}

// On every wire, in JSON and in streams, an answer costs what its usage says.
func TestCost_ByUsage(t *testing.T) {
	for _, form := range kit.Wires() {
		for _, stream := range []bool{false, true} {
			name := fmt.Sprintf("%s stream=%v", form, stream)
			t.Run(name, func(t *testing.T) {
				var events []Event
				inWorld(t, "primary backup", []Option{priced(), noting(&events)}, func(w *world) {
					w.wire = form
					b := w.charge(&events, stream, readAll)
					u := b.end.Usage
					if u.PromptTokens == 0 || u.CompletionTokens == 0 {
						t.Fatalf("the host said no usage: %+v", u)
					}
					b.check(t, name, dollars(float64(u.PromptTokens)+100*float64(u.CompletionTokens)))
				})
			})
		}
	}
}

// What a host that says no usage, or did not come to its end, may bill is estimated: the prompt
// from the request, the answer from the text that had come.
func TestCost_IsEstimated(t *testing.T) {
	prompt := func(w kit.Wire, stream bool) float64 {
		req, _ := w.Request(t.Context(), "http://a", "", testModel, "how long is it?", stream)
		body, _ := io.ReadAll(req.Body)
		return math.Floor(0.3 * float64(len(body)))
	}
	text := func(s string) float64 { return 100 * float64(wire.EstimateTokens([]byte(s))) }
	for _, form := range kit.Wires() {
		model, off := "primary", WithStream(StreamPolicy{Rescue: RescueOff})
		for _, tt := range []struct {
			name   string
			stream bool
			fault  kit.Fault
			read   func(*http.Response)
			want   func(said int) Cost // said: characters of the text that the caller got
		}{
			{"a cut stream", true, kit.CutStream(4), readAll, nil},
			{"a stream that ended early", true, kit.EndStream(4), readAll, nil},
			{"an error in a stream", true, kit.ErrorFrame(4), readAll, nil},
			{"a stream that was left", true, kit.StallStream(5), func(resp *http.Response) { io.ReadFull(resp.Body, make([]byte, 1000)) }, nil},
			{"cut json", false, kit.CutJSON(), readAll, func(int) Cost { return about(prompt(form, false)) }},
			{"an error inside a 200", false, kit.ErrorInside(), readAll, func(int) Cost { return about(prompt(form, false)) }},
			{"a reset", false, kit.Reset(), readAll, func(int) Cost { return about(prompt(form, false)) }},
		} {
			name := form.String() + ": " + tt.name
			t.Run(name, func(t *testing.T) {
				var events []Event
				inWorld(t, model, []Option{priced(), noting(&events), off, once}, func(w *world) {
					w.wire = form
					w.fleet.Server("primary").Break(tt.fault)
					var got strings.Builder
					b := w.charge(&events, tt.stream, func(resp *http.Response) {
						resp.Body = struct {
							io.Reader
							io.Closer
						}{io.TeeReader(resp.Body, &got), resp.Body}
						tt.read(resp)
					})
					if tt.want != nil {
						b.check(t, name, tt.want(0))
						return
					}
					resp := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(strings.NewReader(got.String()))}
					reply, _ := kit.ReadAnswer(resp)
					c := b.end.Cost
					in := prompt(form, true)
					if u := b.end.Usage; u.PromptTokens > 0 { // Messages say the prompt's at their beginning
						in = float64(u.PromptTokens)
					}
					room := 0.0
					if tt.name == "a stream that was left" { // in the middle of an event
						room = 1000
					}
					if want := in + text(reply.Content); len(reply.Content) < 4 && room == 0 || c.Amount < want || c.Amount > want+room || c.Amount == in || !c.Known || !c.Estimated || len(b.attempts) != 1 || b.attempts[0].Cost != c {
						t.Errorf("the text %q cost %v, want about %v", reply.Content, c, want)
					}
				})
			})
		}
	}
}

// chatWithUsage is an answer with a usage object.
func chatWithUsage(usage string) string {
	return `{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":` + usage + `}`
}

// atA returns an endpoint with prices, whose answers are by a handler, and the bill of one call.
func atA(t *testing.T, a handler, body string, opts ...Option) bill {
	t.Helper()
	var events []Event
	var trail Trail
	base := newHosts(gives(200, asJSON, goodJSON))
	base.Set("a", a)
	rt := over(t, base, append([]Option{WithEndpoints(at("a")...), noting(&events), priced()}, opts...)...)
	asks(WithCall(t.Context(), Call{Trail: &trail}), rt, body)
	synctest.Wait()
	b := bill{attempts: trail.Attempts()}
	for _, e := range events {
		switch e.Kind {
		case KindAttempt:
			b.events = append(b.events, e)
		case KindEnd:
			b.end = e
		}
	}
	return b
}

// What was refused, or never sent, costs nothing. What a gateway refused after a host may have
// worked is estimated.
func TestCost_OfRefusals(t *testing.T) {
	free := dollars(0)
	prompt := about(float64(len(chatJSON) * 3 / 10))
	for name, tt := range map[string]struct {
		a    handler
		opts []Option
		want []Cost
	}{
		"429":           {a: gives(429, asJSON, "{}"), want: []Cost{free}},
		"400":           {a: gives(400, asJSON, "{}"), want: []Cost{free}},
		"401":           {a: gives(401, asJSON, "{}"), want: []Cost{free}},
		"402":           {a: gives(402, asJSON, "{}"), want: []Cost{free}},
		"503":           {a: failing503, want: []Cost{free}},
		"500":           {a: gives(500, asJSON, "{}"), want: []Cost{free}},
		"redirect":      {a: gives(307, asJSON, "{}", "Location", "https://b/"), want: []Cost{free}},
		"502":           {a: gives(502, asJSON, "{}"), want: []Cost{prompt}},
		"504":           {a: gives(504, asJSON, "{}"), want: []Cost{prompt}},
		"hung up":       {a: fakehost.Refusing, want: []Cost{prompt}},
		"empty":         {a: gives(200, asJSON, ""), want: []Cost{prompt}},
		"503, then 200": {a: fakehost.Script(gives(200, asJSON, chatWithUsage(`{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}`)), failing503), opts: []Option{WithRetry(RetryPolicy{})}, want: []Cost{free, dollars(103)}},
		"rewrite": {a: well, opts: []Option{func(c *config) error {
			c.tiers[0][0].Rewrite = func(*http.Request) error { return io.ErrUnexpectedEOF }
			return nil
		}}, want: []Cost{free}},
	} {
		bubble(t, name, func(t *testing.T) {
			atA(t, tt.a, chatJSON, append([]Option{once}, tt.opts...)...).check(t, name, tt.want...)
		})
	}
}

// Usage in the words of every wire, and usage that makes no sense.
func TestCost_OfUsage(t *testing.T) {
	const most = math.MaxInt32
	for _, tt := range []struct {
		usage string
		want  Cost
	}{
		{`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}`, dollars(210)},
		{`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}`, dollars(208)},
		{`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4}}`, dollars(208)},
		{`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"prompt_cache_hit_tokens":4,"prompt_tokens_details":{"cached_tokens":4}}`, dollars(208)},
		{`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"completion_tokens_details":{"reasoning_tokens":1}}`, dollars(210)},
		{`{"total_tokens":12}`, dollars(12)},
		{`{"prompt_tokens":10,"completion_tokens":2,"prompt_cache_hit_tokens":40}`, dollars(205)}, // more cached than there is
		{`{"prompt_tokens":-10,"completion_tokens":-2,"total_tokens":5}`, dollars(5)},
		{`{"prompt_tokens":1e300,"completion_tokens":9223372036854775807}`, dollars(most + 100*most)},
		{`{"prompt_tokens":10,"completion_tokens":2,"prompt_cache_hit_tokens":-3}`, dollars(210)},
	} {
		bubble(t, tt.usage, func(t *testing.T) {
			atA(t, gives(200, asJSON, chatWithUsage(tt.usage)), chatJSON).check(t, tt.usage, tt.want)
		})
	}
	text := about(float64(len(chatJSON) * 3 / 10)) // "hi" is less than a token
	for _, usage := range []string{`{}`, `null`, `"12"`, `[]`, `{"prompt_tokens":NaN}`, `{"prompt_tokens":"10","completion_tokens":"2"}`, `{"prompt_tokens":-10,"completion_tokens":-2}`} {
		bubble(t, usage, func(t *testing.T) {
			a := gives(200, asJSON, chatWithUsage(usage))
			if strings.Contains(usage, "NaN") { // no JSON, so no answer
				atA(t, a, chatJSON, once).check(t, usage, text)
				return
			}
			atA(t, a, chatJSON).check(t, usage, text)
		})
	}
}

// The other wires' usage, and what becomes of it where the answer ends.
func TestCost_OfWires(t *testing.T) {
	ask := func(path, body string) func(*http.Request) {
		return func(req *http.Request) {
			req.URL.Path = path
			req.Body, req.ContentLength, req.GetBody = io.NopCloser(strings.NewReader(body)), int64(len(body)), nil
		}
	}
	const start = `{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":7,"cache_read_input_tokens":4,"cache_creation_input_tokens":1,"output_tokens":1}}}`
	const text = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + "0123456789 0123456789 0123456789 0123456789" + `"}}`
	const tail = `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}`
	began := named(start) + named(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`) + named(text)
	chunk := func(data string) string { return "data: " + data + "\n\n" }
	call := chunk(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_0123456789","type":"function","function":{"name":"look","arguments":""}}]}}]}`) +
		chunk(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"name\": \"breakwater in the harbour\"}"}}]}}]}`)
	escaped := chunk(`{"choices":[{"index":0,"delta":{"content":"\u9632\u6ce2\u5824\n"}}]}`)
	prompt := func(body string) float64 { return math.Floor(0.3 * float64(len(body))) }
	const msg, msgJSON = `{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}`, `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`
	const resp, respJSON = `{"model":"m","stream":true,"input":"hi"}`, `{"model":"m","input":"hi"}`
	const embed = `{"model":"m","input":["a","b"]}`
	const vectors = `{"object":"list","model":"m","data":[{"index":0,"embedding":[0.5]},{"index":1,"embedding":[0.5]}]`
	for _, tt := range []struct {
		name, path, body string
		a                handler
		want             Cost
	}{
		{"messages", "/v1/messages", msg, gives(200, asStream, began+named(tail)+named(`{"type":"message_stop"}`)), dollars(8 + 2 + 900)},
		{"messages, cut", "/v1/messages", msg, breaks(asStream, began), about(8 + 2 + 1200)}, // 43 characters are 12 tokens
		{"messages, JSON", "/v1/messages", msgJSON, gives(200, asJSON, `{"type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":7,"cache_read_input_tokens":4,"output_tokens":2}}`), dollars(7 + 2 + 200)},
		{"messages, JSON without usage", "/v1/messages", msgJSON, gives(200, asJSON, `{"type":"message","role":"assistant","content":[{"type":"text","text":"0123456789"},{"type":"tool_use","id":"t","name":"look","input":{"at":"harbour"}}],"stop_reason":"end_turn"}`), about(prompt(msgJSON) + 900)},
		{"responses", "/v1/responses", resp, gives(200, asStream, named(`{"type":"response.output_text.delta","delta":"hi"}`)+named(`{"type":"response.completed","response":{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":3,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":13}}}`)), dollars(6 + 2 + 300)},
		{"responses, cut", "/v1/responses", resp, breaks(asStream, named(`{"type":"response.reasoning_summary_text.delta","delta":"0123456789"}`)+named(`{"type":"response.output_text.delta","delta":"0123456789"}`)), about(prompt(resp) + 600)},
		{"responses, JSON without usage", "/v1/responses", respJSON, gives(200, asJSON, `{"status":"completed","output":[{"type":"function_call","name":"look","arguments":"{}"},{"type":"message","content":[{"type":"output_text","text":"0123456789"}]}]}`), about(prompt(respJSON) + 400)},
		{"a prompt", "/v1/completions", `{"model":"m","prompt":"hi"}`, gives(200, asJSON, `{"choices":[{"index":0,"text":"0123456789","finish_reason":"stop"}]}`), about(prompt(`{"model":"m","prompt":"hi"}`) + 300)},
		{"embeddings", "/v1/embeddings", embed, gives(200, asJSON, vectors+`,"usage":{"prompt_tokens":2,"total_tokens":2}}`), dollars(2)},
		{"embeddings without usage", "/v1/embeddings", embed, gives(200, asJSON, vectors+`}`), about(prompt(embed))},
		{"embeddings, packed", "/v1/embeddings", embed, gives(200, asJSON, "\x1f\x8b", "Content-Encoding", "gzip"), about(prompt(embed))},
		{"packed", "/v1/chat/completions", chatJSON, gives(200, asJSON, "\x1f\x8b", "Content-Encoding", "gzip"), Cost{currency: price.Dollar}},
		{"a tool call, cut", "/v1/chat/completions", chatStream, breaks(asStream, call), about(prompt(chatStream) + 1200)}, // 4 + 39 characters
		{"escapes, cut", "/v1/chat/completions", chatStream, breaks(asStream, escaped), about(prompt(chatStream) + 200)},   // 3 of Chinese, a line end
		{"a stream without usage", "/v1/chat/completions", chatStream, gives(200, asStream, wholeStream), about(prompt(chatStream))},
		{"a stream where JSON was asked for", "/v1/chat/completions", chatJSON, gives(200, asStream, goodEvent+finishEvent+usageEvent+doneEvent), dollars(3)},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			var events []Event
			var trail Trail
			base := newHosts(tt.a)
			rt := over(t, base, WithEndpoints(at("a")...), noting(&events), priced(), once, WithStream(StreamPolicy{Rescue: RescueOff}))
			asks(WithCall(t.Context(), Call{Trail: &trail}), rt, tt.body, ask(tt.path, tt.body))
			synctest.Wait()
			bill{attempts: trail.Attempts(), end: events[len(events)-1]}.check(t, tt.name, tt.want)
		})
	}
}

// An answer from the cache costs nothing, and so does one that is shared. What was renewed in
// the background costs as much as other attempts.
func TestCost_OfTheCache(t *testing.T) {
	bubble(t, "cache", func(t *testing.T) {
		answer := fakehost.After(time.Second, gives(200, asJSON, chatWithUsage(`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}`)))
		var mu sync.Mutex
		var ends, attempts []Cost
		rt := over(t, newHosts(answer), WithEndpoints(at("a")...), priced(), WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Hour}), WithObserver(func(_ context.Context, e Event) {
			mu.Lock()
			defer mu.Unlock()
			switch e.Kind {
			case KindEnd:
				ends = append(ends, e.Cost)
			case KindAttempt:
				attempts = append(attempts, e.Cost)
			}
		}))
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() { asks(context.Background(), rt, chatJSON) })
		}
		group.Wait()
		asks(t.Context(), rt, chatJSON) // a hit
		elapse(2 * time.Minute)
		asks(t.Context(), rt, chatJSON) // stale, and renewed
		elapse(2 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		free, paid := dollars(0), dollars(210)
		slices.SortFunc(ends[:2], func(a, b Cost) int { return int(a.Amount - b.Amount) })
		if !slices.Equal(ends, []Cost{free, paid, free, free}) || !slices.Equal(attempts, []Cost{paid, paid}) {
			t.Errorf("calls cost %v, and attempts %v", ends, attempts)
		}
	})
}

// A hedge that loses may be billed; so may a call that its caller left, and an answer that broke
// and was continued costs what both attempts do.
func TestCost_OfExtraAttempts(t *testing.T) {
	usage := gives(200, asJSON, chatWithUsage(`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}`))
	prompt := about(float64(len(chatJSON) * 3 / 10))
	bubble(t, "hedge", func(t *testing.T) {
		b := atA(t, fakehost.After(time.Minute, usage), chatJSON, func(c *config) error {
			more, err := resolveEndpoints("WithBackup", at("b"))
			more[0].Price = map[string]Price{"": {Input: 1e6, Output: 1e8}}
			c.tiers = append(c.tiers, more)
			return err
		}, WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true}))
		b.check(t, "hedge", prompt, dollars(3))
	})
	bubble(t, "caller leaves", func(t *testing.T) {
		var events []Event
		base := newHosts(fakehost.After(time.Minute, usage))
		rt := over(t, base, WithEndpoints(at("a")...), noting(&events), priced())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		asks(ctx, rt, chatJSON)
		synctest.Wait()
		if got := events[len(events)-1]; got.Kind != KindEnd || got.Cost != prompt {
			t.Errorf("%s with cost %v, want %v", got.Kind, got.Cost, prompt)
		}
	})
	bubble(t, "rescue", func(t *testing.T) {
		ended := strings.Replace(wholeStream, "data: [DONE]", `data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}`+"\n\ndata: [DONE]", 1)
		b := atA(t, fakehost.Script(gives(200, asStream, ended), breaks(asStream, goodEvent)), chatStream, WithStream(StreamPolicy{Rescue: RescueRestart}))
		b.check(t, "rescue", about(float64(len(chatStream)*3/10)), dollars(210))
	})
	bubble(t, "limit", func(t *testing.T) {
		var events []Event
		rt := over(t, newHosts(usage), WithEndpoints(at("a")...), noting(&events), priced(), WithRateLimit(RatePolicy{PerSecond: 0.01, Burst: 1, MaxWait: Off}))
		asks(t.Context(), rt, chatJSON)
		asks(t.Context(), rt, chatJSON)
		if got := events[len(events)-1]; got.Class != ClassLimited || got.Cost != dollars(0) {
			t.Errorf("a call that was %s cost %v", got.Class, got.Cost)
		}
	})
	bubble(t, "GET", func(t *testing.T) {
		var events []Event
		rt := over(t, newHosts(gives(200, asJSON, "{}")), WithEndpoints(at("a")...), noting(&events), priced())
		asks(t.Context(), rt, "", func(req *http.Request) { req.Method, req.URL.Path, req.Body = http.MethodGet, "/v1/models", nil })
		if got := events[len(events)-1]; got.Kind != KindEnd || got.Cost != dollars(0) {
			t.Errorf("%s of a list of models cost %v", got.Kind, got.Cost)
		}
	})
}

// The time at which an attempt is sent decides whether it is peak, not the time at which the call
// began, nor that of its end.
func TestCost_AtPeak(t *testing.T) {
	peak := priced(func(p *Price) { p.Peak, p.PeakFactor = "Mon-Fri 01:00-04:00", 2 })
	usage := gives(200, asJSON, chatWithUsage(`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}`))
	const day = 24 * time.Hour // a bubble begins on a Saturday, at midnight
	for _, tt := range []struct {
		name  string
		begin time.Duration
		a     handler
		want  []Cost
	}{
		{"on Saturday", 2 * time.Hour, usage, []Cost{dollars(210)}},
		{"on Monday at midnight", 2 * day, usage, []Cost{dollars(210)}},
		{"on Monday at one", 2*day + time.Hour, usage, []Cost{dollars(420)}},
		{"before one, until two", 2*day + 59*time.Minute, fakehost.After(time.Hour, usage), []Cost{dollars(210)}},
		{"before four, until five", 2*day + 239*time.Minute, fakehost.After(time.Hour, usage), []Cost{dollars(420)}},
		{"before one, again behind it", 2*day + 59*time.Minute, fakehost.Script(usage, gives(429, asJSON, "{}", "Retry-After", "60")), []Cost{dollars(0), dollars(420)}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			elapse(tt.begin)
			atA(t, tt.a, chatJSON, peak).check(t, tt.name, tt.want...)
		})
	}
}

// DeepSeek's own prices are used for DeepSeek's own servers, and nowhere else. What a price is not
// known of is never free.
func TestCost_OfDefaults(t *testing.T) {
	const usage = `{"prompt_tokens":1000000,"completion_tokens":1000000,"prompt_cache_hit_tokens":500000}`
	flash, pro := 0.5*0.15+0.5*0.003+0.60, 0.5*0.66+0.5*0.022+1.98
	gateway := DeepSeek("sk-a")
	gateway.URL, gateway.Price = "https://a", nil
	custom := DeepSeek("sk-a")
	custom.Price = map[string]Price{"deepseek-v4-pro": {Input: 1, CachedInput: Off, Output: 10, Currency: "CNY"}}
	unpriced := DeepSeek("sk-a")
	unpriced.Price = map[string]Price{}
	moved := DeepSeek("sk-a")
	moved.URL = "https://a"
	for _, tt := range []struct {
		name, url, model, path string
		endpoint               []Endpoint
		want                   float64
		known                  bool
		currency               string
	}{
		{"flash", "https://api.deepseek.com", "deepseek-flash", "", []Endpoint{DeepSeek("sk-a")}, flash, true, "USD"},
		{"pro", "https://api.deepseek.com", "deepseek-v4-pro", "", []Endpoint{DeepSeek("sk-a")}, pro, true, "USD"},
		{"a retired name", "https://api.deepseek.com", "deepseek-chat", "", []Endpoint{DeepSeek("sk-a")}, flash, true, "USD"},
		{"an unknown name", "https://api.deepseek.com", "deepseek-v5", "", []Endpoint{DeepSeek("sk-a")}, 0, false, "USD"},
		{"Anthropic's name", "https://api.deepseek.com", "claude-opus-5", "/anthropic/v1/messages", []Endpoint{DeepSeek("sk-a")}, pro, true, "USD"},
		{"another of Anthropic's names", "https://api.deepseek.com", "claude-sonnet-5", "/anthropic/v1/messages", []Endpoint{DeepSeek("sk-a")}, flash, true, "USD"},
		{"by the URL alone", "https://api.deepseek.com", "deepseek-flash", "", []Endpoint{{URL: "https://api.deepseek.com/v1", APIKey: "sk-a"}}, flash, true, "USD"},
		{"without endpoints", "https://api.deepseek.com", "deepseek-flash", "", nil, flash, true, "USD"},
		{"another host without endpoints", "https://api.siliconflow.cn/v1", "deepseek-flash", "", nil, 0, false, "USD"},
		{"a gateway", "https://a", "deepseek-flash", "", []Endpoint{gateway}, 0, false, ""},
		{"the preset elsewhere", "https://a", "deepseek-flash", "", []Endpoint{moved}, flash, true, "USD"},
		{"one's own price", "https://api.deepseek.com", "deepseek-v4-pro", "", []Endpoint{custom}, 0.5 + 10, true, "CNY"},
		{"one's own price of another", "https://api.deepseek.com", "deepseek-flash", "", []Endpoint{custom}, 0, false, "CNY"},
		{"none", "https://api.deepseek.com", "deepseek-flash", "", []Endpoint{unpriced}, 0, false, ""},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			var events []Event
			opts := []Option{noting(&events)}
			if tt.endpoint != nil {
				opts = append(opts, WithEndpoints(tt.endpoint...))
			}
			answer := chatWithUsage(usage)
			if tt.path != "" {
				answer = `{"type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":500000,"cache_read_input_tokens":500000,"output_tokens":1000000}}`
			}
			rt := over(t, newHosts(gives(200, asJSON, answer)), opts...)
			req, _ := post(t.Context(), tt.url, `{"model":"`+tt.model+`","messages":[{"role":"user","content":"hi"}]}`)
			req.Header.Set("Authorization", "Bearer sk-a")
			if tt.path != "" {
				req.URL.Path = tt.path
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			readAll(resp)
			resp.Body.Close()
			got := events[len(events)-1].Cost
			if math.Abs(got.Amount-tt.want) > 1e-9 || got.Known != tt.known || got.Currency() != tt.currency {
				t.Errorf("it cost %#v, want %v %s, known %v", got, tt.want, tt.currency, tt.known)
			}
		})
	}
}

func TestCost_String(t *testing.T) {
	for want, c := range map[string]Cost{
		"?": {}, "0": {Known: true}, "0.00123 USD": dollars(0.00123), "~0.00123 USD": about(0.00123),
		"? at least 2 USD": {Amount: 2, currency: price.Dollar}, "1.23457e+06": {Amount: 1234567, Known: true},
	} {
		if got := c.String(); got != want {
			t.Errorf("%#v is %q, want %q", c, got, want)
		}
	}
}

// sayingUsage is a host whose streams have their usage only if the request asks for it. Then its
// other chunks have one that is null, as OpenAI's.
func sayingUsage(asked *[]string) handler {
	return func(req *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		*asked = append(*asked, string(body))
		null, usage := "", ""
		if strings.Contains(string(body), `"include_usage":true`) {
			null, usage = `,"usage":null`, `data: {"id":"1","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":3,"total_tokens":13}}`+"\n\n"
		}
		chunk := func(choice string) string {
			return `data: {"id":"1","choices":[{"index":0,` + choice + `}]` + null + "}\n\n"
		}
		var b strings.Builder
		b.WriteString(chunk(`"delta":{"role":"assistant","content":""},"finish_reason":null`))
		for _, word := range []string{"a", " break", "water", " protects", " harbours"} { // the later ones repeat each other
			b.WriteString(chunk(`"delta":{"content":"` + word + `"},"finish_reason":null`))
		}
		b.WriteString(": keep-alive\n\n" + chunk(`"delta":{},"finish_reason":"stop"`) + usage + "data: [DONE]\n\n")
		if strings.HasSuffix(req.URL.Path, "/chat/completions") {
			return fakehost.Answer(200, asStream, b.String()), nil
		}
		return fakehost.Answer(200, asStream, strings.NewReplacer(`"delta":{"role":"assistant","content":""}`, `"text":""`, `"delta":{"content":`, `"text":`, `"},"finish`, `","finish`, `"delta":{}`, `"text":""`).Replace(b.String())), nil
	}
}

// The usage of a stream is asked for where the host says it only then, and a price or a limit of
// tokens needs it. The caller gets the stream that he asked for, to the byte.
func TestCost_UsageIsAskedFor(t *testing.T) {
	const asks = `"stream_options":{"include_usage":true}`
	limited := WithRateLimit(RatePolicy{TokensPerMinute: 1e6})
	chat, fim := `{"model":"m","messages":[{"role":"user","content":"q"}],"stream":true}`, `{"model":"m","prompt":"q","stream":true}`
	edited := func(body, options string) string { return body[:len(body)-1] + `,"stream_options":` + options + `}` }
	for _, tt := range []struct {
		name, body string
		host       Host
		opts       []Option
		asked      bool // by us
		cost       Cost
	}{
		{"priced", chat, HostVLLM, []Option{priced()}, true, dollars(310)},
		{"a prompt", fim, HostVLLM, []Option{priced()}, true, dollars(310)},
		{"a limit of tokens", chat, HostVLLM, []Option{limited}, true, Cost{}},
		{"neither", chat, HostVLLM, nil, false, Cost{}},
		{"a limit of another kind", chat, HostVLLM, []Option{WithRateLimit(RatePolicy{InFlight: 5})}, false, Cost{}},
		{"a host that says it anyway", chat, HostDeepSeek, []Option{priced()}, false, Cost{}},
		{"a host that is not known", chat, HostOpenAI, []Option{priced()}, false, Cost{}},
		{"one that is said to take it", chat, HostOpenAI, []Option{priced(), func(c *config) error { c.tiers[0][0].Can = []Feature{FeatureUsage}; return nil }}, true, dollars(310)},
		{"switched off", edited(chat, `{"include_usage":false}`), HostVLLM, []Option{priced()}, true, dollars(310)},
		{"no options", edited(chat, `null`), HostVLLM, []Option{priced()}, true, dollars(310)},
		{"asked for", edited(chat, `{"include_usage":true}`), HostVLLM, []Option{priced()}, false, dollars(310)},
		{"options of its own", edited(chat, `{"continuous_usage_stats":true}`), HostVLLM, []Option{priced()}, false, Cost{}},
		{"rescue off", chat, HostVLLM, []Option{priced(), WithStream(StreamPolicy{Rescue: RescueOff})}, true, dollars(310)},
		{"checked", chat, HostVLLM, []Option{priced(), WithStream(StreamPolicy{RequireAnswer: true})}, true, dollars(310)},
		{"cached", chat, HostVLLM, []Option{priced(), WithCache(CachePolicy{})}, true, dollars(310)},
	} {
		for _, size := range []int{7, 32 << 10} { // events come in parts, and several at once
			bubble(t, fmt.Sprintf("%s, %d bytes", tt.name, size), func(t *testing.T) {
				path := "/v1/chat/completions"
				if strings.Contains(tt.body, "prompt") {
					path = "/v1/completions"
				}
				ask := func(rt http.RoundTripper) (seen, string) {
					req, _ := post(t.Context(), "https://a", tt.body)
					req.URL.Path = path
					resp, err := rt.RoundTrip(req)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					var text strings.Builder
					_, err = io.CopyBuffer(struct{ io.Writer }{&text}, struct{ io.Reader }{resp.Body}, make([]byte, size))
					return seen{resp: resp, err: err}, text.String()
				}
				e := at("a")
				e[0].Host, e[0].Account = tt.host, "a"
				var bare []string
				_, want := ask(over(t, fakehost.NewUnread(sayingUsage(&bare)), WithEndpoints(e...), WithStream(StreamPolicy{})))
				var bodies []string
				var events []Event
				rt := over(t, fakehost.NewUnread(sayingUsage(&bodies)), append([]Option{WithEndpoints(e...), noting(&events)}, tt.opts...)...)
				got, text := ask(rt)
				synctest.Wait()
				if got.err != nil || text != want {
					t.Errorf("the caller got %v\n%s\nwant\n%s", got.err, text, want)
				}
				if asked := strings.Contains(bodies[0], asks) && !strings.Contains(tt.body, asks); asked != tt.asked || !tt.asked && bodies[0] != tt.body {
					t.Errorf("the host got %s", bodies[0])
				}
				end := events[len(events)-1]
				if tt.asked && (end.Usage.TotalTokens != 13 || end.Cost != tt.cost) {
					t.Errorf("usage %+v, cost %v, want %v", end.Usage, end.Cost, tt.cost)
				}
				if end.Bytes != int64(len(text)) {
					t.Errorf("told of %d bytes, want %d", end.Bytes, len(text))
				}
				if tt.name != "cached" {
					return
				}
				if again, kept := ask(rt); kept != want || len(bodies) != 1 || again.header(headerOutcome) != string(OutcomeHit) {
					t.Errorf("the kept stream is %v\n%s", again, kept)
				}
			})
		}
	}
}

// A stream that breaks and is continued comes to its caller as if nobody had asked for its usage,
// too.
func TestCost_UsageIsAskedForInRescues(t *testing.T) {
	bubble(t, "rescue", func(t *testing.T) {
		told := make(map[bool]string)
		for _, isPriced := range []bool{false, true} {
			var bodies []string
			whole := sayingUsage(&bodies)
			cut := func(req *http.Request) (*http.Response, error) {
				resp, err := whole(req)
				text, _ := io.ReadAll(resp.Body)
				resp.Body = io.NopCloser(fakehost.Cut(string(text[:bytes.Index(text, []byte(" protects"))]), io.ErrUnexpectedEOF))
				return resp, err
			}
			opts := []Option{WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk-a", Host: HostVLLM}), WithStream(StreamPolicy{Rescue: RescueRestart})}
			if isPriced {
				opts = append(opts, priced())
			}
			var events []Event
			rt := over(t, fakehost.NewUnread(fakehost.Script(whole, cut)), append(opts, noting(&events))...)
			got := asks(t.Context(), rt, chatStream)
			synctest.Wait()
			if len(bodies) != 2 || strings.Contains(bodies[0]+bodies[1], "include_usage") != isPriced {
				t.Errorf("the host got %q", bodies)
			}
			end := events[len(events)-1]
			if isPriced && (end.Outcome != OutcomeRescued || end.Cost.Amount != 310+float64(len(chatStream)*3/10)+300) { // "a breakwater" is 3.6 tokens
				t.Errorf("%s cost %v", end.Outcome, end.Cost)
			}
			told[isPriced] = got.body
		}
		if told[false] != told[true] || !strings.Contains(told[true], " harbours") {
			t.Errorf("the caller got\n%s\nwant\n%s", told[true], told[false])
		}
	})
}

// Status sums what attempts cost, by endpoint and in all. Sums outlast an Update, in all also
// those of endpoints that were removed, and begin anew in another currency.
func TestCost_InStatus(t *testing.T) {
	bubble(t, "status", func(t *testing.T) {
		usage := gives(200, asJSON, chatWithUsage(`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}`))
		base := newHosts(usage)
		base.Set("b", gives(200, asJSON, chatWithUsage(`null`)))
		priced := func(currency string, models ...string) func(Endpoint) Endpoint {
			return func(e Endpoint) Endpoint {
				e.Price = make(map[string]Price)
				for _, m := range models {
					e.Price[m] = Price{Input: 1e6, Output: 1e8, Currency: currency}
				}
				return e
			}
		}
		dollars := priced("USD", "m")
		of := func(a, b func(Endpoint) Endpoint) []Option {
			opts := []Option{steady(), WithBase(base), WithEndpoints(a(at("a")[0]))}
			if b != nil {
				opts = append(opts, WithEndpoints(b(at("b")[0])))
			}
			return opts
		}
		rt := over(t, base, of(dollars, dollars)...)
		ask := func(endpoint, model string) {
			asks(WithCall(t.Context(), Call{Endpoint: endpoint, Attempts: 1}), rt, `{"model":"`+model+`","messages":[]}`)
		}
		check := func(when string, all, a, b CostStatus) {
			t.Helper()
			s := rt.Status()
			if s.Cost != all {
				t.Errorf("%s: all cost %+v, want %+v", when, s.Cost, all)
			}
			for _, e := range s.Endpoints {
				if want := map[string]CostStatus{"a": a, "b": b}[e.Name]; e.Cost != want {
					t.Errorf("%s: %s cost %+v, want %+v", when, e.Name, e.Cost, want)
				}
			}
		}
		usd := func(amount, estimated float64, unknown int64) CostStatus {
			return CostStatus{Amount: amount, Estimated: estimated, Unknown: unknown, Currency: "USD"}
		}
		update := func(a, b func(Endpoint) Endpoint) {
			t.Helper()
			if err := rt.Update(of(a, b)...); err != nil {
				t.Fatal(err)
			}
		}
		check("at first", usd(0, 0, 0), usd(0, 0, 0), usd(0, 0, 0))
		ask("a", "m")
		ask("a", "other")
		ask("b", "m")
		const prompt = float64(len(`{"model":"m","messages":[]}`) * 3 / 10)
		check("at work", usd(210+prompt, prompt, 1), usd(210, 0, 1), usd(prompt, prompt, 0))
		update(dollars, nil)
		check("without b", usd(210+prompt, prompt, 1), usd(210, 0, 1), CostStatus{})
		update(dollars, dollars)
		check("with b again", usd(210+prompt, prompt, 1), usd(210, 0, 1), usd(0, 0, 0))
		update(priced("CNY", ""), nil)
		cny := CostStatus{Currency: "CNY"}
		check("in another currency", cny, cny, CostStatus{})
		ask("a", "m")
		cny.Amount = 210
		check("in another currency, at work", cny, cny, CostStatus{})
		update(priced(""), nil) // an empty map
		check("without prices", CostStatus{}, CostStatus{}, CostStatus{})
		ask("a", "m")
		check("without prices, at work", CostStatus{}, CostStatus{}, CostStatus{})
	})
}

// When the money of a day is spent, nothing is sent before midnight, in the shape that SDKs show,
// and what the cache has is given.
func TestSpend(t *testing.T) {
	usage := gives(200, asJSON, chatWithUsage(`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}`)) // 210 dollars
	at9 := time.FixedZone("+09:00", 9*60*60)
	bubble(t, "all", func(t *testing.T) {
		base := newHosts(usage)
		rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...), priced(), WithSpend(SpendPolicy{PerDay: 400, Zone: at9}), WithCache(CachePolicy{TTL: time.Minute}))
		for n := range 2 {
			if got := asks(t.Context(), rt, question(n)); got.status() != 200 {
				t.Fatalf("call %d: %v", n, got)
			}
		}
		got := asks(t.Context(), rt, question(3))
		if got.status() != http.StatusPaymentRequired || got.header(headerError) != "spent" || got.header(headerRetry) != "false" || got.header("Retry-After") != "54000" ||
			!strings.Contains(got.body, `"code":"spent"`) || !strings.Contains(got.body, "420 of 400 USD a day") {
			t.Errorf("a call without money is %v", got)
		}
		failure, spent := ErrorOf(got.resp), (*SpendError)(nil)
		if !errors.Is(failure, ErrSpent) || !errors.As(failure, &spent) || *spent != (SpendError{Spent: 420, Max: 400, Currency: "USD", RetryAfter: 15 * time.Hour}) {
			t.Errorf("its error is %v, %+v", failure, spent)
		}
		if a := TrailOf(got.resp); len(a) != 2 || a[0].N != 0 || a[0].Class != ClassSpent || a[1].Class != ClassSpent || a[0].Cost != dollars(0) {
			t.Errorf("its attempts are %+v", a)
		}
		if kept := asks(t.Context(), rt, question(0)); kept.header(headerOutcome) != string(OutcomeHit) {
			t.Errorf("a kept answer is %v", kept)
		}
		elapse(2 * time.Minute)
		if kept := asks(t.Context(), rt, question(0)); kept.header(headerOutcome) != string(OutcomeStale) {
			t.Errorf("a stale answer is %v", kept)
		}
		if err := rt.Update(steady(), WithBase(base), WithEndpoints(at("a")...), priced(), WithSpend(SpendPolicy{PerDay: 300, Zone: at9})); err != nil {
			t.Fatal(err)
		}
		if got := asks(t.Context(), rt, question(4)); got.status() != http.StatusPaymentRequired {
			t.Errorf("after an Update, a call is %v", got)
		}
		if got := asks(t.Context(), rt, "", func(req *http.Request) { req.Method, req.URL.Path, req.Body = http.MethodGet, "/v1/models", nil }); got.status() != 200 {
			t.Errorf("a list of models is %v", got)
		}
		elapse(15*time.Hour - 2*time.Minute - time.Nanosecond)
		if got := asks(t.Context(), rt, question(5)); got.status() != http.StatusPaymentRequired {
			t.Errorf("before midnight in its zone, a call is %v", got)
		}
		elapse(time.Nanosecond)
		if got := asks(t.Context(), rt, question(6)); got.status() != 200 {
			t.Errorf("at midnight, a call is %v", got)
		}
	})
	bubble(t, "account", func(t *testing.T) {
		endpoints := append(at("a", "b"), at("c")...)
		endpoints[0].Account, endpoints[1].Account = "shared", "shared"
		rt := over(t, newHosts(usage), WithEndpoints(endpoints[:2]...), WithBackup(endpoints[2]), priced(), WithSpend(SpendPolicy{PerAccount: map[string]float64{"shared": 300, "c": 200}}))
		var by []string
		for n := range 4 {
			got := asks(t.Context(), rt, question(n))
			by = append(by, got.header(headerEndpoint)+got.header(headerError))
		}
		if want := []string{"c", "spent"}; !slices.Equal(by[2:], want) || strings.Contains(by[0]+by[1], "c") {
			t.Errorf("calls are answered by %v, want a or b twice, then %v", by, want)
		}
	})
	bubble(t, "what is free", func(t *testing.T) {
		endpoints := append(at("a", "b"), at("c")...)
		endpoints[0].Price = map[string]Price{"": {Input: 1e6, Output: 1e8}}
		endpoints[1].Price = nil // not known
		endpoints[2].Price = map[string]Price{"": {Input: Off, Output: Off}}
		rt := over(t, newHosts(usage), WithEndpoints(endpoints[0]), WithBackup(endpoints[1]), WithBackup(endpoints[2]), WithSpend(SpendPolicy{PerDay: 200}))
		for _, want := range []string{"a", "c"} {
			if got := asks(t.Context(), rt, chatJSON); got.header(headerEndpoint) != want {
				t.Errorf("a call is answered by %v, want %s", got, want)
			}
		}
	})
	bubble(t, "on other wires", func(t *testing.T) {
		rt := over(t, newHosts(usage), WithEndpoints(at("a")...), priced(), WithSpend(SpendPolicy{PerDay: 200}))
		asks(t.Context(), rt, chatJSON)
		for path, want := range map[string]string{
			"/v1/chat/completions": `{"error":{"message":`, "/v1/completions": `{"error":{"message":`, "/v1/responses": `{"error":{"message":`,
			"/v1/messages": `{"type":"error","error":{"message":`, "/v1/embeddings": `{"error":{"message":`,
		} {
			for _, body := range []string{`{"model":"m"}`, `{"model":"m","stream":true}`} {
				got := asks(t.Context(), rt, body, func(req *http.Request) { req.URL.Path = path })
				if got.status() != http.StatusPaymentRequired || !strings.HasPrefix(got.body, want) || path == "/v1/messages" && !strings.Contains(got.body, "billing_error") {
					t.Errorf("%s: %v", path, got)
				}
			}
		}
	})
	bubble(t, "off", func(t *testing.T) {
		rt := over(t, newHosts(usage), WithEndpoints(at("a")...), priced(), WithSpend(SpendPolicy{PerDay: Off, PerAccount: map[string]float64{"a": 1e9}}))
		for range 3 {
			if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
				t.Errorf("a call is %v", got)
			}
		}
	})
}

// Before all is spent, calls get the cheaper model that the user named.
func TestSpend_Cheaper(t *testing.T) {
	bubble(t, "cheaper", func(t *testing.T) {
		var bodies []string
		answer := func(req *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(req.Body)
			bodies = append(bodies, string(body))
			return fakehost.Answer(200, asJSON, chatWithUsage(`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}`)), nil
		}
		var events []Event
		rt := over(t, fakehost.NewUnread(handler(answer)), WithEndpoints(at("a")...), priced(), noting(&events), WithCache(CachePolicy{}),
			WithSpend(SpendPolicy{PerDay: 600, Cheaper: map[string]string{"large": `sm"all`}, CheaperFrom: 200}))
		ask := func(model string, n int) string {
			text := fmt.Sprintf(`{ "model" : "%s" , "messages":[{"role":"user","content":"%d"}]}`, model, n)
			got := asks(t.Context(), rt, text)
			return strings.TrimSpace(fmt.Sprint(got.status(), " ", got.header(headerOutcome)))
		}
		for i, tt := range []struct{ model, want, sent string }{
			{"large", "200 ok", `{ "model" : "large" , "messages":[{"role":"user","content":"0"}]}`},
			{"large", "200 ok", `{ "model" : "sm\"all" , "messages":[{"role":"user","content":"1"}]}`},
			{"other", "200 ok", `{ "model" : "other" , "messages":[{"role":"user","content":"2"}]}`},
			{"large", "402 spent", ""},
		} {
			before := len(bodies)
			if got := ask(tt.model, i); got != tt.want || len(bodies) > before && bodies[before] != tt.sent || (tt.sent == "") != (len(bodies) == before) {
				t.Errorf("call %d is %s, sent %q, want %s, %q", i, got, bodies[before:], tt.want, tt.sent)
			}
		}
		if got := ask("large", 1); got != "200 hit" { // kept under the other name
			t.Errorf("the second question again is %s", got)
		}
		cheaper := 0
		for _, e := range events {
			if e.Kind == KindCheaper {
				if cheaper++; e.From != "large" || e.To != `sm"all` || e.Call == "" {
					t.Errorf("told of %+v", e)
				}
			}
		}
		if cheaper != 3 {
			t.Errorf("told of %d cheaper models, want 3", cheaper)
		}
	})
}

// With Cheapest, a call goes to those endpoints of its tier that cost least, among those that can
// take it.
func TestBalance_Cheapest(t *testing.T) {
	cheapest := WithBalance(BalancePolicy{Cheapest: true})
	usage := gives(200, asJSON, chatWithUsage(`{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}`))
	of := func(prices map[string]*Price) []Endpoint {
		list := at("a", "b")
		list = append(list, at("c")...)
		for i := range list {
			if p := prices[list[i].Name]; p != nil {
				list[i].Price = map[string]Price{"": *p}
			}
		}
		return list
	}
	turning := map[string]*Price{"a": {Input: 40, CachedInput: 1, Output: 1, Peak: "01:00-02:00", PeakFactor: 10}, "b": {Input: 50, CachedInput: 20, Output: 1}}
	long := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("x", 3000) + `"}]}`
	for _, tt := range []struct {
		name   string
		prices map[string]*Price
		opts   []Option
		begin  time.Duration
		ask    string
		before func(*Transport, *fakehost.Base)
		want   string // who gets calls, in order of names
	}{
		{name: "the cheapest", prices: map[string]*Price{"a": {Input: 3, Output: 1}, "b": {Input: 1, Output: 1}, "c": {Input: 2, Output: 1}}, want: "b"},
		{name: "as cheap as another", prices: map[string]*Price{"a": {Input: 1, Output: 1}, "b": {Input: 1, Output: 1}, "c": {Input: 2, Output: 1}}, want: "ab"},
		{name: "not known", prices: map[string]*Price{"a": {Input: 3e5, Output: 1e5}}, want: "a"},
		{name: "for a short answer", prices: map[string]*Price{"a": {Input: 1, Output: 100}, "b": {Input: 200, Output: 1}}, ask: `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"what is a breakwater?"}]}`, want: "a"},
		{name: "for a long answer", prices: map[string]*Price{"a": {Input: 1, Output: 100}, "b": {Input: 200, Output: 1}}, want: "b"},
		{name: "at peak", prices: map[string]*Price{"a": {Input: 1, Output: 1, Peak: "01:00-02:00", PeakFactor: 3}, "b": {Input: 2, Output: 2}}, begin: time.Hour, want: "b"},
		{name: "after it", prices: map[string]*Price{"a": {Input: 1, Output: 1, Peak: "01:00-02:00", PeakFactor: 3}, "b": {Input: 2, Output: 2}}, begin: 2 * time.Hour, want: "a"},
		{name: "an open circuit", prices: map[string]*Price{"a": {Input: 1, Output: 1}, "b": {Input: 2, Output: 2}, "c": {Input: 3, Output: 3}}, opts: []Option{WithBreaker(BreakerPolicy{Consecutive: 1})}, before: func(rt *Transport, base *fakehost.Base) {
			base.Set("a", failing503)
			asks(context.Background(), rt, chatJSON)
		}, want: "b"},
		{name: "a conversation that is new, at peak", prices: turning, begin: time.Hour, ask: long, want: "b"},
		{name: "a conversation whose prompt is cached", prices: turning, begin: 59 * time.Minute, ask: long, before: func(rt *Transport, base *fakehost.Base) {
			asks(context.Background(), rt, long)
			elapse(time.Minute)
		}, want: "a"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			elapse(tt.begin)
			base := newHosts(usage)
			rt := over(t, base, append([]Option{cheapest, once, WithEndpoints(of(tt.prices)...)}, tt.opts...)...)
			ask := tt.ask
			if ask == "" {
				ask = chatJSON
			}
			if tt.before != nil {
				tt.before(rt, base)
			}
			got := make(map[string]int)
			for range 12 {
				got[asks(t.Context(), rt, ask).header(headerEndpoint)]++
			}
			if by := strings.Join(slices.Sorted(maps.Keys(got)), ""); by != tt.want {
				t.Errorf("calls went to %v, want %s", got, tt.want)
			}
		})
	}
	bubble(t, "a limit", func(t *testing.T) {
		endpoints := of(map[string]*Price{"a": {Input: 1, Output: 1}, "b": {Input: 2, Output: 2}, "c": {Input: 3, Output: 3}})
		for i := range endpoints {
			endpoints[i].Limits = map[string]RatePolicy{"": {InFlight: 2}}
		}
		rt := over(t, newHosts(fakehost.After(time.Second, usage)), cheapest, WithEndpoints(endpoints...))
		var group sync.WaitGroup
		var mu sync.Mutex
		got := make(map[string]int)
		for range 5 {
			group.Go(func() {
				by := asks(context.Background(), rt, chatJSON).header(headerEndpoint)
				mu.Lock()
				defer mu.Unlock()
				got[by]++
			})
			elapse(time.Millisecond)
		}
		group.Wait()
		if want := map[string]int{"a": 2, "b": 2, "c": 1}; !maps.Equal(got, want) {
			t.Errorf("five calls at once went to %v, want %v", got, want)
		}
	})
}
