package breakwater

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/resume"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// A teller is a host that tells a given answer in random events, chunks and
// escapes, and breaks off at random.
type teller struct {
	random            *rand.Rand
	reasoning, answer string
	continues         bool // goes on from a prefix; else it rejects, or begins anew
	rejects           bool
	varies            bool // tells another answer each time
	breaks            int  // times it breaks off
	asked             int
}

func (h *teller) tells(req *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(req.Body)
	req.Body.Close()
	h.asked++
	says, reasoning := h.answer, h.reasoning
	if h.varies && h.asked > 1 {
		says = "Z" + says
	}
	if last := gjson.GetBytes(body, "messages.@reverse.0"); last.Get("prefix").Bool() {
		switch {
		case h.rejects:
			return answer(400, asJSON, `{"error":{"message":"no prefix here"}}`), nil
		case h.continues:
			rest, ok := strings.CutPrefix(says, last.Get("content").Str)
			if !ok || last.Get("reasoning_content").Str != reasoning {
				return answer(400, asJSON, `{"error":{"message":"no such prefix"}}`), nil
			}
			says, reasoning = rest, ""
		}
	}
	text := h.stream(reasoning, says)
	if h.breaks > 0 {
		h.breaks--
		cut := h.random.IntN(len(text))
		switch h.random.IntN(4) {
		case 0:
			text = text[:cut] + "\n\ndata: {\"error\":{\"message\":\"x\"}}\n\n"
		case 1:
			text = text[:cut] + "\n\ndata: {\"choices\":[\n\n"
		case 2:
			return h.send(fakehost.Cut(text[:cut], errors.New("reset"))), nil
		default:
			text = text[:cut]
		}
	}
	return h.send(strings.NewReader(text)), nil
}

func (h *teller) send(body io.Reader) *http.Response {
	if h.random.IntN(2) == 0 {
		body = iotest.OneByteReader(body)
	}
	return answerFrom(200, asStream, body)
}

// stream tells it in events.
func (h *teller) stream(reasoning, answer string) string {
	var b strings.Builder
	id := fmt.Sprintf("id-%d", h.asked)
	event := func(delta string, finish string) {
		fmt.Fprintf(&b, "data: {\"id\":%q,\"choices\":[{\"index\":0,\"delta\":%s,\"finish_reason\":%s}]}\n\n", id, delta, finish)
	}
	event(`{"role":"assistant","content":""}`, "null")
	for _, part := range []struct{ name, text string }{{"reasoning_content", reasoning}, {"content", answer}} {
		for runes := []rune(part.text); len(runes) > 0; {
			n := 1 + h.random.IntN(min(len(runes), 6))
			quoted, _ := json.Marshal(string(runes[:n]))
			if h.random.IntN(3) == 0 { // another way to say the same
				quoted = gjson.AppendJSONString(nil, string(runes[:n]))
			}
			event(fmt.Sprintf(`{%q:%s}`, part.name, quoted), "null")
			runes = runes[n:]
			if h.random.IntN(5) == 0 {
				b.WriteString(": keep-alive\n\n")
			}
		}
	}
	event(`{"content":""}`, `"stop"`)
	fmt.Fprintf(&b, "data: {\"id\":%q,\"choices\":[],\"usage\":{\"completion_tokens\":5,\"total_tokens\":9}}\n\ndata: [DONE]\n\n", id)
	return b.String()
}

// heard reads what a caller has read, plainly.
func heard(t *testing.T, body string) (reasoning, text string, ids, roles, ends int) {
	seen, told := make(map[string]bool), 0
	for _, block := range strings.Split(body, "\n\n") {
		data, ok := strings.CutPrefix(strings.TrimLeft(block, "\n"), "data: ")
		if !ok || data == "[DONE]" || data == "" {
			continue
		}
		var event struct {
			ID      string
			Choices []struct {
				Delta struct {
					Role, Content string
					Reasoning     string `json:"reasoning_content"`
				}
				Finish *string `json:"finish_reason"`
			}
		}
		if strings.HasPrefix(data, `{"error"`) {
			told++
			continue
		}
		if told > 0 && ends == 0 {
			t.Errorf("behind an error frame the caller read %q", data)
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			if ends > 0 {
				continue // what follows the end is passed on as it came
			}
			t.Errorf("the caller read %q: %v", data, err)
			continue
		}
		if event.ID != "" {
			seen[event.ID] = true
		}
		for _, c := range event.Choices {
			text += c.Delta.Content
			reasoning += c.Delta.Reasoning
			if c.Delta.Role != "" {
				roles++
			}
			if c.Finish != nil {
				ends++
			}
		}
	}
	return reasoning, text, len(seen), roles, ends
}

// sayer returns a maker of random texts of less than n letters, many of which need escapes.
func sayer(random *rand.Rand) func(n int) string {
	letters := []rune("aaab \"\\\n\té漢🚢/<&\u2028")
	return func(n int) string {
		var b strings.Builder
		for range random.IntN(n) {
			b.WriteRune(letters[random.IntN(len(letters))])
		}
		return b.String()
	}
}

// Random answers, events, chunks and escapes, broken off at any byte, by hosts
// that go on, reject, begin anew or tell something else, under every policy:
// what the caller reads is the whole answer once, with one id, one role and one
// end, or a part of its beginning and a typed error. Nothing else, ever.
func TestRescue_RescuedOrTyped(t *testing.T) {
	whole, cut, rescued := 0, 0, 0
	seeds := ifFull(4000, 1000)
	for seed := range seeds {
		random := rand.New(rand.NewPCG(7, uint64(seed)))
		say := sayer(random)
		h := &teller{
			random: random, answer: say(80) + "end", continues: random.IntN(2) == 0, rejects: random.IntN(4) == 0, varies: random.IntN(6) == 0,
			breaks: random.IntN(4),
		}
		if !h.continues && !h.rejects {
			h.varies = false // that a host begins anew can be told from what it says only
		}
		if random.IntN(3) == 0 {
			h.reasoning = say(40)
		}
		if random.IntN(5) == 0 {
			h.answer = strings.Repeat(say(3)+"-", 40) + "end"
		}
		policy := []Rescue{RescueContinue, RescueRestart, RescueOff}[random.IntN(3)]
		opts := []Option{noBreaker, WithStream(StreamPolicy{Rescue: policy}), WithRetry(RetryPolicy{MinDelay: Off}), WithCache(CachePolicy{}),
			WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk", Host: HostDeepSeek}), WithBackup(Endpoint{Name: "b", URL: "https://b", APIKey: "sk", Host: HostDeepSeek})}
		rt := over(t, fakehost.NewUnread(h.tells), opts...)
		got := asks(t.Context(), rt, `{"model":"m","stream":true,"messages":[{"role":"user","content":"q"}],"max_tokens":1000}`)
		if got.status() != 200 {
			continue // it broke before its payload, more often than it may be asked
		}
		reasoning, text, ids, roles, ends := heard(t, strings.ReplaceAll(got.body, "data: {\"choices\":[\n", ""))
		name := fmt.Sprintf("seed %d: %+v, policy %d: %q", seed, *h, policy, got.body)
		switch {
		case got.err == nil:
			whole++
			if h.asked > 1 && len(TrailOf(got.resp)) > 1 {
				rescued++
			}
			if first := h.answer; text != first && text != "Z"+first || reasoning != h.reasoning || ids != 1 || roles > 1 || ends != 1 {
				t.Fatalf("%s\ncame clean as %q behind %q, %d ids, %d roles, %d ends", name, text, reasoning, ids, roles, ends)
			}
			if again := asks(t.Context(), rt, `{"model":"m","stream":true,"messages":[{"role":"user","content":"q"}],"max_tokens":1000}`); strings.Contains(again.header("Cache-Status"), "hit") && !strings.HasPrefix(got.body, again.body) {
				t.Fatalf("%s\nthe cache gave %q", name, again.body)
			}
		case !outcome.Broke(got.err):
			t.Fatalf("%s\nended in %v, want a typed error", name, got.err)
		default:
			cut++
			if !strings.HasPrefix(h.answer, text) && !strings.HasPrefix("Z"+h.answer, text) || !strings.HasPrefix(h.reasoning, reasoning) {
				t.Fatalf("%s\nended in %v behind %q and %q, which is no part of the answer", name, got.err, reasoning, text)
			}
		}
	}
	if whole < seeds/4 || cut < seeds/20 || rescued < seeds/20 {
		t.Errorf("%d whole, %d of them rescued, %d cut: too little was tested", whole, rescued, cut)
	}
}

// What is sent to go on: the conversation, the text as a prefix, below /beta,
// and no more room than is left; nothing of it goes astray.
func TestRescue_ContinuedBody(t *testing.T) {
	told := strings.Repeat("0123456789", 10) // 30 tokens by the estimate
	var bodies, paths []string
	rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(req.Body)
		bodies, paths = append(bodies, string(body)), append(paths, req.URL.String()+" "+req.Header.Get("Authorization"))
		if len(bodies) == 1 {
			return answer(200, asStream, event(told)), nil
		}
		return answer(200, asStream, strings.ReplaceAll(wholeStream, `"hi"`, `" there"`)), nil
	}))
	req, _ := post(t.Context(), "https://api.deepseek.com", `{"model":"deepseek-flash","max_tokens":100,"messages":[{"role":"user","content":"q"}],"stream":true}`)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if _, text, _, _, _ := heard(t, string(got)); text != told+" there" || err != nil {
		t.Errorf("the caller read %q, %v", got, err)
	}
	want := `{"model":"deepseek-flash","max_tokens":70,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"` + told + `","prefix":true}],"stream":true}`
	if len(bodies) != 2 || bodies[1] != want {
		t.Errorf("to go on, %q was sent, want %s", bodies[1:], want)
	}
	if len(paths) != 2 || paths[1] != "https://api.deepseek.com/beta/chat/completions Bearer sk-caller" {
		t.Errorf("it went to %q", paths)
	}
	trail := TrailOf(resp)
	if len(trail) != 2 || trail[0].Class != ClassTruncated || trail[1].Class != ClassOK || trail[1].N != 2 {
		t.Errorf("trail %+v", trail)
	}
}

// A text behind finished reasoning is continued where the host takes the reasoning with it,
// and the usage counts both.
func TestRescue_ContinuedBehindReasoning(t *testing.T) {
	thought, told := strings.Repeat("0123456789", 20), strings.Repeat("0123456789", 10) // 60 and 30 tokens by the estimate
	of := func(delta, more string) string {
		return `data: {"id":"x","choices":[{"index":0,"delta":` + delta + `,"finish_reason":null}]` + more + "}\n\n"
	}
	first := of(`{"reasoning_content":"`+thought+`"}`, "") + of(`{"content":"`+told+`"}`, "")
	usage := `,"usage":{"completion_tokens":%d,"total_tokens":%d,"completion_tokens_details":{"reasoning_tokens":%d}}`
	for _, tt := range []struct {
		name   string
		host   Endpoint
		second string
		sent   string // the last message; empty: nobody is asked
		want   string // what follows; empty: an error
	}{
		{"DeepSeek", deepSeekAt("a"), of(`{"content":" there"}`, fmt.Sprintf(usage, 5, 9, 0)) + endEvent + doneEvent,
			`{"role":"assistant","content":"` + told + `","reasoning_content":"` + thought + `","prefix":true}`,
			of(`{"content":" there"}`, fmt.Sprintf(usage, 95, 99, 60)) + endEvent + doneEvent},
		{"one that thinks again", deepSeekAt("a"), of(`{"reasoning_content":"hm"}`, "") + of(`{"content":" there"}`, "") + endEvent + doneEvent,
			`{"role":"assistant","content":"` + told + `","reasoning_content":"` + thought + `","prefix":true}`, ""},
		{"one that is only known to take a prefix", Endpoint{Name: "a", URL: "https://a", APIKey: "sk", Host: HostOpenAI, Can: []Feature{FeaturePrefix}}, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var bodies []string
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				body, _ := io.ReadAll(req.Body)
				bodies = append(bodies, string(body))
				if len(bodies) == 1 {
					return answer(200, asStream, first), nil
				}
				return answer(200, asStream, tt.second), nil
			}), WithEndpoints(tt.host))
			got := asks(t.Context(), rt, `{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"q"}],"stream":true}`)
			if got.body != first+tt.want || (got.err == nil) != (tt.want != "") {
				t.Errorf("got %v, want %q behind the first", got, tt.want)
			}
			want := `{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"q"},` + tt.sent + `],"stream":true}`
			if asked := len(bodies) > 1; asked != (tt.sent != "") || asked && bodies[1] != want {
				t.Errorf("to go on, %q was sent, want %s", bodies[1:], want)
			}
		})
	}
}

// No rescue after a tool call, nor for more than one choice, nor with logprobs;
// and nobody goes on from a thought that may not be finished.
func TestRescue_None(t *testing.T) {
	const (
		tool    = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\"}}]}}]}\n\n"
		thought = "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n"
	)
	anew, onward := StreamPolicy{Rescue: RescueRestart}, StreamPolicy{Rescue: RescueContinue}
	for _, tt := range []struct {
		name, path, ask, text string
		policy                StreamPolicy
		retry                 RetryPolicy
	}{
		{"a tool call", "", chatStream, tool, anew, RetryPolicy{}},
		{"text, then a call", "", chatStream, goodEvent + tool, anew, RetryPolicy{}},
		{"several choices", "", `{"model":"m","stream":true,"n":2,"messages":[{"role":"user"}]}`, goodEvent, anew, RetryPolicy{}},
		{"logprobs", "", `{"model":"m","stream":true,"logprobs":true,"messages":[{"role":"user"}]}`, goodEvent, anew, RetryPolicy{}},
		{"the budget is spent", "", chatStream, goodEvent, anew, RetryPolicy{Budget: Off}},
		{"the caller's own one", "/beta/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"assistant","content":"x","prefix":true}]}`, goodEvent, onward, RetryPolicy{}},
		{"fill in the middle", "/beta/completions", `{"model":"m","stream":true,"prompt":"a","suffix":"b"}`, "data: {\"choices\":[{\"index\":0,\"text\":\"a\"}]}\n\n", anew, RetryPolicy{}},
		{"a thinking answer", "", chatStream, thought, onward, RetryPolicy{}},
	} {
		base := newHosts(gives(200, asStream, tt.text))
		rt := over(t, base, WithStream(tt.policy), WithRetry(tt.retry), WithEndpoints(deepSeekAt("a")))
		got := asks(t.Context(), rt, tt.ask, func(req *http.Request) { req.URL.Path = cmp.Or(tt.path, "/chat/completions") })
		if !errors.Is(got.err, ErrTruncated) || base.Count("a") != 1 {
			t.Errorf("%s: %v after %d requests, want ErrTruncated after one", tt.name, got, base.Count("a"))
		}
		trail := TrailOf(got.resp)
		if len(trail) != 1 || trail[0].Class != ClassTruncated || trail[0].Denied != (tt.name == "the budget is spent") {
			t.Errorf("%s: the trail is %+v, want the one attempt, denied a rescue only by its budget", tt.name, trail)
		}
	}
}

// An id that a hostile host made gigantic is not repeated in each event of the rescue.
func TestRescue_GiganticIDs(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		gigantic := strings.Replace(event("A text that is long enough to be told apart."), "{", `{"id":"`+strings.Repeat("i", 1<<20)+`",`, 1)
		base := newHosts(gives(200, asStream, gigantic))
		base.Set("b", gives(200, asStream, strings.Repeat(strings.Replace(event("more "), "{", `{"id":"2",`, 1), 50)+endEvent+doneEvent))
		rt := over(t, base, WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")))
		got := asks(t.Context(), rt, strings.Replace(chatStream, "{", `{"thinking":{"type":"disabled"},`, 1))
		if got.err != nil || base.Count("b") != 1 || len(got.body) > 2<<20 {
			t.Errorf("read %d bytes, which ended in %v, after %d requests to b: want the id once", len(got.body), got.err, base.Count("b"))
		}
	})
}

// An answer that its own request broke off would break off again, or get round the filter. It
// ends with the host's words, and says nothing of the host's health.
func TestRescue_NoneOfWhatTheRequestCaused(t *testing.T) {
	for name, said := range map[string]string{
		"too long": `{"error":{"message":"m","type":"invalid_request_error","code":"context_length_exceeded"}}`,
		"filtered": `{"error":{"message":"Content Exists Risk","type":"invalid_request_error","code":"invalid_request_error"}}`,
	} {
		for _, policy := range []Rescue{RescueContinue, RescueRestart} {
			base := newHosts(gives(200, asStream, goodEvent+"data: "+said+"\n\n"+doneEvent))
			rt := over(t, base, WithStream(StreamPolicy{Rescue: policy}), WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")), WithBreaker(BreakerPolicy{Consecutive: 1}))
			got := asks(t.Context(), rt, chatStream)
			if !strings.HasSuffix(got.body, "data: "+said+"\n\n") || !errors.Is(got.err, ErrBadResponse) || base.Count("") != 1 {
				t.Errorf("%s, policy %v: got %v after %d attempts, want the host's words after one", name, policy, got, base.Count(""))
			}
			if state := rt.Status().Endpoints[0].Circuits[0].State; state != "closed" {
				t.Errorf("%s: the circuit is %s", name, state)
			}
		}
	}
}

// Close and the caller's cancel end a rescue under way.
func TestRescue_CloseEndsIt(t *testing.T) {
	for _, cancels := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				if n++; n == 1 {
					return answer(200, asStream, goodEvent), nil
				}
				<-req.Context().Done()
				return nil, req.Context().Err()
			}), WithRateLimit(RatePolicy{InFlight: 5}), WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk", Host: HostDeepSeek}))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req, _ := post(ctx, "https://a", `{"model":"m","stream":true,"messages":[{"role":"user","content":"q"}]}`)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			time.AfterFunc(time.Second, func() {
				if cancels {
					cancel()
				} else {
					resp.Body.Close()
				}
			})
			_, err = io.ReadAll(resp.Body)
			if took := time.Since(start); err == nil || took != time.Second {
				t.Errorf("cancel %v: the read ended in %v after %v, want an error after 1s", cancels, err, took)
			}
			resp.Body.Close()
			synctest.Wait()
			if left := stillHeld(rt); left != "" {
				t.Errorf("got %s left, want nothing", left)
			}
		})
	}
}

// The option to tell a broken stream's error in an event: each wire's own.
func TestRescue_ErrorFrames(t *testing.T) {
	for op, want := range map[request.Operation]string{
		request.Chat:      `data: {"error":{"message":"breakwater: the stream broke off: truncated","type":"breakwater_error","param":null,"code":"truncated"}}`,
		request.Messages:  "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"breakwater: the stream broke off: truncated\"}}",
		request.Responses: "event: error\ndata: {\"type\":\"error\",\"code\":\"truncated\",\"message\":\"breakwater: the stream broke off: truncated\",\"param\":null}",
	} {
		begun := map[request.Operation]string{request.Chat: goodEvent, request.Messages: pieces[13] + pieces[14], request.Responses: pieces[17] + pieces[18]}[op]
		for _, rescue := range []Rescue{RescueOff, RescueRestart} {
			for _, on := range []bool{true, false} {
				n := 0
				rt := over(t, RoundTripperFunc(func(*http.Request) (*http.Response, error) {
					if n++; n > 1 {
						return answer(400, asJSON, "{}"), nil
					}
					return answer(200, asStream, begun), nil
				}), WithStream(StreamPolicy{ErrorFrames: on, Rescue: rescue}), WithEndpoints(Endpoint{Name: "a", URL: "https://a/v1", APIKey: "sk", Host: HostOpenAI}))
				req, err := http.NewRequest(http.MethodPost, "https://a/v1"+string(op), strings.NewReader(`{"model":"m","stream":true,"messages":[{"role":"user","content":"q"}]}`))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				expected := begun
				if on {
					expected += want + "\n\n"
				}
				if string(got) != expected || !errors.Is(err, ErrTruncated) {
					t.Errorf("%s, rescue %d, frames %v: the caller read %q, %v, want %q", op, rescue, on, got, err, expected)
				}
			}
		}
	}
}

// frameOf is the event that tells, on an operation's wire, what a stream broke off in.
func frameOf(op request.Operation, code string) string {
	message := `"message":"breakwater: the stream broke off: ` + code + `"`
	switch op {
	case request.Messages:
		return `event: error` + "\n" + `data: {"type":"error","error":{"type":"api_error",` + message + "}}\n\n"
	case request.Responses:
		return `event: error` + "\n" + `data: {"type":"error","code":"` + code + `",` + message + `,"param":null}` + "\n\n"
	}
	return `data: {"error":{` + message + `,"type":"breakwater_error","param":null,"code":"` + code + `"}}` + "\n\n"
}

// A stream breaks before its first payload, and no other endpoint can answer. It ends
// in a typed error and, if that is wanted, in one event that tells of it, on each wire,
// for the leader and for its followers. A stream that brought nothing is a 502 with
// its error.
func TestRescue_ErrorFramesBeforePayload(t *testing.T) {
	role := "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
	const (
		failure   = "data: {\"error\":{\"message\":\"m\",\"code\":500}}\n\n"
		malformed = "data: {\"choices\":[\n\n"
	)
	reset := func(text string) handler { return breaks(asStream, text) }
	ends := func(text string) handler { return gives(200, asStream, text) }
	type end struct {
		name string
		op   request.Operation
		base handler
		out  string // what the caller reads, if no frames are wanted
		is   error
		kept int // how much of out stays before the frame; -1: all of it, and no frame
	}
	list := []end{
		{"malformed", request.Chat, ends(role + malformed), role + malformed, ErrBadResponse, len(role)},
		{"malformed at once", request.Chat, ends(malformed), malformed, ErrBadResponse, 0},
		{"the terminator alone", request.Chat, ends(doneEvent), doneEvent, ErrBadResponse, 0},
		{"out of resources", request.Chat, ends(role + strings.Replace(endEvent, "stop", "insufficient_system_resource", 1)), role + strings.Replace(endEvent, "stop", "insufficient_system_resource", 1), ErrTruncated, len(role)},
		{"the host's own frame", request.Chat, ends(role + failure + doneEvent), role + failure, ErrBadResponse, -1},
		{"the host's named error", request.Chat, ends(role + "event: error\ndata: {\"x\":1}\n\n"), role + "event: error\ndata: {\"x\":1}\n\n", ErrBadResponse, -1},
		{"the host's own frame, Messages", request.Messages, ends(pieces[13] + "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n"),
			pieces[13] + "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n", ErrBadResponse, -1},
		{"the host's own frame, Responses", request.Responses, ends(pieces[17] + pieces[20]), pieces[17] + pieces[20], ErrBadResponse, -1},
	}
	for op, begun := range map[request.Operation]string{request.Chat: role, request.Completions: strings.Replace(role, `"delta":{"role":"assistant","content":""}`, `"text":""`, 1), request.Messages: pieces[13], request.Responses: pieces[17]} {
		list = append(list,
			end{"reset at once, " + string(op), op, reset(""), "", ErrTruncated, 0},
			end{"reset, " + string(op), op, reset(begun), begun, ErrTruncated, len(begun)},
			end{"a clean end, " + string(op), op, ends(begun), begun, ErrTruncated, len(begun)},
			end{"a clean end at once, " + string(op), op, ends(""), "", ErrTruncated, 0},
			end{"a clean end behind comments, " + string(op), op, ends(": keep-alive\n\n\n"), "", ErrTruncated, 0},
			end{"reset within an event, " + string(op), op, reset(begun + "data: {"), begun, ErrTruncated, len(begun)},
			end{"no blank line behind the event, " + string(op), op, ends(strings.TrimSuffix(begun, "\n")), strings.TrimSuffix(begun, "\n"), ErrTruncated, len(begun) - 1},
		)
	}
	for _, tt := range list {
		for setup, opts := range map[string][]Option{
			"alone": nil, "backed": {WithEndpoints(at("a")...), WithBackup(Endpoint{Name: "b", URL: "https://b", APIKey: "sk"})}, "rescued": {WithEndpoints(deepSeekAt("a"))}, "cached": {WithCache(CachePolicy{})},
		} {
			for _, on := range []bool{false, true} {
				for _, asErrors := range []bool{false, true} {
					name := fmt.Sprintf("%s, %s, frames %v, errors %v", tt.name, setup, on, asErrors)
					synctest.Test(t, func(t *testing.T) {
						base := newHosts(func(req *http.Request) (*http.Response, error) {
							elapse(time.Second)
							return tt.base(req)
						})
						base.Set("b", refusing)
						all := append(opts, once, noBreaker, WithStream(StreamPolicy{ErrorFrames: on}))
						if asErrors {
							all = append(all, WithErrors())
						}
						rt := over(t, base, all...)
						ask := func() seen {
							return asks(t.Context(), rt, `{"model":"m","stream":true,"messages":[{"role":"user","content":"q"}]}`, func(req *http.Request) {
								req.URL.Path = map[request.Operation]string{request.Messages: "/v1/messages"}[tt.op]
								if req.URL.Path == "" {
									req.URL.Path = string(tt.op)
								}
							})
						}
						var callers sync.WaitGroup
						callersSaw := make([]seen, map[bool]int{true: 3, false: 1}[setup == "cached"])
						for i := range callersSaw {
							callers.Go(func() { callersSaw[i] = ask() })
						}
						callers.Wait()
						if n := base.Count("a"); n != 1 {
							t.Errorf("%s: %d requests, want one", name, n)
						}
						for _, got := range callersSaw {
							tt := tt
							var all *Error
							switch {
							case asErrors:
								if got.resp != nil || !errors.As(got.err, &all) || !errors.Is(got.err, tt.is) {
									t.Errorf("%s: the call gave %v, want an *Error with %v in it", name, got, tt.is)
								}
								continue
							case tt.out == "":
								err := ErrorOf(got.resp)
								if got.status() != 502 || got.body != "" || got.err != nil || got.header(headerError) != string(ClassBadResponse) || !errors.As(err, &all) || !errors.Is(err, tt.is) {
									t.Errorf("%s: the caller got %v with %v behind it, want an empty 502 with %v behind it", name, got, err, tt.is)
								}
								continue
							}
							want := tt.out
							if on && tt.kept >= 0 {
								if want = tt.out[:tt.kept]; want != "" && !strings.HasSuffix(want, "\n\n") {
									want += "\n\n"
								}
								want += frameOf(tt.op, map[error]string{ErrTruncated: "truncated", ErrBadResponse: "bad_response"}[tt.is])
							}
							if got.status() != 200 || got.body != want || !errors.Is(got.err, tt.is) || !outcome.Broke(got.err) {
								t.Errorf("%s: the caller got %v, want %q and %v", name, got, want, tt.is)
							}
						}
					})
				}
			}
		}
	}
}

// The event that tells of the end begins a block of its own, though the host's
// last one has no blank line behind it.
func TestRescue_ErrorFramesBehindAnOpenBlock(t *testing.T) {
	for op, begun := range map[request.Operation]string{request.Chat: goodEvent, request.Messages: pieces[13] + pieces[14], request.Responses: pieces[17] + pieces[18]} {
		for _, rescue := range []Rescue{RescueOff, RescueContinue, RescueRestart} {
			begun := strings.TrimSuffix(begun, "\n")
			n := 0
			rt := over(t, RoundTripperFunc(func(*http.Request) (*http.Response, error) {
				if n++; n > 1 {
					return answer(400, asJSON, "{}"), nil
				}
				return answer(200, asStream, begun), nil
			}), WithStream(StreamPolicy{ErrorFrames: true, Rescue: rescue}))
			got := asks(t.Context(), rt, chatStream, func(req *http.Request) {
				req.URL.Path = map[request.Operation]string{request.Messages: "/v1/messages", request.Responses: "/responses", request.Chat: "/chat/completions"}[op]
			})
			if want := begun + "\n\n" + frameOf(op, "truncated"); got.body != want || !errors.Is(got.err, ErrTruncated) {
				t.Errorf("%s, rescue %d: the caller read %q, %v, want %q", op, rescue, got.body, got.err, want)
			}
		}
	}
}

// Before the first payload, time ends a stream of keep-alives, too: in what was
// broken off, typed; alone, it is the caller's own time.
func TestRescue_ErrorFramesOfAStallBeforePayload(t *testing.T) {
	for _, backed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			quiet := func(req *http.Request) (*http.Response, error) {
				return answerFrom(200, asStream, fakehost.ReaderFunc(func(p []byte) (int, error) {
					select {
					case <-req.Context().Done():
						return 0, req.Context().Err()
					case <-time.After(time.Second):
						return copy(p, ": keep-alive\n\n"), nil
					}
				})), nil
			}
			opts := []Option{once, WithStream(StreamPolicy{ErrorFrames: true, FirstToken: 5 * time.Second}), WithEndpoints(at("a")...)}
			want := context.DeadlineExceeded
			if backed {
				opts, want = append(opts, WithBackup(at("b")...), WithErrors()), ErrNoFirstToken
			}
			base := newHosts(failing503)
			base.Set("a", quiet)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if got := asks(ctx, over(t, base, opts...), chatStream); got.resp != nil || !errors.Is(got.err, want) {
				t.Errorf("backed %v: the call gave %v, want %v", backed, got, want)
			}
		})
	}
}

// kept is how many bytes a stream holds of its answer, to go on from it or back
// from its caller.
func kept(body io.ReadCloser) int {
	r, ok := body.(*resumable)
	if !ok {
		return 0
	}
	n := cap(r.given.Text) + cap(r.given.Reasoning)
	if r.rescue != nil {
		n += r.rescue.Held()
	}
	if events := attemptBehind(r.inner.Load()).Answer.Transcript; events != nil {
		n += cap(events.Text) + cap(events.Reasoning)
	}
	return n
}

// A meter is a stream of one event over and over, which notes how much is held
// of it while it is read. It breaks off at its end.
type meter struct {
	head, event string
	left        int // bytes
	at          int
	body        *io.ReadCloser // of the caller
	most, last  int
}

func (m *meter) Read(p []byte) (int, error) {
	if *m.body != nil {
		m.last = kept(*m.body)
		m.most = max(m.most, m.last)
	}
	if m.head != "" {
		n := copy(p, m.head)
		m.head = m.head[n:]
		return n, nil
	}
	if m.left <= 0 && m.at == 0 {
		return 0, errors.New("reset")
	}
	n := copy(p, m.event[m.at:])
	m.at, m.left = (m.at+n)%len(m.event), m.left-n
	return n, nil
}

// What is kept of an answer to go on from it has a bound, and nothing is kept
// where nobody could; a shorter answer is gone on from.
func TestRescue_KeepsWithinBounds(t *testing.T) {
	delta := func(member string, size int) string {
		return `data: {"choices":[{"index":0,"delta":{` + member + strings.Repeat("x", size) + `"}}]}` + "\n\n"
	}
	const ask = `{"model":"m","stream":true,"messages":[{"role":"user","content":"q"}]`
	large := ifFull(64, 12) << 20
	text, reasoning, refusal := delta(`"content":"`, 4000), delta(`"reasoning_content":"`, 4000), delta(`"refusal":"`, 4000)
	tool := `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"` + strings.Repeat("x", 4000) + `"}}]}}]}` + "\n\n"
	onward, anew := WithStream(StreamPolicy{}), WithStream(StreamPolicy{Rescue: RescueRestart})
	for _, tt := range []struct {
		name        string
		ask         string
		head, event string
		size        int
		opts        []Option
		most        int  // held at any time
		rescued     bool // one is asked for
		pending     bool // what is held could still have become of use
	}{
		{"a short text", ask, "", text, 8 << 10, []Option{onward}, 16 << 10, true, false},
		{"a long text", ask, "", text, resume.MaxTranscript * 9 / 10, []Option{onward}, resume.MaxTranscript * 3 / 2, true, false},
		{"a long text, anew", ask, "", text, resume.MaxTranscript * 9 / 10, []Option{anew}, resume.MaxTranscript * 3 / 2, true, false},
		{"a text without an end", ask, "", text, large, []Option{onward}, resume.MaxTranscript * 3 / 2, false, false},
		{"a text without an end, anew", ask, "", text, large, []Option{anew}, resume.MaxTranscript * 3 / 2, false, false},
		{"a text in one event", ask, "", delta(`"content":"`, resume.MaxTranscript+1), 1, []Option{onward}, 0, false, false},
		{"reasoning", ask, "", reasoning, 1 << 20, []Option{onward}, 3 << 19, false, true},
		{"reasoning, then a text", ask, reasoning, text, 1 << 20, []Option{onward}, 3 << 19, true, false},
		{"reasoning without an end", ask, "", reasoning, large, []Option{onward}, resume.MaxTranscript * 3 / 2, false, false},
		{"nobody takes reasoning", ask, reasoning, text, 1 << 20, []Option{onward, WithEndpoints(Endpoint{Name: "c", URL: "https://c", APIKey: "sk", Host: HostOpenAI, Can: []Feature{FeaturePrefix}})}, 0, false, false},
		{"reasoning, anew", ask, "", reasoning, 1 << 20, []Option{anew}, 3 << 19, true, false},
		{"reasoning without an end, anew", ask, "", reasoning, large, []Option{anew}, resume.MaxTranscript * 3 / 2, false, false},
		{"reasoning and text, anew", ask, strings.Repeat(reasoning, resume.MaxTranscript*6/10/len(reasoning)), text, resume.MaxTranscript * 6 / 10, []Option{anew}, resume.MaxTranscript * 3 / 2, false, false},
		{"a tool call", ask, "", tool, 1 << 20, []Option{anew}, 0, false, false},
		{"a text behind a tool call", ask, tool, text, 1 << 20, []Option{anew}, 0, false, false},
		{"a text behind another, and a tool call", ask, text + tool, text, 1 << 20, []Option{anew}, 8 << 10, false, false},
		{"a refusal", ask, "", refusal, 1 << 20, []Option{anew}, 0, false, false},
		{"chunks that are counted", ask, text, strings.Replace(text, `"index":0`, `"index":1`, 1), 1 << 20, []Option{anew}, 8 << 10, false, false},
		{"two choices", ask + `,"n":2`, "", text, 1 << 20, []Option{anew}, 0, false, false},
		{"logprobs", ask + `,"logprobs":true`, "", text, 1 << 20, []Option{anew}, 0, false, false},
		{"no rescue", ask, "", text, 1 << 20, []Option{WithStream(StreamPolicy{Rescue: RescueOff})}, 0, false, false},
		{"sent once", ask, "", text, 1 << 20, []Option{anew, WithRetry(RetryPolicy{SendOnce: true})}, 0, false, false},
		{"nobody has a prefix", ask, "", text, 1 << 20, []Option{onward, WithEndpoints(at("c")...)}, 0, false, false},
		{"nobody with a prefix has the model", ask, "", text, 1 << 20, []Option{onward, WithEndpoints(at("c")...), WithBackup(Endpoint{Name: "d", URL: "https://d", APIKey: "sk", Host: HostDeepSeek, Models: map[string]string{"other": "other"}})}, 0, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			var body io.ReadCloser
			m := &meter{head: tt.head, event: tt.event, left: tt.size, body: &body}
			opts := append([]Option{noBreaker, WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk", Host: HostOpenAI})}, tt.opts...)
			if !strings.HasPrefix(tt.name, "nobody") {
				opts = append(opts, WithBackup(deepSeekAt("b")))
			}
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				io.Copy(io.Discard, req.Body)
				req.Body.Close()
				if asked++; asked > 1 {
					return answer(400, asJSON, "{}"), nil
				}
				return answerFrom(200, asStream, m), nil
			}), opts...)
			req, _ := post(t.Context(), "https://a", tt.ask+"}")
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body = resp.Body
			n, err := io.Copy(io.Discard, body)
			if n < int64(tt.size) || !errors.Is(err, ErrTruncated) || (asked > 1) != tt.rescued {
				t.Errorf("the caller read %d bytes and %v after %d requests, want a rescue to be tried: %v", n, err, asked, tt.rescued)
			}
			if m.most > tt.most || !tt.rescued && !tt.pending && m.last > 0 {
				t.Errorf("%d bytes were held, in the end %d, want at most %d and nothing that is of no use", m.most, m.last, tt.most)
			}
			if now := kept(body); now > 0 {
				t.Errorf("%d bytes are held behind the end", now)
			}
			resp.Body.Close()
		})
	}
}

// So has what is kept of a rescue, and what it holds back.
func TestRescue_HoldsWithinBounds(t *testing.T) {
	says := func(member, text string) string {
		return `data: {"id":"x","choices":[{"index":0,"delta":{"` + member + `":"` + text + `"}}]}` + "\n\n"
	}
	first := says("content", "The quick brown fox jumps over the lazy dog, ")
	tool := `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"` + strings.Repeat("x", 4000) + `"}}]}}]}` + "\n\n"
	text := says("content", strings.Repeat("x", 4000))
	tail := says("content", "tail") + endEvent + doneEvent
	endless := ifFull(64, 12) << 20
	for _, tt := range []struct {
		name        string
		policy      Rescue
		head, event string
		size        int
		most        int
		asked       int
		reads       bool // the caller reads what the rescue says
	}{
		{"a text without an end", RescueContinue, "", text, endless, resume.MaxTranscript * 3 / 2, 2, true},
		{"a text without an end, told again first", RescueRestart, first, text, endless, resume.MaxTranscript * 3 / 2, 2, true},
		{"a long text", RescueContinue, "", text, resume.MaxTranscript / 2, resume.MaxTranscript, 3, true},
		{"tool calls without an end", RescueContinue, "", tool, endless, resume.MaxTranscript * 3 / 2, 2, false},
		{"tool calls without an end, anew", RescueRestart, "", tool, endless, resume.MaxTranscript * 3 / 2, 3, false},
		{"empty events without an end", RescueContinue, tool, strings.Repeat("data: {}\n\n", 400), endless, resume.MaxTranscript * 3 / 2, 2, false},
		{"tool calls, then a text", RescueContinue, strings.Repeat(tool, resume.MaxTranscript/2/len(tool)), text, 8 << 20, resume.MaxTranscript * 3 / 2, 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			var body io.ReadCloser
			m := &meter{head: tt.head, event: tt.event, left: tt.size, body: &body}
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				io.Copy(io.Discard, req.Body)
				req.Body.Close()
				switch asked++; asked {
				case 1:
					return answer(200, asStream, first), nil
				case 2:
					return answerFrom(200, asStream, m), nil
				}
				if tt.policy == RescueRestart {
					return answer(200, asStream, first+tail), nil
				}
				return answer(200, asStream, tail), nil
			}), noBreaker, WithStream(StreamPolicy{Rescue: tt.policy}), WithEndpoints(deepSeekAt("a")))
			req, _ := post(t.Context(), "https://a", chatStream)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body = resp.Body
			n, err := io.Copy(io.Discard, body)
			if asked != tt.asked || (err == nil) != (tt.asked == 3) || err != nil && !errors.Is(err, ErrTruncated) || (n > int64(tt.size)) != tt.reads {
				t.Errorf("the caller read %d bytes and %v after %d requests, want %d requests", n, err, asked, tt.asked)
			}
			if m.most > tt.most || kept(body) > 0 {
				t.Errorf("%d bytes were held, in the end %d, want at most %d and nothing", m.most, kept(body), tt.most)
			}
			resp.Body.Close()
		})
	}
}

// A host that goes on from a text and counts its chunks by the index goes on in
// the only choice there is.
func TestRescue_IndexThatCounts(t *testing.T) {
	const long = "The quick brown fox jumps over the lazy dog, "
	says := func(index int, text string) string {
		return fmt.Sprintf("data: {\"choices\":[{\"index\":%d,\"delta\":{\"content\":%q}}]}\n\n", index, text)
	}
	ends := func(index int) string {
		return strings.Replace(endEvent, `"index":0`, fmt.Sprintf(`"index":%d`, index), 1)
	}
	asked := 0
	rt := over(t, RoundTripperFunc(func(*http.Request) (*http.Response, error) {
		if asked++; asked == 1 {
			return answer(200, asStream, says(0, long)), nil
		}
		return answer(200, asStream, says(0, "one ")+says(1, "two ")+says(2, "three")+ends(3)+doneEvent), nil
	}), noBreaker, WithEndpoints(deepSeekAt("a")))
	want := says(0, long) + says(0, "one ") + says(0, "two ") + says(0, "three") + endEvent + doneEvent
	if got := asks(t.Context(), rt, chatStream); got.body != want || got.err != nil {
		t.Errorf("the caller read %v, want %q", got, want)
	}
}

// What rescues meet beside plain text: each case is the streams that hosts give
// one after the other, what the caller reads of them, and whether it ends well.
func TestRescue_OddStreams(t *testing.T) {
	event := func(delta, finish string) string {
		return `data: {"id":"x","choices":[{"index":0,"delta":` + delta + `,"finish_reason":` + finish + "}]}\n\n"
	}
	says := func(text string) string { return event(`{"content":"`+text+`"}`, "null") }
	const (
		long  = "The quick brown fox jumps over the lazy dog, "
		frame = "data: {\"error\":{\"message\":\"boom\"}}\n\n"
		done  = "data: [DONE]\n\n"
	)
	end := event(`{}`, `"stop"`) + done
	usage := func(completion, total int) string {
		return fmt.Sprintf("data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n", completion, total)
	}
	tool := func(arguments string) string {
		return event(`{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"`+arguments+`"}}]}`, "null")
	}
	onward, anew := StreamPolicy{}, StreamPolicy{Rescue: RescueRestart}
	for _, tt := range []struct {
		name    string
		policy  StreamPolicy
		streams []string
		want    string
		whole   bool
	}{
		{"text in an event that ends in an error is not told", onward, []string{says("Hello ") + event(`{"content":"LOST"}`, `"error"`), says("tail") + end},
			says("Hello ") + says("tail") + end, true},
		{"text in an event out of resources is not told", onward, []string{says("Hello ") + event(`{"content":"LOST"}`, `"insufficient_system_resource"`), says("tail") + end},
			says("Hello ") + says("tail") + end, true},
		{"text in a cut block is not told", onward, []string{says("Hello ") + strings.TrimSuffix(says("LOST"), "\n") + `data: {"choi`, says("tail") + end},
			says("Hello ") + says("tail") + end, true},
		{"a rescue's error frame is kept back", onward, []string{says(long), says("and ") + frame, says("tail") + end},
			says(long) + says("and ") + says("tail") + end, true},
		{"a rescue's named error is kept back", onward, []string{says(long), says("and ") + "event: error\n" + says("boom"), says("tail") + end},
			says(long) + says("and ") + says("tail") + end, true},
		{"an error frame is told once", StreamPolicy{ErrorFrames: true}, []string{says(long), says("and ") + frame}, says(long) + says("and ") + frame, false},
		{"an event in two lines", onward, []string{says(long), "data: {\"id\":\"y\",\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"and\"}}]}\n\n" + end},
			says(long) + "data: {\"id\":\"x\",\"choices\":[{\"index\":0, \"delta\":{\"content\":\"and\"}}]}\n\n" + end, true},
		{"two events in a block", onward, []string{says(long), strings.TrimSuffix(says("one"), "\n") + says("two") + end},
			says(long) + says("one") + says("two") + end, true},
		{"a character in two escapes, going on", onward, []string{says(long), says(`x\ud83d`) + says(`\ude00y`) + end}, says(long) + says(`x\ud83d`) + says(`\ude00y`) + end, true},
		{"a character in two escapes, cut between", onward, []string{says(`Hello \ud83d`), says("tail") + end}, says(`Hello \ud83d`), false},
		{"a character in two escapes, to be cut anew", anew, []string{says("Hello "), says(`Hello x\ud83d`) + says(`\ude00y`) + end}, says("Hello "), false},
		{"bytes that are no text", onward, []string{says("Hello \xff"), says("tail") + end}, says("Hello \xff"), false},
		{"a tool call is not glued", onward, []string{says(long), says("so: ") + tool(`{\"a`), tool(`{\"a\":1}`) + end}, says(long) + says("so: ") + tool(`{\"a`), false},
		{"a tool call before any text is held until it is whole", onward, []string{says(long), tool(`{}`) + end}, says(long) + tool(`{}`) + end, true},
		{"a tool call that breaks while held is not told", onward, []string{says(long), tool(`{\"a`), says("tail") + end}, says(long) + says("tail") + end, true},
		{"a refusal is not glued", onward, []string{says(long), says("but ") + event(`{"refusal":"I can"}`, "null"), event(`{"refusal":"I can not"}`, "null") + end},
			says(long) + says("but ") + event(`{"refusal":"I can"}`, "null"), false},
		{"a refusal in the place of what was told", anew, []string{says("Hello "), event(`{"refusal":"I can"}`, "null") + end}, says("Hello "), false},
		{"a list for a content is not gone on from", onward, []string{says(long), says("a ") + event(`{"content":[{"type":"text","text":"b"}]}`, "null"), says("c") + end},
			says(long) + says("a ") + event(`{"content":[{"type":"text","text":"b"}]}`, "null"), false},
		{"a host that thinks in its own way, and begins anew", onward, []string{says(long), event(`{"reasoning_details":[{"text":"hm"}]}`, "null") + says(long+"tail") + end}, says(long), false},
		{"reasoning by two names", anew, []string{event(`{"reasoning":"ab","reasoning_content":"ab"}`, "null"), event(`{"reasoning":"abc","reasoning_content":"abc"}`, "null") + end},
			event(`{"reasoning":"ab","reasoning_content":"ab"}`, "null"), false},
		{"a host that begins anew, and says of each event that it has not ended", onward, []string{says(long), event(`{"content":"The "}`, `""`) + event(`{"content":"`+long[4:]+`tail"}`, `""`) + end}, says(long), false},
		{"the same, told again", anew, []string{says(long), event(`{"content":"The "}`, `"null"`) + event(`{"content":"`+long[4:]+`tail"}`, `""`) + end},
			says(long) + event(`{"content":"tail"}`, `""`) + end, true},
		{"a message in the place of a delta", anew, []string{says("Hello "), `data: {"choices":[{"index":0,"message":{"content":"Hello world"},"finish_reason":null}]}` + "\n\n" + end}, says("Hello "), false},
		{"two entries of a choice", anew, []string{says("Hello "), `data: {"choices":[{"index":0,"delta":{"content":"Hello "}},{"index":0,"delta":{"content":"world"}}]}` + "\n\n" + end}, says("Hello "), false},
		{"a text as of a completion", anew, []string{`data: {"choices":[{"index":0,"text":"Hello "}]}` + "\n\n", `data: {"choices":[{"index":0,"text":"Hello world"}]}` + "\n\n" + end},
			`data: {"choices":[{"index":0,"text":"Hello "}]}` + "\n\n", false},
		{"a delta beside a message", onward, []string{`data: {"choices":[{"index":0,"delta":{"content":"a "},"message":{"content":"a "}}]}` + "\n\n", says("tail") + end},
			`data: {"choices":[{"index":0,"delta":{"content":"a "},"message":{"content":"a "}}]}` + "\n\n", false},
		{"a content said twice", onward, []string{event(`{"content":"a","content":"b"}`, "null"), says("tail") + end}, event(`{"content":"a","content":"b"}`, "null"), false},
		{"usage that no host means", onward, []string{says(long), says("tail") + `data: {"id":"x","choices":[],"usage":{"completion_tokens":1e300,"total_tokens":-5}}` + "\n\n" + end},
			says(long) + says("tail") + `data: {"id":"x","choices":[],"usage":{"completion_tokens":1e300,"total_tokens":-5}}` + "\n\n" + end, true},
		{"usage is that of both, the first one's by estimate", onward, []string{says(long), says("tail") + usage(5, 9) + end}, says(long) + says("tail") + usage(5+13, 9+13) + end, true},
		{"usage larger than an int of 32 bits", onward, []string{says(long), says("tail") + usage(math.MaxInt32, math.MaxInt32) + end},
			says(long) + says("tail") + strings.ReplaceAll(usage(0, 0), ":0", ":2147483660") + end, true},
		{"usage of an answer told anew is its own", anew, []string{says("Hello "), says("Hello world") + usage(5, 9) + end}, says("Hello ") + says("world") + usage(5, 9) + end, true},
		{"comments go on, if wanted", StreamPolicy{KeepComments: true}, []string{says(long), says("tail") + ": hold on\n" + end}, says(long) + says("tail") + ": hold on\n" + end, true},
		{"an id that comes late", onward, []string{`data: {"id":"","choices":[]}` + "\n\n" + says(long), strings.ReplaceAll(says("tail")+end, `"x"`, `"y"`)},
			`data: {"id":"","choices":[]}` + "\n\n" + says(long) + says("tail") + end, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked, prefix := 0, ""
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				sent, _ := io.ReadAll(req.Body)
				req.Body.Close()
				prefix = gjson.GetBytes(sent, `messages.#(prefix==true).content`).Str
				if asked++; asked > len(tt.streams) {
					return answer(400, asJSON, "{}"), nil
				}
				return answer(200, asStream, tt.streams[asked-1]), nil
			}), WithStream(tt.policy), noBreaker, WithCache(CachePolicy{}), WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk", Host: HostDeepSeek}))
			const body = `{"model":"m","stream":true,"max_tokens":1000,"messages":[{"role":"user","content":"q"}]}`
			got := asks(t.Context(), rt, body)
			if got.body != tt.want || (got.err == nil) != tt.whole || got.err != nil && !outcome.Broke(got.err) {
				t.Errorf("read\n%s%v, want\n%swhole: %v", got.body, got.err, tt.want, tt.whole)
			}
			told := ""
			for block := range strings.SplitSeq(got.body, "\n\n") {
				told += gjson.Get(strings.TrimPrefix(block, "data: "), "choices.0.delta.content").Str
			}
			if !strings.HasPrefix(told, prefix) {
				t.Errorf("a host was asked to go on from %q, told was %q", prefix, told)
			}
			if again := asks(t.Context(), rt, body); strings.Contains(again.header("Cache-Status"), "hit") != tt.whole || tt.whole && again.body != tt.want {
				t.Errorf("again: %s\n%s", again.header("Cache-Status"), again.body)
			}
		})
	}
}

// The caller's own prefix completion is begun anew only where a prefix is
// gone on from, too.
func TestRescue_RestartOfAPrefix(t *testing.T) {
	var asked []string
	rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
		asked = append(asked, req.URL.String())
		return answer(200, asStream, goodEvent), nil
	}), WithStream(StreamPolicy{Rescue: RescueRestart}), noBreaker, WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk", Host: HostDeepSeek}, Endpoint{Name: "b", URL: "https://b", APIKey: "sk"}))
	req, _ := post(t.Context(), "https://a/beta", `{"model":"m","stream":true,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"x","prefix":true}]}`)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, ErrTruncated) {
		t.Errorf("the end is %v, want ErrTruncated", err)
	}
	for _, url := range asked {
		if url != "https://a/beta/chat/completions" {
			t.Errorf("%s was asked", url)
		}
	}
	if len(asked) < 2 {
		t.Errorf("asked %v, want a rescue", asked)
	}
}

// What ends while a rescue is asked for: by a panic of the base, or by the
// caller's cancel.
func TestRescue_EndsEarly(t *testing.T) {
	for _, tt := range []struct {
		name string
		ends func(cancel func())
		want error
	}{
		{"a panic", func(func()) { panic("base") }, ErrTruncated},
		{"the caller's cancel", func(cancel func()) { cancel() }, context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			asked := 0
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				io.Copy(io.Discard, req.Body)
				req.Body.Close()
				if asked++; asked == 2 {
					tt.ends(cancel)
					return nil, req.Context().Err()
				}
				return answer(200, asStream, goodEvent), nil
			}), noBreaker, WithStream(StreamPolicy{ErrorFrames: true}), WithRetry(RetryPolicy{MinDelay: Off}), WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk", Host: HostDeepSeek}))
			req, _ := post(ctx, "https://a", chatStream)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			read := func() (text string, err error) {
				defer func() {
					if p := recover(); p != nil {
						err = fmt.Errorf("panic: %v", p)
					}
				}()
				b, err := io.ReadAll(resp.Body)
				return string(b), err
			}
			text, err := read()
			if err != nil && err.Error() == "panic: base" {
				text, err = read()
			}
			if !errors.Is(err, tt.want) || strings.Contains(text, "error") {
				t.Errorf("read %q, %v, want %v", text, err, tt.want)
			}
		})
	}
}

// Where the stream broke is asked last; but for a better place nobody waits,
// nor is it missed where the others fail.
func TestRescue_WaitsForNoPreference(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		opts   []Option
	}{
		{"the other rests", 429, nil},
		{"the other lacks it", 404, nil},
		{"the other is down", 500, nil},
		{"the other rejects it", 400, nil},
		{"there is no other", 0, []Option{WithErrors()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked []string
				opts := append(tt.opts, noBreaker, WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk", Host: HostDeepSeek}))
				if tt.status != 0 {
					opts = append(opts, WithBackup(Endpoint{Name: "b", URL: "https://b", APIKey: "sk", Host: HostDeepSeek}))
				}
				rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					io.Copy(io.Discard, req.Body)
					req.Body.Close()
					asked = append(asked, req.URL.Host)
					switch {
					case req.URL.Host == "b":
						resp := answer(tt.status, asJSON, `{"error":{"message":"no"}}`)
						if tt.status == 429 {
							resp.Header.Set("Retry-After", "50")
						}
						return resp, nil
					case len(asked) == 1:
						return answer(200, asStream, goodEvent), nil
					}
					return answer(200, asStream, wholeStream), nil
				}), opts...)
				start := time.Now()
				got := asks(t.Context(), rt, chatStream)
				want := "a b a"
				if tt.status == 0 {
					want = "a a"
				}
				if took := time.Since(start); took > 0 || strings.Join(asked, " ") != want || got.status() != 200 {
					t.Errorf("asked %v in %v, want %s, ended in %v", asked, took, want, got.err)
				}
			})
		})
	}
}

// Behind the cut, each event is still passed on as it comes.
func TestRescue_StreamsAreLive(t *testing.T) {
	inWorld(t, "primary second", nil, func(w *world) {
		for _, s := range w.fleet.Servers() {
			s.SetPace(kit.Pace{Tokens: 10, PerToken: time.Second})
			s.BreakNext(1, kit.CutStream(4))
		}
		server := w.fleet.Server("primary")
		req, err := kit.ChatRequest(context.Background(), server.URL(), "sk-caller", testModel, "q", true)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: w.rt}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var seconds []int
		buf := make([]byte, 8192)
		for start := time.Now(); err == nil; {
			var n int
			n, err = resp.Body.Read(buf)
			if at := int(time.Since(start) / time.Second); n > 0 && strings.Contains(string(buf[:n]), `"content":"`) && (len(seconds) == 0 || seconds[len(seconds)-1] != at) {
				seconds = append(seconds, at)
			}
		}
		if len(seconds) < 10 {
			t.Errorf("text came in the seconds %v, want one of each", seconds)
		}
	})
}

// A rescue may be on its way when the caller closes the stream, and has its
// request back: from an Observer, here, which hears of the circuit that it probes.
func TestRescue_IsOfTheRequestAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(refusing)
		var asked []string
		var req *http.Request
		var resp *http.Response
		rt := over(t, base, WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")), WithBreaker(BreakerPolicy{Consecutive: 1}),
			WithRetry(RetryPolicy{Attempts: 1}), WithStream(StreamPolicy{Rescue: RescueRestart}), WithObserver(func(_ context.Context, e Event) {
				if resp != nil && e.Kind == KindCircuit && e.Endpoint == "b" && e.To == "half-open" {
					resp.Body.Close()
					req.Header.Set("User-Agent", "another")
				}
			}))
		asks(t.Context(), rt, chatStream) // opens both circuits
		elapse(time.Minute)
		base.Set("a", gives(200, asStream, goodEvent))
		base.Set("b", func(req *http.Request) (*http.Response, error) {
			asked = append(asked, req.Header.Get("User-Agent"))
			return answer(200, asStream, wholeStream), nil
		})
		req, _ = post(t.Context(), "https://a", chatStream)
		req.Header.Set("User-Agent", "one")
		var err error
		if resp, err = rt.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		if len(asked) != 1 || asked[0] != "one" {
			t.Errorf("the rescue asked as %q, want as the one who made the call", asked)
		}
	})
}

// A rescue does not wait for a better tier: its caller is in the middle of an
// answer.
func TestRescue_WaitsForNoBetterTier(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int // of the better tier, a second before it could serve again
		limits map[string]RatePolicy
	}{
		{"it rests", 429, nil},
		{"it is at its limit", 200, map[string]RatePolicy{"": {PerSecond: 1, Burst: 1, Spill: true}}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			var asked string
			better := deepSeekAt("b")
			better.Limits = tt.limits
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				io.Copy(io.Discard, req.Body)
				req.Body.Close()
				switch asked += req.URL.Host; asked {
				case "b":
					resp := answer(tt.status, asStream, wholeStream)
					resp.Header.Set("Retry-After", "1")
					return resp, nil
				case "ba":
					return answer(200, asStream, goodEvent), nil
				}
				return answer(200, asStream, wholeStream), nil
			}), WithEndpoints(deepSeekAt("a")), WithBackup(better), WithBackup(deepSeekAt("c")))
			asks(WithCall(t.Context(), Call{Endpoint: "b", Attempts: 1}), rt, chatStream)
			start := time.Now()
			asks(t.Context(), rt, chatStream)
			if asked != "bac" || time.Since(start) > 0 {
				t.Errorf("asked %s in %v, want b, a, c at once", asked, time.Since(start))
			}
		})
	}
}
