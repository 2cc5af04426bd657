package breakwater

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/resume"
)

// watch returns an Option and the events that it collects, from one call at a time, without
// KindEnd: see TestEnd.
func watch() (*[]Event, Option) {
	var told []Event
	return &told, WithObserver(func(_ context.Context, e Event) {
		if e.Kind != KindEnd {
			told = append(told, e)
		}
	})
}

// The host's id of each request is in the trail and in the events, whatever came of the
// request.
func TestSeen_RequestID(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		reply      handler
	}{
		{"JSON", chatJSON, gives(200, asJSON, goodJSON, "X-Ds-Trace-Id", "id\x01-b")},
		{"stream", chatStream, gives(200, asStream, wholeStream, "X-Ds-Trace-Id", "id-b")},
		{"packed", chatJSON, gives(200, asJSON, "?", "Content-Encoding", "br", "X-Ds-Trace-Id", "id-b")},
		{"a stream that breaks", chatStream, gives(200, asStream, goodEvent, "X-Ds-Trace-Id", "id-b")},
		{"a refusal", chatJSON, gives(400, asJSON, `{}`, "X-Ds-Trace-Id", "id-b")},
		{"an error inside", chatJSON, gives(200, asJSON, `{"error":{"code":400}}`, "X-Ds-Trace-Id", "id-b")},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			told, observer := watch()
			base := newHosts(tt.reply)
			base.Set("a", gives(503, asJSON, "{}", "X-Generation-Id", "id-a"))
			got := asks(t.Context(), over(t, base, once, WithEndpoints(at("a")...), WithBackup(at("b")...), observer), tt.body)
			trail := TrailOf(got.resp)
			if len(trail) != 2 || trail[0].RequestID != "id-a" || trail[1].RequestID != "id-b" {
				t.Fatalf("the trail is %+v, want id-a and id-b", trail)
			}
			for _, e := range *told {
				if want := map[string]string{"a": "id-a", "b": "id-b"}[e.Endpoint]; (e.Kind == KindAttempt || e.Kind == KindCommit) && e.RequestID != want {
					t.Errorf("event %+v, want the id %s", e, want)
				}
			}
		})
	}
}

// An id that repeats a key is none: neither the endpoint's key nor the caller's is told.
func TestSeen_RequestIDQuotesNoKey(t *testing.T) {
	const key = "sk-0123456789"
	echo := func(req *http.Request) (*http.Response, error) {
		return gives(200, asJSON, goodJSON, "X-Request-Id", "for-"+req.Header.Get("Authorization"))(req)
	}
	for name, opts := range map[string][]Option{
		"the caller's":          nil,
		"the endpoint's":        {WithEndpoints(Endpoint{URL: "https://a", APIKey: key})},
		"the endpoint's header": {WithEndpoints(Endpoint{URL: "https://a", Header: http.Header{"Authorization": {"Bearer " + key}}})},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			l := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			got := asks(t.Context(), over(t, newHosts(echo), append(opts, WithObserver(Log(l)))...), chatJSON, with("Authorization", "Bearer "+key))
			if trail := TrailOf(got.resp); len(trail) != 1 || trail[0].RequestID != "" || strings.Contains(log.String(), key) {
				t.Errorf("the trail is %+v, the log %s", trail, log.String())
			}
		})
	}
}

// namingWires are answers of each wire that name their model, in JSON and in streams.
var namingWires = map[string]struct {
	path, ask, json, stream string
	fingerprint             bool
}{
	"chat": {
		"/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"q"}]%s}`,
		`{"id":"1","model":"%s","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}],"system_fingerprint":"%s"}`,
		dataOf(`{"model":"%[1]s","system_fingerprint":"%[2]s","choices":[{"index":0,"delta":{"role":"assistant"}}]}`) +
			dataOf(`{"model":"%[1]s","system_fingerprint":"%[2]s","choices":[{"index":0,"delta":{"content":"x"}}]}`) + finishEvent + doneEvent,
		true,
	},
	"FIM": {
		"/v1/completions", `{"model":"m","prompt":"q"%s}`,
		`{"id":"1","model":"%s","choices":[{"index":0,"text":"x","finish_reason":"stop"}],"system_fingerprint":"%s"}`,
		dataOf(`{"model":"%s","system_fingerprint":"%s","choices":[{"index":0,"text":"x"}]}`) + dataOf(`{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}`) + doneEvent,
		true,
	},
	"Responses": {
		"/v1/responses", `{"model":"m","input":"q"%s}`,
		`{"object":"response","model":"%s","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"x"}]}]%.0s}`,
		dataOf(`{"type":"response.created","response":{"model":"%s","status":"in_progress","output":[]}%.0s}`) + dataOf(`{"type":"response.output_text.delta","delta":"x"}`) +
			dataOf(`{"type":"response.completed","response":{"status":"completed","output":[]}}`),
		false,
	},
	"Messages": {
		"/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}]%s}`,
		`{"type":"message","model":"%s","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn"%.0s}`,
		dataOf(`{"type":"message_start","message":{"model":"%s","content":[]%.0s}}`) + dataOf(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}`) +
			dataOf(`{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`) + dataOf(`{"type":"message_stop"}`),
		false,
	},
	"embeddings": {"/v1/embeddings", `{"model":"m","input":"q"%s}`, `{"object":"list","data":[{"embedding":[1],"index":0}],"model":"%s"%.0s}`, "", false},
}

// dataOf is an event of a stream.
func dataOf(text string) string { return "data: " + text + "\n\n" }

// asksAt is asks for another path.
func asksAt(t *testing.T, rt http.RoundTripper, path, body string) seen {
	return asks(t.Context(), rt, body, func(req *http.Request) { req.URL.Path = path })
}

// On every wire, in JSON and in streams, alone and as a backup: the trail and the events name
// the model that answered. A change of it is told once.
func TestSeen_ServedModel(t *testing.T) {
	for name, tt := range namingWires {
		for _, stream := range []bool{false, true} {
			for _, backed := range []bool{false, true} {
				if tt.stream == "" && (stream || backed) { // embeddings of two hosts do not compare
					continue
				}
				bubble(t, fmt.Sprintf("%s/stream=%v/backed=%v", name, stream, backed), func(t *testing.T) {
					told, observer := watch()
					ask, reply, kind := fmt.Sprintf(tt.ask, ""), tt.json, asJSON
					if stream {
						ask, reply, kind = fmt.Sprintf(tt.ask, `,"stream":true`), tt.stream, asStream
					}
					serving, print := "m-1", "fp-1"
					base := newHosts(func(req *http.Request) (*http.Response, error) {
						return gives(200, kind, fmt.Sprintf(reply, serving, print))(req)
					})
					opts := []Option{once, noBreaker, observer}
					if backed {
						base.Set("a", failing503)
						opts = append(opts, WithEndpoints(at("a")...), WithBackup(at("b")...))
					}
					rt := over(t, base, opts...)
					for i, step := range []struct{ model, fingerprint, from, to string }{
						{"m-1", "fp-1", "", ""}, {"m-1", "fp-1", "", ""}, {"m-2", "fp-2", "m-1", "m-2"}, {"m-1", "fp-1", "", ""},
						{"m-1", "fp-3", "fp-1", "fp-3"}, {"m-1", "fp-3", "", ""},
					} {
						*told, serving, print = nil, step.model, step.fingerprint
						got := asksAt(t, rt, tt.path, ask)
						if !tt.fingerprint {
							step.fingerprint = ""
							if strings.HasPrefix(step.from, "fp") {
								step.from, step.to = "", ""
							}
						}
						trail := TrailOf(got.resp)
						if len(trail) == 0 || got.err != nil {
							t.Fatalf("%v, no trail", got)
						}
						last := trail[len(trail)-1]
						if last.Model != "m" || last.Served != step.model || last.Fingerprint != step.fingerprint {
							t.Errorf("call %d: the trail has %+v, want %+v", i, last, step)
						}
						drifts := 0
						for j, e := range *told {
							switch {
							case e.Kind == KindDrift:
								drifts++
								if e.From != step.from || e.To != step.to || e.Served != step.model || e.Endpoint != last.Endpoint || e.Model != "m" || e.Attempt != last.N {
									t.Errorf("call %d: drift %+v", i, e)
								}
								if (*told)[j+1].Kind != KindCommit {
									t.Errorf("call %d: the drift is told before %+v, want the commit", i, (*told)[j+1])
								}
							case e.Endpoint == last.Endpoint && (e.Kind == KindAttempt || e.Kind == KindCommit) && (e.Served != step.model || e.Fingerprint != step.fingerprint):
								t.Errorf("call %d: event %+v, want %+v", i, e, step)
							}
						}
						if want := len(step.to) > 0; drifts != map[bool]int{true: 1}[want] {
							t.Errorf("call %d: %d drifts, want them: %v", i, drifts, want)
						}
					}
				})
			}
		}
	}
}

// An answer that came in another form than the call asked for is given in that form, and names
// its model as well.
func TestSeen_ServedModelOfTheOtherForm(t *testing.T) {
	for name, tt := range namingWires {
		for _, stream := range []bool{false, true} {
			if tt.stream == "" {
				continue
			}
			ask, reply := fmt.Sprintf(tt.ask, ""), gives(200, asStream, fmt.Sprintf(tt.stream, "m-1", "fp-1"))
			if stream {
				ask, reply = fmt.Sprintf(tt.ask, `,"stream":true`), gives(200, asJSON, fmt.Sprintf(tt.json, "m-1", "fp-1"))
			}
			got := asksAt(t, over(t, newHosts(reply), once), tt.path, ask)
			if trail := TrailOf(got.resp); len(trail) != 1 || trail[0].Served != "m-1" || (trail[0].Fingerprint == "fp-1") != tt.fingerprint || got.err != nil {
				t.Errorf("%s, stream=%v: %v; the trail is %+v", name, stream, got, trail)
			}
		}
	}
}

// What one endpoint serves under a name says nothing of another endpoint or another name.
func TestSeen_DriftIsOfOneEndpointAndName(t *testing.T) {
	told, observer := watch()
	base := newHosts(gives(200, asJSON, fmt.Sprintf(namingWires["chat"].json, "m-b", "")))
	base.Set("a", gives(200, asJSON, fmt.Sprintf(namingWires["chat"].json, "m-a", "")))
	rt := over(t, base, WithEndpoints(at("a", "b")...), observer)
	for range 4 { // the endpoints take turns
		asks(t.Context(), rt, chatJSON)
		asks(t.Context(), rt, strings.Replace(chatJSON, `"m"`, `"n"`, 1))
	}
	for _, e := range *told {
		if e.Kind == KindDrift {
			t.Errorf("told of %+v", e)
		}
	}
}

// A host that answers with a key in the place of the model's name does not get it into the
// log, and names of any length and kind are bounded.
func TestSeen_ServedModelIsSafe(t *testing.T) {
	const key = "sk-0123456789"
	for _, body := range []string{chatJSON, chatStream} {
		for _, served := range []string{key, "for-" + key, strings.Repeat("x", 1<<20), "a\\n\\u0000 b\u4f60"} {
			for name, opts := range map[string][]Option{"the caller's": nil, "the endpoint's": {WithEndpoints(Endpoint{URL: "https://a", APIKey: key})}} {
				var log strings.Builder
				l := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				reply := gives(200, asJSON, fmt.Sprintf(namingWires["chat"].json, served, served))
				if body == chatStream {
					reply = gives(200, asStream, fmt.Sprintf(namingWires["chat"].stream, served, served))
				}
				got := asks(t.Context(), over(t, newHosts(reply), append(opts, WithObserver(Log(l)))...), body, with("Authorization", "Bearer "+key))
				a := TrailOf(got.resp)[0]
				if strings.Contains(fmt.Sprint(a, log.String()), key) || len(a.Served) > 128 || len(a.Fingerprint) > 128 || strings.ContainsFunc(a.Served, func(r rune) bool { return r <= ' ' || r > '~' }) {
					t.Errorf("%s, %.20q: the trail has %+v", name, served, a)
				}
			}
		}
	}
}

// A stream that broke and is not continued says why, once, in an event and in the trail; one
// that is continued says nothing.
func TestSeen_Unrescued(t *testing.T) {
	delta := func(member string) string { return dataOf(`{"choices":[{"index":0,"delta":{` + member + `}}]}`) }
	var (
		tool      = delta(`"tool_calls":[{"index":0,"function":{"arguments":"{"}}]`)
		thought   = delta(`"reasoning_content":"hm"`)
		text      = delta(`"content":"a text that is long enough to be told apart from others"`)
		long      = delta(`"content":"` + strings.Repeat("x", resume.MaxTranscript) + `"`)
		half      = delta(`"content":"\ud83d"`)
		ask       = func(more string) string { return chatStream[:len(chatStream)-1] + more + "}" }
		anew      = WithStream(StreamPolicy{Rescue: RescueRestart})
		own       = `{"model":"m","stream":true,"messages":[{"role":"assistant","content":"x","prefix":true}]}`
		deepSeeks = []Option{WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b"))}
		at        = func(o ...Option) []Option { return append(o, deepSeeks...) }
	)
	for _, tt := range []struct {
		name, path, ask, text string
		opts                  []Option
		second                handler // b's
		why                   Reason
	}{
		{"continued", "", chatStream, text, at(), gives(200, asStream, wholeStream), ""},
		{"off", "", chatStream, text, at(WithStream(StreamPolicy{Rescue: RescueOff})), nil, ReasonOff},
		{"sent once", "", chatStream, text, at(WithRetry(RetryPolicy{SendOnce: true})), nil, ReasonSendOnce},
		{"alone", "", chatStream, text, nil, nil, ReasonHost},
		{"no host continues", "", chatStream, text, []Option{WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "k"})}, nil, ReasonHost},
		{"Responses", "/v1/responses", `{"model":"m","stream":true,"input":"q"}`, dataOf(`{"type":"response.output_text.delta","delta":"x"}`), at(), nil, ReasonHost},
		{"Responses that are stored", "/v1/responses", `{"model":"m","stream":true,"input":"q","store":true}`, dataOf(`{"type":"response.output_text.delta","delta":"x"}`), at(anew), nil, ReasonRequest},
		{"Responses in two contents", "/v1/responses", `{"model":"m","stream":true,"input":"q"}`, dataOf(`{"type":"response.output_text.delta","delta":"x"}`) + dataOf(`{"type":"response.output_text.delta","content_index":1,"delta":"x"}`), at(anew), nil, ReasonContent},
		{"Responses of a host that fails", "/v1/responses", `{"model":"m","stream":true,"input":"q"}`, dataOf(`{"type":"response.output_text.delta","delta":"x"}`), at(anew), nil, ReasonFailed},
		{"Messages", "/v1/messages", `{"model":"m","stream":true,"max_tokens":9,"messages":[]}`, dataOf(`{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}`), at(), nil, ReasonHost},
		{"FIM", "/beta/completions", `{"model":"m","stream":true,"prompt":"a"}`, dataOf(`{"choices":[{"index":0,"text":"a"}]}`), at(anew), nil, ReasonAPI},
		{"several choices", "", ask(`,"n":2`), text, at(anew), nil, ReasonRequest},
		{"logprobs", "", ask(`,"logprobs":true`), text, at(anew), nil, ReasonRequest},
		{"a prefix of its own", "/beta/chat/completions", own, text, at(), nil, ReasonRequest},
		{"an upload", "", chatStream, text, at(anew, WithRetry(RetryPolicy{MaxReplay: 10})), nil, ReasonRequest},
		{"a tool call", "", chatStream, tool, at(anew), nil, ReasonContent},
		{"a text, then a tool call", "", chatStream, text + tool, at(anew), nil, ReasonContent},
		{"reasoning", "", chatStream, thought, at(), nil, ReasonThought},
		{"a text behind reasoning, where none is continued", "", chatStream, thought + text, []Option{WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "k", Can: []Feature{FeaturePrefix}})}, nil, ReasonThought},
		{"a text, then reasoning", "", chatStream, text + thought, at(), nil, ReasonThought},
		{"long", "", chatStream, long + text, at(anew), nil, ReasonLength},
		{"long, then a tool call", "", chatStream, long + text + tool, at(anew), nil, ReasonLength},
		{"half a character", "", chatStream, text + half, at(anew), nil, ReasonContent},
		{"no budget", "", chatStream, text, at(WithRetry(RetryPolicy{Budget: Off})), nil, ReasonBudget},
		{"a refusal", "", chatStream, text, at(), gives(400, asJSON, "{}"), ReasonFailed},
		{"JSON in place of a stream", "", chatStream, text, at(), gives(200, asJSON, goodJSON), ReasonFailed},
		{"the same again", "", chatStream, text, at(), gives(200, asStream, text+text+finishEvent+doneEvent), ReasonMismatch},
		{"it breaks each time", "", chatStream, text, at(), gives(200, asStream, delta(`"content":"more, and more"`)), ReasonTries},
		{"a tool call in a rescue", "", chatStream, text, at(), gives(200, asStream, delta(`"content":"more"`)+tool), ReasonContent},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			told, observer := watch()
			turn := 0
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				if turn++; turn == 1 {
					return gives(200, asStream, tt.text)(req)
				}
				if tt.second == nil {
					return failing503(req)
				}
				return tt.second(req)
			})
			rt := over(t, base, append([]Option{once, noBreaker, observer}, tt.opts...)...)
			got := asks(t.Context(), rt, tt.ask, func(req *http.Request) { req.URL.Path = cmp.Or(tt.path, "/chat/completions") })
			var breaks []Event
			for _, e := range *told {
				if e.Kind == KindBreak {
					breaks = append(breaks, e)
				} else if e.Reason != "" && e.Kind != KindPassedOver {
					t.Errorf("event %+v has a reason", e)
				}
			}
			trail := TrailOf(got.resp)
			if tt.why == "" {
				if got.err != nil || len(breaks) > 0 || trail[0].Unrescued != "" {
					t.Errorf("%v; events %+v; trail %+v", got.err, breaks, trail)
				}
				return
			}
			if len(breaks) != 1 || breaks[0].Reason != tt.why || breaks[0].Class != ClassTruncated || breaks[0].Err == nil || !errors.Is(got.err, ErrTruncated) {
				t.Fatalf("%v; told of %+v, want %s", got.err, breaks, tt.why)
			}
			if e := breaks[0]; (*told)[len(*told)-1].Kind != KindBreak {
				t.Errorf("the break is not the last event: %+v", *told)
			} else if of := trail[slices.IndexFunc(trail, func(a Attempt) bool { return a.N == e.Attempt })]; of.Endpoint != e.Endpoint || of.Unrescued != tt.why {
				t.Errorf("the trail has %+v, the event %+v", of, e)
			}
		})
	}
}

// On each wire, alone and shared, the break, the trail, the end of each caller's call and the
// log say why nothing continued a stream.
func TestSeen_UnrescuedOnEachWire(t *testing.T) {
	anew := WithStream(StreamPolicy{Rescue: RescueRestart})
	wires := map[string]struct {
		path, ask, text, tool, refused string
		host                           Reason // with RescueContinue, elsewhere than at DeepSeek
		api                            bool   // none is ever continued
	}{
		"chat": {
			path: "/v1/chat/completions", ask: chatStream, text: event("a text of some length"), host: ReasonHost,
			tool:    dataOf(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}`),
			refused: dataOf(`{"error":{"type":"invalid_request_error","code":"context_length_exceeded","message":"x"}}`),
		},
		"FIM": {
			path: "/v1/completions", ask: `{"model":"m","stream":true,"prompt":"a"}`, text: dataOf(`{"choices":[{"index":0,"text":"a text of some length"}]}`), host: ReasonAPI, api: true,
			refused: dataOf(`{"error":{"type":"invalid_request_error","code":"context_length_exceeded","message":"x"}}`),
		},
		"Responses": {
			path: "/v1/responses", ask: `{"model":"m","stream":true,"store":false,"input":"q"}`, text: dataOf(`{"type":"response.output_text.delta","delta":"a text of some length"}`), host: ReasonHost,
			tool:    dataOf(`{"type":"response.function_call_arguments.delta","delta":"{"}`),
			refused: dataOf(`{"type":"response.failed","response":{"status":"failed","error":{"code":"context_length_exceeded","message":"x"}}}`),
		},
		"Messages": {
			path: "/v1/messages", ask: `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"q"}]}`,
			text: dataOf(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a text of some length"}}`), host: ReasonHost,
			tool:    dataOf(`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{"}}`),
			refused: "event: error\n" + dataOf(`{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long"}}`),
		},
	}
	for wire, w := range wires {
		for name, tt := range map[string]struct {
			text string
			opts []Option
			then handler
			want Reason
		}{
			"off":        {w.text, []Option{WithStream(StreamPolicy{Rescue: RescueOff})}, nil, ReasonOff},
			"sent once":  {w.text, []Option{WithRetry(RetryPolicy{SendOnce: true})}, nil, ReasonSendOnce},
			"nobody can": {w.text, nil, nil, w.host},
			"no budget":  {w.text, []Option{anew, WithRetry(RetryPolicy{Budget: Off})}, nil, ReasonBudget},
			"down":       {w.text, []Option{anew}, failing503, ReasonFailed},
			"another":    {w.text, []Option{anew}, gives(200, asStream, strings.ReplaceAll(w.text, "a text", "no text")), ReasonMismatch},
			"each time":  {w.text, []Option{anew}, gives(200, asStream, strings.Replace(w.text, "length", "length and", 1)), ReasonTries},
			"tool call":  {w.text + w.tool, []Option{anew}, failing503, ReasonContent},
			"refused":    {w.text + w.refused, []Option{anew}, failing503, ReasonRefused},
			"flawed":     {w.text + strings.Repeat(w.text, 400), []Option{WithStream(StreamPolicy{Rescue: RescueRestart, Repetition: 2 << 10})}, failing503, ReasonFlawed},
			"not resent": {w.text, []Option{anew, WithRetry(RetryPolicy{MaxReplay: 10})}, failing503, ReasonRequest},
		} {
			want := tt.want
			if w.api && want != ReasonOff && want != ReasonSendOnce {
				want = ReasonAPI
			}
			for _, shared := range []bool{false, true} {
				if name == "tool call" && w.tool == "" || name == "not resent" && shared {
					continue
				}
				bubble(t, fmt.Sprintf("%s/%s/%v", wire, name, shared), func(t *testing.T) {
					var seen ends
					var log strings.Builder
					var mu sync.Mutex
					var broken []Event
					observer := WithObserver(func(_ context.Context, e Event) {
						mu.Lock()
						defer mu.Unlock()
						if e.Kind == KindBreak {
							broken = append(broken, e)
						}
					})
					turn := 0
					base := newHosts(func(req *http.Request) (*http.Response, error) {
						mu.Lock()
						turn++
						first := turn == 1
						mu.Unlock()
						if first {
							elapse(time.Second)
							return breaks(asStream, tt.text)(req)
						}
						if tt.then == nil {
							return failing503(req)
						}
						return tt.then(req)
					})
					opts := []Option{once, noBreaker, observer, WithEndpoints(at("a")...), WithObserver(seen.observe), WithObserver(Log(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))))}
					if shared {
						opts = append(opts, WithCache(CachePolicy{}))
					}
					rt := over(t, base, append(opts, tt.opts...)...)
					on := func(req *http.Request) { req.URL.Path = w.path }
					callers := []*caller{calls(t, rt, w.ask, on)}
					if shared {
						elapse(time.Millisecond)
						callers = append(callers, calls(t, rt, w.ask, on))
					}
					elapse(time.Minute)
					synctest.Wait()
					if len(broken) != 1 || broken[0].Reason != want {
						t.Errorf("told of the breaks %+v, want one for %s", broken, want)
					}
					if !strings.Contains(log.String(), "reason="+string(want)) {
						t.Errorf("the log has\n%s\nwant reason=%s", log.String(), want)
					}
					for i, c := range callers {
						if i >= len(seen.ended) || seen.ended[i].Reason != want {
							t.Errorf("told of the end %+v, want %s", seen.ended, want)
						}
						if !outcome.Broke(c.ended) {
							t.Errorf("caller %d: %v", i, c.ended)
						}
					}
					if trail := TrailOf(callers[0].resp); !slices.ContainsFunc(trail, func(a Attempt) bool { return a.Unrescued == want }) {
						t.Errorf("the trail is %+v, want %s", trail, want)
					}
				})
			}
		}
	}
}

// Where no endpoint can continue a stream now, and where its caller has left, the event says
// so.
func TestSeen_UnrescuedNow(t *testing.T) {
	bubble(t, "at their limits", func(t *testing.T) {
		told, observer := watch()
		base := newPiped()
		base.Set("b", gives(200, asJSON, goodJSON))
		rt := over(t, base, once, observer, WithStream(StreamPolicy{Rescue: RescueRestart}),
			WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "k", Limits: map[string]RatePolicy{"": {PerSecond: 0.01, Burst: 1, MaxWait: Off}}}),
			WithBackup(Endpoint{Name: "b", URL: "https://b", APIKey: "k", Limits: map[string]RatePolicy{"": {PerSecond: 0.01, Burst: 1, MaxWait: Off}}}))
		h := base.hold(t, rt)
		asks(t.Context(), rt, chatJSON)
		h.End()
		h.readAll()
		if last := (*told)[len(*told)-1]; last.Kind != KindBreak || last.Reason != ReasonUnavailable || last.Endpoint != "a" {
			t.Errorf("told at last of %+v", last)
		}
	})
	bubble(t, "the caller leaves", func(t *testing.T) {
		told, observer := watch()
		ctx, cancel := context.WithCancel(t.Context())
		base := newPiped()
		base.Set("b", hanging)
		rt := over(t, base, once, observer, WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")))
		h := base.holdIn(ctx, t, rt)
		go func() {
			elapse(time.Second)
			cancel()
		}()
		h.End()
		h.readAll()
		if last := (*told)[len(*told)-1]; last.Kind != KindBreak || last.Reason != ReasonCaller || last.Endpoint != "a" {
			t.Errorf("told at last of %+v", last)
		}
	})
}

// A call says of each endpoint that it would have preferred, or needed, why it did not go
// there; and nothing of one that it did not need.
func TestSeen_PassedOver(t *testing.T) {
	same := func(e Endpoint, account string) Endpoint { e.Account = account; return e }
	limited := func(e Endpoint) Endpoint {
		e.Limits = map[string]RatePolicy{"": {PerSecond: 0.001, Burst: 1, MaxWait: Off, Spill: true}}
		return e
	}
	a, b := at("a")[0], at("b")[0]
	opens := WithBreaker(BreakerPolicy{Consecutive: 1, OpenFor: time.Hour})
	tooLong := gives(400, asJSON, `{"error":{"message":"This model's maximum context length is 10 tokens"}}`)
	for _, tt := range []struct {
		name   string
		opts   []Option
		before handler // a's answer to a call before, which b answers or nobody
		now    handler // a's answer
		second handler // b's, now
		want   string  // what the trail says of each endpoint
	}{
		{"a well one", []Option{WithEndpoints(a), WithBackup(b), opens}, nil, nil, failing503, "a ok"},
		{"a well one, its backup at its limit", []Option{WithEndpoints(a), WithBackup(limited(b))}, failing503, nil, nil, "a ok"},
		{"an open circuit", []Option{WithEndpoints(a), WithBackup(b), opens}, failing503, nil, nil, "a circuit_open circuit elsewhere, b ok"},
		{"a pause", []Option{WithEndpoints(a), WithBackup(b), noBreaker}, gives(429, asJSON, "{}", "Retry-After", "900"), nil, nil, "a paused paused elsewhere, b ok"},
		{"a rejected key", []Option{WithEndpoints(a), WithBackup(b), noBreaker}, gives(401, asJSON, `{"error":{"code":"invalid_api_key"}}`), nil, nil, "a paused quarantine elsewhere, b ok"},
		{"a limit", []Option{WithEndpoints(limited(a)), WithBackup(b), noBreaker}, gives(200, asJSON, goodJSON), nil, nil, "a limited limit elsewhere, b ok"},
		{"the backup's circuit", []Option{WithEndpoints(b), WithBackup(a), WithBreaker(BreakerPolicy{Consecutive: 1, OpenFor: time.Hour})}, nil, nil, failing503, "b unavailable, a ok"},
		{"another account's endpoint", []Option{WithEndpoints(same(a, "x")), WithBackup(same(b, "x")), noBreaker}, nil, failing503, nil, "a unavailable, b unserved account stop"},
		{"another of a host that has refused it", []Option{WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")), noBreaker}, nil, tooLong, nil, "a unsuited, b unserved unsuited stop"},
		{"one without the model", []Option{WithEndpoints(Endpoint{Name: "c", URL: "https://c", APIKey: "k", Models: map[string]string{"x": "x"}}), WithBackup(a)}, nil, nil, nil, "c unserved model elsewhere, a ok"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			told, observer := watch()
			rt := over(t, base, append([]Option{once, observer}, tt.opts...)...)
			if tt.before != nil {
				base.Set("a", tt.before)
				asks(t.Context(), rt, chatJSON)
			}
			base.Set("a", gives(200, asJSON, goodJSON))
			if tt.now != nil {
				base.Set("a", tt.now)
			}
			if tt.second != nil {
				base.Set("b", tt.second)
			}
			*told = nil
			var says, events []string
			for _, a := range TrailOf(asks(t.Context(), rt, chatJSON).resp) {
				text := a.Endpoint + " " + string(a.Class)
				if a.PassedOver != "" {
					text += fmt.Sprintf(" %s %s", a.PassedOver, a.Verdict)
				}
				if (a.PassedOver != "") != (a.N == 0) {
					t.Errorf("%+v", a)
				}
				says = append(says, text)
			}
			for _, e := range *told {
				if e.Kind == KindPassedOver {
					events = append(events, fmt.Sprintf("%s %s %s %s", e.Endpoint, e.Class, e.Reason, e.Verdict))
				}
			}
			passed := slices.DeleteFunc(slices.Clone(says), func(text string) bool { return strings.Count(text, " ") < 2 })
			if !slices.Equal(events, passed) {
				t.Errorf("told of %q, want %q", events, passed)
			}
			if got := strings.Join(says, ", "); got != tt.want {
				t.Errorf("the trail says %s, want %s", got, tt.want)
			}
		})
	}
}

// A call that nobody could answer says why, of each endpoint once, however often it looked.
func TestSeen_PassedOverByAFailedCall(t *testing.T) {
	bubble(t, "after attempts", func(t *testing.T) {
		told, observer := watch()
		base := newHosts(failing503)
		rt := over(t, base, observer, WithEndpoints(at("a")...), WithBackup(at("b")...), WithRetry(RetryPolicy{Attempts: 3}), WithBreaker(BreakerPolicy{Consecutive: 1, OpenFor: time.Hour}))
		asks(t.Context(), rt, chatJSON) // opens the circuits
		base.Set("a", gives(429, asJSON, "{}"))
		*told = nil
		got := asks(t.Context(), rt, chatJSON)
		seen := map[string]int{}
		for _, a := range TrailOf(got.resp) {
			if a.PassedOver != "" {
				seen[a.Endpoint+" "+string(a.PassedOver)]++
			}
		}
		for of, n := range seen {
			if n > 1 {
				t.Errorf("%s: %d times", of, n)
			}
		}
		if last := (*told)[len(*told)-1]; last.Kind != KindCall || last.Class == "" || last.Class == ClassUnserved {
			t.Errorf("the call ended as %+v", last)
		}
	})
	bubble(t, "without an attempt", func(t *testing.T) {
		told, observer := watch()
		base := newHosts(gives(429, asJSON, "{}", "Retry-After", "900"))
		rt := over(t, base, observer, once, WithEndpoints(at("a")...), WithBackup(Endpoint{Name: "b", URL: "https://b", APIKey: "k", Models: map[string]string{"x": "x"}}))
		asks(t.Context(), rt, chatJSON)
		got := asks(t.Context(), rt, chatJSON)
		trail := TrailOf(got.resp)
		if len(trail) != 2 || trail[0].PassedOver != ReasonPaused || trail[0].Class != ClassPaused || trail[1].PassedOver != ReasonModel || got.header(headerError) != "paused" {
			t.Errorf("%v; trail %+v", got, trail)
		}
		if last := (*told)[len(*told)-1]; last.Kind != KindCall || last.Class != ClassPaused || last.Attempt != 0 {
			t.Errorf("the call ended as %+v", last)
		}
	})
}
