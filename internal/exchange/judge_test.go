package exchange_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
	"github.com/breakwater-go/breakwater/internal/test/growth"
	"github.com/breakwater-go/breakwater/internal/wire"
)

const (
	goodEvent, endEvent, doneEvent = fakehost.GoodEvent, fakehost.EndEvent, fakehost.DoneEvent
	wholeStream                    = fakehost.WholeStream
	roleEvent                      = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
	errorEvent                     = "data: {\"error\":{\"message\":\"m\",\"code\":429}}\n\n"
	goodJSON                       = fakehost.GoodJSON
	asJSON, asStream               = fakehost.JSON, fakehost.Stream
)

// goodJSON and wholeStream in the other form.
const (
	jsonAsStream = "data: {\"object\":\"chat.completion.chunk\",\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n" +
		"data: {\"object\":\"chat.completion.chunk\",\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n" +
		"data: {\"object\":\"chat.completion.chunk\",\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"total_tokens\":3}}\n\n" + doneEvent
	streamAsJSON = `{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"object":"chat.completion"}`
)

var errReset = errors.New("reset")

// What is committed, and what kind of body it has then.
func TestJudge_Commits(t *testing.T) {
	for _, tt := range []struct {
		name, contentType, text string
		want                    exchange.Want
		header                  []string
		kind                    exchange.Kind
		reads                   string // if not text
	}{
		{"JSON", asJSON, goodJSON, wantJSON, nil, exchange.KindWhole, ""},
		{"JSON behind blank lines", asJSON, "\n \r\n\t" + goodJSON, wantJSON, nil, exchange.KindWhole, goodJSON},
		{"JSON with a null error", asJSON, `{"error":null,"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}`, wantJSON, nil, exchange.KindWhole, ""},
		{"JSON where a stream was asked for", asJSON, goodJSON, wantStream, nil, exchange.KindWhole, jsonAsStream},
		{"JSON of a kind that nobody knows", asJSON, `{"answer":"x"}`, wantJSON, nil, exchange.KindWhole, ""},
		{"JSON of an unknown type", "text/plain", goodJSON, wantJSON, nil, exchange.KindWhole, ""},
		{"a stream", asStream, wholeStream, wantStream, nil, exchange.KindStream, ""},
		{"a stream where JSON was asked for", asStream + "; charset=utf-8", wholeStream, wantJSON, nil, exchange.KindWhole, streamAsJSON},
		{"a stream of an unknown type", "", wholeStream, wantStream, nil, exchange.KindStream, ""},
		{"a stream that is only the end", asStream, endEvent + doneEvent, wantStream, nil, exchange.KindStream, ""},
		{"a stream behind comments", asStream, ": c\n\n\n" + wholeStream, wantStream, nil, exchange.KindStream, wholeStream},
		{"a stream behind a role", asStream, roleEvent + wholeStream, wantStream, nil, exchange.KindStream, ""},
		{"a packed body", asJSON, "packed", wantJSON, []string{"Content-Encoding", "br"}, exchange.KindOpaque, ""},
		{"a packed stream", asStream, "packed", wantStream, []string{"Content-Encoding", "GZIP, identity"}, exchange.KindOpaque, ""},
		{"JSON too large to be checked", asJSON, strings.Repeat(" ", 10) + `{"a":"` + strings.Repeat("b", 2<<20) + `"}`, wantJSON, nil, exchange.KindOpaque, `{"a":"` + strings.Repeat("b", 2<<20) + `"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := fakehost.Answer(200, tt.contentType, tt.text)
			for i := 0; i+1 < len(tt.header); i += 2 {
				resp.Header.Set(tt.header[i], tt.header[i+1])
			}
			came := resp.Body.(*fakehost.Body)
			got := judge(t, policy, tt.want, resp)
			if got.failure != nil || exchange.KindOf(got.resp.Body) != tt.kind {
				t.Fatalf("Judge gave %v, of kind %v, want kind %v", got, exchange.KindOf(got.resp.Body), tt.kind)
			}
			want := tt.reads
			if want == "" {
				want = tt.text
			}
			if got.text != want || got.err != nil {
				t.Errorf("read %d bytes, %v, want %d and a clean end", len(got.text), got.err, len(want))
			}
			if came.Closed() == 0 {
				t.Error("the host's body was not closed")
			}
			if end := got.ended(); tt.kind != exchange.KindWhole && (end.class != outcome.OK || end.bytes != int64(len(want))) {
				t.Errorf("it ended as %+v, want %s with %d bytes", end, outcome.OK, len(want))
			}
		})
	}
}

// Streams and JSON that are no whole answer, however they are dressed.
func TestJudge_NoSuccessInDisguise(t *testing.T) {
	two := wantStream
	two.Choices = 2
	for _, tt := range []struct {
		name              string
		want              exchange.Want
		contentType, text string
		coding            string
	}{
		{"an error event", wantStream, asStream, goodEvent + "event: error\ndata: {\"message\":\"overloaded\"}\n\n" + doneEvent, ""},
		{"a flat error", wantStream, asStream, goodEvent + "data: {\"code\":500,\"msg\":\"x\"}\n\n" + doneEvent, ""},
		{"one choice of two has ended", two, asStream, goodEvent + strings.Replace(goodEvent, `"index":0`, `"index":1`, 1) + endEvent + doneEvent, ""},
		{"a cut stream with a coding that is none", wantStream, asStream, goodEvent, "none"},
		{"a cut stream with a charset for a coding", wantStream, asStream, goodEvent, "utf-8"},
		{"a cut stream, identity in capitals", wantStream, asStream, goodEvent, "Identity"},
		{"an error with a coding that is none", wantJSON, asJSON, `{"error":{"message":"x","code":500}}`, "none"},
		{"a list without choices", wantJSON, asJSON, `{"choices":[]}`, ""},
		{"a flat error of other words", wantJSON, asJSON, `{"code":500,"msg":"system error"}`, ""},
		{"brackets without end", wantJSON, asJSON, strings.Repeat("[", 7<<20), ""},
		{"brackets without end in a stream", wantStream, asStream, goodEvent + "data: " + strings.Repeat("[", 12<<20) + "\n\n", ""},
		{"an error of brackets", wantJSON, asJSON, `{"error":` + strings.Repeat("[", 1<<20), ""},
		{"a page", wantStream, "text/html", "<html>", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := fakehost.Answer(200, tt.contentType, tt.text)
			if tt.coding != "" {
				resp.Header.Set("Content-Encoding", tt.coding)
			}
			large := policy
			large.MaxBuffer = 8 << 20
			if got := judge(t, large, tt.want, resp); got.failure == nil && got.err == nil {
				t.Errorf("it came as a clean answer of %d bytes", len(got.text))
			}
		})
	}
}

// A body that could not be looked into may ask for any number of choices: one
// reason is no end.
func TestJudge_UnknownChoices(t *testing.T) {
	unknown := wantStream
	unknown.Choices = wire.Unknown
	for text, whole := range map[string]bool{
		goodEvent + endEvent + doneEvent: true,
		goodEvent + endEvent:             true, // all that began have ended
		goodEvent + endEvent + "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n": false,
	} {
		if got := judgeText(t, unknown, asStream, text); (got.err == nil) != whole {
			t.Errorf("%q ended in %v, want a clean end: %v", text, got.err, whole)
		}
	}
}

// What a 200 that is no answer amounts to, and what is shown of it.
func TestJudge_Fails(t *testing.T) {
	outOfResources := strings.Replace(endEvent, "stop", "insufficient_system_resource", 1)
	for _, tt := range []struct {
		name        string
		contentType string
		text        string
		end         error // that the host's body ends in; nil: io.EOF
		class       outcome.Class
		status      int
		err         error
		said        string
		shows       string // if not text
		shown       error  // what that ends in
		empty       bool
	}{
		{"JSON cut", asJSON, goodJSON[:20], nil, outcome.BadResponse, 502, outcome.ErrBadResponse, "", "", nil, false},
		{"JSON reset", asJSON, goodJSON[:20], errReset, outcome.BadResponse, 502, outcome.ErrTruncated, "", "", nil, false},
		{"JSON reset at once", asJSON, "", errReset, outcome.BadResponse, 502, errReset, "", "", nil, true},
		{"nothing", asJSON, "", nil, outcome.BadResponse, 502, outcome.ErrBadResponse, "", "", nil, true},
		{"a page", "text/html", "<html>", nil, outcome.BadResponse, 502, outcome.ErrBadResponse, "", "", nil, false},
		{"JSON out of resources", asJSON, strings.Replace(goodJSON, "stop", "insufficient_system_resource", 1), nil, outcome.Unavailable, 503, outcome.ErrBadResponse, "", "", nil, false},
		{"JSON with an error of a status", asJSON, `{"error":{"message":"m","code":429}}`, nil, "", 429, outcome.ErrBadResponse, `{"error":{"message":"m","code":429}}`, "", nil, false},
		{"JSON with an error", asJSON, `{"error":"m"}`, nil, "", 502, outcome.ErrBadResponse, `{"error":"m"}`, "", nil, false},

		{"a stream of nothing", asStream, "", nil, outcome.BadResponse, 502, outcome.ErrTruncated, "", "", nil, true},
		{"a stream of comments", asStream, ": c\n\n: c\n\n\n", nil, outcome.BadResponse, 502, outcome.ErrTruncated, "", "none", nil, true},
		{"a stream reset at once", asStream, "", errReset, outcome.BadResponse, 502, errReset, "", "", nil, true},
		{"a stream of a role", asStream, roleEvent, nil, outcome.BadResponse, 0, outcome.ErrTruncated, "", "", outcome.ErrTruncated, false},
		{"a stream reset", asStream, roleEvent, errReset, outcome.BadResponse, 0, errReset, "", "", outcome.ErrTruncated, false},
		{"a stream cut within an event", asStream, roleEvent + "data: {", nil, outcome.BadResponse, 0, outcome.ErrTruncated, "", roleEvent, outcome.ErrTruncated, false},
		{"a stream malformed", asStream, roleEvent + "data: {\n\n" + doneEvent, nil, outcome.BadResponse, 0, outcome.ErrBadResponse, "", roleEvent + "data: {\n\n", outcome.ErrBadResponse, false},
		{"the terminator alone", asStream, doneEvent, nil, outcome.BadResponse, 0, outcome.ErrBadResponse, "", "", outcome.ErrBadResponse, false},
		{"a stream out of resources", asStream, roleEvent + outOfResources, nil, outcome.Unavailable, 0, outcome.ErrTruncated, "", "", outcome.ErrTruncated, false},
		{"an error in a stream", asStream, roleEvent + errorEvent + doneEvent, nil, "", 429, outcome.ErrBadResponse, `{"error":{"message":"m","code":429}}`, roleEvent + errorEvent, outcome.ErrBadResponse, false},
		{"an event too large", asStream, "data: " + strings.Repeat("x", exchange.MaxEvent+1), nil, outcome.BadResponse, 502, outcome.ErrBadResponse, "", "none", nil, true},
		{"too much without payload", asStream, strings.Repeat("data: {\"x\":\""+strings.Repeat("x", 1<<20)+"\"}\n\n", 20), nil, outcome.BadResponse, 0, outcome.ErrBadResponse, "", strings.Repeat("data: {\"x\":\""+strings.Repeat("x", 1<<20)+"\"}\n\n", 15), outcome.ErrBadResponse, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var body io.Reader = strings.NewReader(tt.text)
			if tt.end != nil {
				body = io.MultiReader(body, iotest.ErrReader(tt.end))
			}
			resp := fakehost.AnswerFrom(200, tt.contentType, body)
			resp.Header.Set("Content-Length", "1234")
			got := judge(t, policy, wantStream, resp)
			f := got.failure
			if f == nil {
				t.Fatalf("it was committed: %v", got)
			}
			if f.Class != tt.class || f.Status != tt.status || !errors.Is(f.Err, tt.err) || string(f.Body) != tt.said || f.Empty != tt.empty || f.Refused {
				t.Errorf("it failed as %+v, want class %q, status %d, %v, said %q, empty: %v", f, tt.class, tt.status, tt.err, tt.said, tt.empty)
			}
			shows := tt.shows
			switch shows {
			case "":
				shows = tt.text
			case "none":
				shows = ""
			}
			if got.text != shows || !errors.Is(got.err, tt.shown) || (got.err == nil) != (tt.shown == nil) {
				t.Errorf("it shows %d bytes, %v, want %d and %v", len(got.text), got.err, len(shows), tt.shown)
			}
			length := ""
			if tt.shown == nil {
				length = fmt.Sprint(len(shows))
			}
			if tt.status != 0 && tt.shown == nil && f.Resp.StatusCode != tt.status || f.Resp.Header.Get("Content-Length") != length {
				t.Errorf("it is shown as %d with length %q, want %d with %q", f.Resp.StatusCode, f.Resp.Header.Get("Content-Length"), tt.status, length)
			}
		})
	}
}

// An error of the host's body does not tell what it may quote.
func TestJudge_QuotesNothing(t *testing.T) {
	secret := fmt.Errorf("https://user:key@host: %w", outcome.ErrStalled)
	for _, contentType := range []string{asJSON, asStream} {
		got := judge(t, policy, wantStream, fakehost.AnswerFrom(200, contentType, iotest.ErrReader(secret)))
		if f := got.failure; f == nil || strings.Contains(f.Err.Error(), "key") || !errors.Is(f, secret) {
			t.Errorf("%s: it failed as %v, which should be %v and not quote it", contentType, got, secret)
		}
	}
}

// A refusal is read whole, up to a size and a time, and its body closed.
func TestJudge_Refusals(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		name   string
		status int
		body   io.Reader
		reads  string
		err    error
	}{
		{"a refusal", 400, strings.NewReader(`{"error":"m"}`), `{"error":"m"}`, nil},
		{"an empty one", 503, strings.NewReader(""), "", nil},
		{"a redirect", 302, strings.NewReader("moved"), "moved", nil},
		{"the largest", 500, strings.NewReader(large), large, nil},
		{"one too large", 500, strings.NewReader(large + "x"), large, outcome.ErrTruncated},
		{"one reset", 500, io.MultiReader(strings.NewReader("a"), iotest.ErrReader(errReset)), "a", errReset},
		{"one that brings nothing", 500, fakehost.ReaderFunc(func([]byte) (int, error) { return 0, nil }), "", io.ErrNoProgress},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := judge(t, policy, wantJSON, fakehost.AnswerFrom(tt.status, asJSON, tt.body))
			f := got.failure
			if f == nil || f.Class != "" || f.Status != tt.status || !f.Refused || f.Err != nil || f.Resp.StatusCode != tt.status {
				t.Fatalf("it came as %v, %+v, want a refusal of status %d", got, f, tt.status)
			}
			if got.text != tt.reads || !errors.Is(got.err, tt.err) || (got.err == nil) != (tt.err == nil) {
				t.Errorf("it shows %d bytes, %v, want %d and %v", len(got.text), got.err, len(tt.reads), tt.err)
			}
			if !strings.HasPrefix(string(f.Body), tt.reads) {
				t.Errorf("it said %d bytes, want all that came", len(f.Body))
			}
		})
	}
}

// The body of a refusal may not take for ever, and who leaves meanwhile leaves. Where
// the status says all, no more time is given than to what is thrown away.
func TestJudge_SlowRefusals(t *testing.T) {
	const drainWait, refusalPause = 50 * time.Millisecond, 500 * time.Millisecond
	for _, tt := range []struct {
		status int
		wait   time.Duration
	}{
		{500, drainWait}, {502, drainWait}, {503, drainWait}, {529, drainWait}, {429, drainWait}, {408, drainWait}, {425, drainWait},
		{400, refusalPause}, {401, refusalPause}, {403, refusalPause}, {404, refusalPause}, {413, refusalPause}, {307, refusalPause},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := send(t.Context(), policy)
			defer s.leave()
			s.serves(true)
			s.FirstPayload.Start(&s.Exchange, time.Second, false) // it is a refusal: that is judged
			resp := fakehost.Answer(tt.status, asJSON, "")
			body := s.faucet("slow")
			resp.Body = body
			_, f := s.Judge(resp, wantJSON)
			if took := time.Since(s.Start); took != tt.wait || !body.Closed() {
				t.Errorf("%d: it took %v, its body closed: %v, want %v", tt.status, took, body.Closed(), tt.wait)
			}
			if text, err := read(f.Resp.Body); f.Status != tt.status || text != "slow" || !errors.Is(err, outcome.ErrTruncated) {
				t.Errorf("%d: it failed as %+v, showing %q, %v", tt.status, f, text, err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := send(t.Context(), policy)
		defer s.leave()
		time.AfterFunc(20*time.Millisecond, s.leave)
		resp := fakehost.Answer(429, asJSON, "")
		body := s.faucet("slow")
		resp.Body = body
		_, f := s.Judge(resp, wantJSON)
		if took := time.Since(s.Start); f.Class != outcome.Canceled || f.Resp != nil || took != 20*time.Millisecond || !body.Closed() {
			t.Errorf("it failed as %+v after %v, want %s after 20ms", f, took, outcome.Canceled)
		}
	})
}

// A refusal whose words matter is read whole as long as it goes on coming, up to ten
// seconds.
func TestJudge_SteadyRefusals(t *testing.T) {
	for _, tt := range []struct {
		every time.Duration
		parts int
		reads int
		took  time.Duration
	}{
		{400 * time.Millisecond, 10, 10, 4 * time.Second},
		{499 * time.Millisecond, 100, 20, 10 * time.Second},
		{time.Second, 10, 0, 500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := send(t.Context(), policy)
			defer s.leave()
			resp := fakehost.Answer(400, asJSON, "")
			body := s.faucet("")
			resp.Body = body
			over := make(chan struct{})
			go func() {
				defer close(over)
				for range tt.parts {
					time.Sleep(tt.every)
					body.Send("x")
				}
				body.End()
			}()
			_, f := s.Judge(resp, wantJSON)
			took := time.Since(s.Start)
			text, err := read(f.Resp.Body)
			if len(text) != tt.reads || took != tt.took || (err == nil) != (tt.reads == tt.parts) {
				t.Errorf("a part every %v: %d of %d came, %v, in %v, want %d in %v", tt.every, len(text), tt.parts, err, took, tt.reads, tt.took)
			}
			<-over
		})
	}
}

// An empty event is some gateways' keep-alive.
func TestJudge_EmptyEventsAreKeepAlives(t *testing.T) {
	got := judgeText(t, wantStream, asStream, "data:\n\n"+goodEvent+"data:\n\n"+endEvent+doneEvent)
	if got.failure != nil || got.err != nil || !strings.HasSuffix(got.text, doneEvent) {
		t.Errorf("it came as %v, want the whole stream", got)
	}
}

// Comments are passed on if they are to be, before the commit and after it.
func TestJudge_KeepComments(t *testing.T) {
	text := ": a\n" + goodEvent + ": b\n\n" + endEvent + doneEvent
	for _, keep := range []bool{true, false} {
		p := policy
		p.KeepComments = keep
		want := map[bool]string{true: text, false: wholeStream}[keep]
		resp := fakehost.Answer(200, asStream, text)
		resp.ContentLength = int64(len(text))
		got := judge(t, p, wantStream, resp)
		if got.text != want || got.err != nil || got.resp.ContentLength != -1 {
			t.Errorf("keep %v: read %q, %v of length %d, want %q of unknown length", keep, got.text, got.err, got.resp.ContentLength, want)
		}
	}
}

// Time is linear in the lines of an event: a tenth of a second for two million,
// where the square of them would take minutes.
func TestJudge_ManyLinesOfData(t *testing.T) {
	growth.Linear(t, 1<<15, func(lines int) {
		got := judgeText(t, wantStream, asStream, strings.Repeat("data:\n", lines)+"\n")
		if got.failure == nil || got.failure.Class != outcome.BadResponse {
			t.Errorf("%d lines came as %v, want a failure of class %s", lines, got, outcome.BadResponse)
		}
	})
}

// Hosts that forget the blank lines between events are understood.
func TestJudge_EventsRunTogether(t *testing.T) {
	text := strings.ReplaceAll(goodEvent+endEvent+doneEvent, "\n\n", "\n") + "\n"
	if got := judgeText(t, wantStream, asStream, text); got.text != text || got.err != nil {
		t.Errorf("it came as %v, want all of it and a clean end", got)
	}
}

// The length that a server tells is believed up to a point.
func TestJudge_Lengths(t *testing.T) {
	for _, length := range []int64{-1, 0, 1, int64(len(goodJSON)), 1 << 62, 1<<63 - 1} {
		resp := fakehost.Answer(200, asJSON, goodJSON)
		resp.ContentLength = length
		resp.Header.Set("Content-Length", "7")
		got := judge(t, policy, wantJSON, resp)
		if got.text != goodJSON || got.resp.ContentLength != int64(len(goodJSON)) || got.resp.Header.Get("Content-Length") != fmt.Sprint(len(goodJSON)) {
			t.Errorf("length %d: it came as %v of length %d (%s)", length, got, got.resp.ContentLength, got.resp.Header.Get("Content-Length"))
		}
	}
}

// With error frames on, a stream that breaks tells so in an event of its wire,
// before the commit and after it, unless the host has.
func TestJudge_ErrorFrames(t *testing.T) {
	frame := func(code string) string {
		return string(wire.Chat.ErrorEvent(code, "breakwater: the stream broke off: "+code))
	}
	on := policy
	on.ErrorFrames = true
	for _, tt := range []struct{ name, text, want string }{
		{"before the commit", roleEvent, roleEvent + frame("truncated")},
		{"before the commit, within a block", strings.TrimSuffix(roleEvent, "\n"), strings.TrimSuffix(roleEvent, "\n") + "\n\n" + frame("truncated")},
		{"before the commit, malformed", roleEvent + "data: {\n\n", roleEvent + frame("bad_response")},
		{"before the commit, told by the host", roleEvent + errorEvent, roleEvent + errorEvent},
		{"behind it", goodEvent, goodEvent + frame("truncated")},
		{"behind it, within a block", strings.TrimSuffix(goodEvent, "\n"), strings.TrimSuffix(goodEvent, "\n") + "\n\n" + frame("truncated")},
		{"behind it, malformed", goodEvent + "data: {\n\n", goodEvent + frame("bad_response")},
		{"behind it, told by the host", goodEvent + errorEvent, goodEvent + errorEvent},
		{"not at all", wholeStream, wholeStream},
		{"behind the answer", goodEvent + endEvent + errorEvent, goodEvent + endEvent + errorEvent},
	} {
		if got := judge(t, on, wantStream, fakehost.Answer(200, asStream, tt.text)); got.text != tt.want {
			t.Errorf("%s: read %q, want %q", tt.name, got.text, tt.want)
		}
	}
}

func TestPolicy_LastEvent(t *testing.T) {
	on, off := exchange.Policy{ErrorFrames: true}, exchange.Policy{}
	ours := string(wire.Messages.ErrorEvent("stalled", "breakwater: the stream broke off: stalled"))
	for _, tt := range []struct {
		policy exchange.Policy
		said   string
		err    error
		open   bool
		want   string
	}{
		{off, "", outcome.ErrStalled, false, ""},
		{off, "said", outcome.ErrBadResponse, false, "said"},
		{off, "said", outcome.ErrBadResponse, true, "\n\nsaid"},
		{on, "said", outcome.ErrBadResponse, false, "said"},
		{on, "", outcome.ErrStalled, false, ours},
		{on, "", outcome.ErrStalled, true, "\n\n" + ours},
		{on, "", io.EOF, false, ""},
	} {
		if got := string(tt.policy.LastEvent(wire.Messages, []byte(tt.said), tt.err, tt.open)); got != tt.want {
			t.Errorf("LastEvent(%q, %v, %v) with frames %v = %q, want %q", tt.said, tt.err, tt.open, tt.policy.ErrorFrames, got, tt.want)
		}
	}
}
