package breakwater

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// A part is what a host sends after a while.
type part struct {
	after time.Duration
	text  string
}

// sendsOn answers with a stream of those parts, which ends in end; nil: it stays open.
func sendsOn(end error, parts ...part) handler {
	return func(req *http.Request) (*http.Response, error) {
		f := fakehost.NewFaucet(req, "")
		go func() {
			for _, p := range parts {
				if fakehost.Sleep(req.Context(), p.after) != nil {
					return
				}
				f.Send(p.text)
			}
			if end != nil {
				f.Break(end)
			}
		}()
		return f.Answer(), nil
	}
}

const (
	reviewed        = `{"model":"m","stream":true,"safety_check":{"level":"high"},"thinking":{"type":"disabled"},"messages":[{"role":"user","content":"q"}]}`
	reviewedALittle = `{"model":"m","stream":true,"safety_check":{"level":"low"},"thinking":{"type":"disabled"},"messages":[{"role":"user","content":"q"}]}`
	filteredEvent   = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\n"
	riskEvent       = "data: {\"error\":{\"message\":\"Content Exists Risk\",\"type\":\"invalid_request_error\",\"code\":\"invalid_request_error\"}}\n\n"
)

// The host may review a whole answer after its last text, and refuse it then. The verdict
// reaches the caller, and silence is no stall for as long as the policy says.
func TestReview(t *testing.T) {
	for _, tt := range []struct {
		name, ask string
		end       error
		parts     []part
		ends      error
		class     Class
		requests  int
		took      time.Duration
	}{
		{"passed", reviewed, io.EOF, []part{{0, goodEvent}, {4 * time.Minute, endEvent + doneEvent}}, nil, ClassOK, 1, 4 * time.Minute},
		{"passed, the reason before it", reviewed, io.EOF, []part{{0, goodEvent + endEvent}, {4 * time.Minute, doneEvent}}, nil, ClassOK, 1, 4 * time.Minute},
		{"filtered", reviewed, io.EOF, []part{{0, goodEvent}, {4 * time.Minute, filteredEvent + doneEvent}}, nil, ClassOK, 1, 4 * time.Minute},
		{"filtered behind the reason", reviewed, io.EOF, []part{{0, goodEvent + endEvent}, {4 * time.Minute, filteredEvent + doneEvent}}, nil, ClassOK, 1, 4 * time.Minute},
		{"refused behind the reason", reviewed, io.EOF, []part{{0, goodEvent + endEvent}, {time.Minute, riskEvent + doneEvent}}, ErrBadResponse, ClassFiltered, 1, time.Minute},
		{"refused", reviewed, io.EOF, []part{{0, goodEvent}, {time.Minute, riskEvent + doneEvent}}, ErrBadResponse, ClassFiltered, 1, time.Minute},
		{"no terminator", reviewed, io.EOF, []part{{0, goodEvent + endEvent}}, ErrTruncated, ClassTruncated, 1, 0},
		{"reset during the review", reviewed, errors.New("reset"), []part{{0, goodEvent + endEvent}, {time.Minute, ": c\n\n"}}, ErrTruncated, ClassTruncated, 1, time.Minute},
		{"endless", reviewed, nil, []part{{0, goodEvent}}, ErrStalled, ClassStalled, 1, 5 * time.Minute},
		{"endless, with the reason", reviewed, nil, []part{{0, goodEvent + endEvent}}, ErrStalled, ClassStalled, 1, 5 * time.Minute},
		{"endless, with keep-alives", reviewed, nil, append([]part{{0, goodEvent + endEvent}}, slicesOf(100, part{10 * time.Second, ": keep-alive\n\n"})...), ErrStalled, ClassStalled, 1, 5 * time.Minute},
		{"level low is no review", reviewedALittle, io.EOF, []part{{0, goodEvent + endEvent}}, nil, ClassOK, 1, 0},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(sendsOn(tt.end, tt.parts...))
			rt := over(t, base, WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")), WithCache(CachePolicy{}))
			start := time.Now()
			got := asks(t.Context(), rt, tt.ask)
			took := time.Since(start)
			if !errors.Is(got.err, tt.ends) || (tt.ends == nil) != (got.err == nil) || took != tt.took {
				t.Errorf("got %v after %v, want it to end in %v after %v", got, took, tt.ends, tt.took)
			}
			all := ""
			for _, p := range tt.parts {
				all += p.text
			}
			if all = strings.ReplaceAll(all, ": keep-alive\n\n", ""); got.body != strings.ReplaceAll(strings.TrimSuffix(all, riskEvent+doneEvent), ": c\n\n", "") && !strings.HasPrefix(all, got.body) {
				t.Errorf("the caller read %q of %q", got.body, all)
			}
			if strings.Contains(all, riskEvent) && !strings.HasSuffix(got.body, riskEvent) || strings.Contains(all, filteredEvent) && !strings.Contains(got.body, filteredEvent) {
				t.Errorf("the verdict did not reach the caller: %q", got.body)
			}
			trail := TrailOf(got.resp)
			if len(trail) != tt.requests || base.Count("") != tt.requests || trail[len(trail)-1].Class != tt.class {
				t.Errorf("the trail is %+v, want %d requests and class %s", trail, tt.requests, tt.class)
			}
			if last := trail[len(trail)-1]; tt.class == ClassStalled && last.Unrescued != ReasonReview || tt.class == ClassFiltered && last.Unrescued != ReasonRefused {
				t.Errorf("it was not continued because of %q", last.Unrescued)
			}
			if kept := rt.Status().Cache.Entries > 0; kept != (tt.class == ClassOK && !strings.Contains(all, "content_filter")) {
				t.Errorf("kept: %v", kept)
			}
		})
	}
}

func slicesOf(n int, p part) []part {
	var all []part
	for range n {
		all = append(all, p)
	}
	return all
}

// A reviewed stream that breaks off within its text is continued where it is reviewed, too.
func TestReview_RescuedWithinTheText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		base := newHosts(func(req *http.Request) (*http.Response, error) {
			asked = append(asked, req.URL.Host)
			if len(asked) == 1 {
				return sendsOn(errors.New("reset"), part{0, event("good text")})(req)
			}
			return sendsOn(io.EOF, part{0, event(" and more") + endEvent + doneEvent})(req)
		})
		rt := over(t, base, WithEndpoints(deepSeekAt("a")), WithBackup(Endpoint{Name: "c", URL: "https://c", APIKey: "sk-c"}))
		got := asks(t.Context(), rt, reviewed)
		if got.err != nil || textOf(got.body) != "good text and more" || strings.Join(asked, " ") != "a a" {
			t.Errorf("got %v from %v, want the rest from the host that reviews", got, asked)
		}
	})
}

// On the other wires, too, a review is no stall, and its verdict reaches the caller.
func TestReview_OnOtherWires(t *testing.T) {
	const (
		text     = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n"
		reason   = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n"
		stop     = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
		refused  = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"Content Exists Risk\"}}\n\n"
		delta    = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n"
		complete = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[{}]}}\n\n"
		failed   = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"invalid_request_error\",\"message\":\"Content Exists Risk\"}}}\n\n"
		check    = `,"stream":true,"safety_check":{"level":"high"}`
		messages = `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}]` + check + `}`
		response = `{"model":"m","input":"q"` + check + `}`
	)
	for _, tt := range []struct {
		name, path, ask string
		first, last     string
		ends            error
	}{
		{"messages, passed", "/anthropic/v1/messages", messages, text + reason, stop, nil},
		{"messages, refused behind the reason", "/anthropic/v1/messages", messages, text + reason, refused, ErrBadResponse},
		{"messages, no terminator", "/anthropic/v1/messages", messages, text + reason, "", ErrTruncated},
		{"responses, passed", "/responses", response, delta, complete, nil},
		{"responses, refused", "/responses", response, delta, failed, ErrBadResponse},
		{"responses, no terminator", "/responses", response, delta, "", ErrTruncated},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(sendsOn(io.EOF, part{0, tt.first}, part{4 * time.Minute, tt.last}))
			rt := over(t, base, WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")), WithBreaker(BreakerPolicy{Consecutive: 2}))
			start := time.Now()
			got := asks(t.Context(), rt, tt.ask, func(req *http.Request) { req.URL.Path = tt.path })
			if took := time.Since(start); took != 4*time.Minute || got.body != tt.first+tt.last || !errors.Is(got.err, tt.ends) || (tt.ends == nil) != (got.err == nil) || base.Count("") != 1 {
				t.Errorf("got %v after %v and %d requests, want it to end in %v after the review", got, took, base.Count(""), tt.ends)
			}
		})
	}
}

// The host's own tools are a sign of life, up to a bound.
func TestToolWork(t *testing.T) {
	const (
		created   = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"status\":\"in_progress\",\"output\":[]}}\n\n"
		added     = "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"web_search_call\",\"id\":\"ws\",\"status\":\"in_progress\"}}\n\n"
		searching = "event: response.web_search_call.searching\ndata: {\"type\":\"response.web_search_call.searching\",\"output_index\":0,\"item_id\":\"ws\"}\n\n"
		text      = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n"
		completed = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[{}]}}\n\n"
		question  = `{"model":"m","stream":true,"tools":[{"type":"web_search"}],"input":"q"}`
	)
	steps := slicesOf(20, part{20 * time.Second, searching})
	for _, tt := range []struct {
		name  string
		parts []part
		ends  error
		took  time.Duration
	}{
		{"twenty steps", append(append([]part{{time.Second, created + added}}, steps...), part{20 * time.Second, text + completed}), nil, 421 * time.Second},
		{"silent after a step", []part{{time.Second, created + added}, {20 * time.Second, searching}}, ErrStalled, 81 * time.Second},
		{"endless", append([]part{{0, created + added}}, slicesOf(1000, part{10 * time.Second, searching})...), ErrStalled, 15 * time.Minute},
	} {
		for setup, opts := range map[string][]Option{
			"alone": nil, "backed": {WithEndpoints(at("a")...), WithBackup(at("b")...)}, "no limit for stalls": {WithStream(StreamPolicy{Stall: Off})},
		} {
			if setup == "no limit for stalls" && tt.name == "silent after a step" {
				continue
			}
			bubble(t, tt.name+"/"+setup, func(t *testing.T) {
				base := newHosts(sendsOn(nil, tt.parts...))
				rt := over(t, base, append(opts, once)...)
				start := time.Now()
				got := asks(t.Context(), rt, question, func(req *http.Request) { req.URL.Path = "/v1/responses" })
				if took := time.Since(start); !errors.Is(got.err, tt.ends) || (tt.ends == nil) != (got.err == nil) || took < tt.took || took > tt.took+time.Minute || base.Count("") != 1 {
					t.Errorf("got %v after %v and %d requests, want it to end in %v after %v", got, took, base.Count(""), tt.ends, tt.took)
				}
			})
		}
	}
}

// An answer that comes too slowly is given up: before its first byte reached the caller in
// favour of another endpoint, and behind it in an error, or in a rescue.
func TestMinRate(t *testing.T) {
	policy := WithStream(StreamPolicy{MinRate: 50, MinRateWindow: 30 * time.Second, Rescue: RescueOff})
	slow, fast := slicesOf(100, part{10 * time.Second, goodEvent}), slicesOf(100, part{time.Second, goodEvent})
	for _, tt := range []struct {
		name  string
		parts []part
		ends  error
		took  time.Duration
	}{
		{"fast", append(fast, part{0, endEvent + doneEvent}), nil, 100 * time.Second},
		{"slow", append(slow, part{0, endEvent + doneEvent}), ErrStalled, 40 * time.Second},
		{"slow after a while", append(slicesOf(60, part{time.Second, goodEvent}), slow...), ErrStalled, 90 * time.Second},
		{"one gap", append(slicesOf(40, part{time.Second, strings.Repeat(goodEvent, 2)}), part{20 * time.Second, goodEvent + endEvent + doneEvent}), nil, time.Minute},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			rt := over(t, newHosts(sendsOn(io.EOF, tt.parts...)), policy)
			start := time.Now()
			got := asks(t.Context(), rt, chatStream)
			if took := time.Since(start); !errors.Is(got.err, tt.ends) || (tt.ends == nil) != (got.err == nil) || took > tt.took+30*time.Second || took < tt.took-30*time.Second {
				t.Errorf("it ended in %v after %v, want %v after about %v", got.err, took, tt.ends, tt.took)
			}
			if tt.ends != nil && !strings.Contains(got.err.Error(), "too slow") {
				t.Errorf("the error is %v, which does not say why", got.err)
			}
		})
	}
	bubble(t, "slow, and no limit for stalls", func(t *testing.T) {
		rt := over(t, newHosts(sendsOn(io.EOF, append(slow, part{0, endEvent + doneEvent})...)), WithStream(StreamPolicy{MinRate: 50, Stall: Off, Rescue: RescueOff}))
		if got := asks(t.Context(), rt, chatStream); !errors.Is(got.err, ErrStalled) {
			t.Errorf("it ended in %v, want it given up", got.err)
		}
	})
	bubble(t, "rescued", func(t *testing.T) {
		base := newHosts(sendsOn(io.EOF, append(slow, part{0, endEvent + doneEvent})...))
		base.Set("b", gives(200, asStream, event("!")+endEvent+doneEvent))
		rt := over(t, base, WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")), WithStream(StreamPolicy{MinRate: 50}))
		ask := strings.Replace(chatStream, "{", `{"thinking":{"type":"disabled"},`, 1)
		if got := asks(t.Context(), rt, ask); got.err != nil || !strings.HasSuffix(textOf(got.body), "hi!") || base.Count("b") != 1 {
			t.Errorf("got %v, want the rest from the backup", got)
		}
	})
	for name, backed := range map[string]bool{"a stream for JSON, backed": true, "a stream for JSON, alone": false} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(sendsOn(io.EOF, append(slow, part{0, endEvent + doneEvent})...))
			base.Set("b", gives(200, asJSON, goodJSON))
			opts := []Option{policy, once, WithEndpoints(at("a")...)}
			if backed {
				opts = append(opts, WithBackup(at("b")...))
			}
			if got := asks(t.Context(), over(t, base, opts...), chatJSON); got.err != nil || got.status() != 200 || (base.Count("b") == 1) != backed {
				t.Errorf("got %v, %d from the backup", got, base.Count("b"))
			}
		})
	}
	for name, backed := range map[string]bool{"JSON, backed": true, "JSON, alone": false} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				resp, err := sendsOn(io.EOF, append(slicesOf(100, part{5 * time.Second, " "}), part{0, "}"})...)(req)
				resp.Header.Set("Content-Type", asJSON)
				f := resp.Body.(*fakehost.Faucet)
				f.Send(strings.TrimSuffix(goodJSON, "}"))
				return resp, err
			})
			base.Set("b", gives(200, asJSON, goodJSON))
			opts := []Option{policy, WithEndpoints(at("a")...)}
			if backed {
				opts = append(opts, WithBackup(at("b")...))
			}
			start := time.Now()
			got := asks(t.Context(), over(t, base, opts...), chatJSON)
			if took := time.Since(start); got.err != nil || got.status() != 200 || (base.Count("b") == 1) != backed || backed != (took < time.Minute) {
				t.Errorf("got %v after %v, %d from the backup", got, took, base.Count("b"))
			}
		})
	}
}
