package sdktest

import (
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// An outcome is what the SDK's user sees of a call. Of from, api and broken,
// one is set.
type outcome struct {
	from   string   // the host whose whole and right answer it is
	api    APIError // the SDK's typed error; its message is matched in part
	broken string   // part of another error's text; never a clean end
	trail  string   // as sum tells it
}

// A behaviour is one row: how the hosts fail, and what follows from it.
type behaviour struct {
	name            string
	primary, backup kit.Fault
	pace            kit.Pace // of the primary
	tool            string
	ownKey          bool
	want            outcome
	stream          *outcome // where it differs for a stream
}

const (
	busy = "Service is too busy."

	busyOpenAI = "The server is currently overloaded: the service is too busy. Please try again later." // as the backup says it
	failed     = "Internal server error, please try again later."
	unknown    = "Invalid 'temperature': want a number up to 2."
	noBody     = ""
)

var invalid = kit.Status(400, "application/json",
	`{"error":{"message":"`+unknown+`","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}`)

var (
	fromPrimary = outcome{from: "primary", trail: "1 primary ok"}
	truncated   = outcome{broken: breakwater.ErrTruncated.Error(), trail: "1 primary truncated"}
)

// after is an answer of the backup, after what the primary did.
func after(trouble string) outcome { return outcome{from: "backup", trail: trouble + ", 1 backup ok"} }

func refusal(status int, message, trail string) outcome {
	return outcome{api: APIError{status, message}, trail: trail}
}

var behaviours = []behaviour{
	{name: "all is well", want: fromPrimary},
	{name: "a tool is called", tool: "get_weather", want: fromPrimary},
	{name: "no [DONE]", primary: kit.NoDone(), want: fromPrimary},
	// go-openai alone gives up after 300 lines without an event.
	{name: "a long queue", pace: kit.Pace{Queue: 400 * time.Millisecond, KeepAlive: time.Millisecond}, want: fromPrimary},

	{name: "primary refuses connections", primary: kit.Refused(), want: after("1 primary unreachable")},
	{name: "primary resets connections", primary: kit.Reset(), want: after("1 primary unreachable")},
	{name: "primary is busy", primary: kit.Busy(), want: after("2 primary unavailable")},
	{name: "primary is busy, and a tool is called", primary: kit.Busy(), tool: "get_weather", want: after("2 primary unavailable")},
	{name: "primary limits for longer than anybody waits", primary: kit.TooManyRequests("600"), want: after("1 primary rate_limited")},
	{name: "primary rejects our key", primary: kit.Unauthorized(), want: after("1 primary key_rejected")},
	{name: "primary has no money of ours", primary: kit.InsufficientBalance(), want: after("1 primary no_funds")},

	{name: "error inside a 200", primary: kit.ErrorInside(), want: after("2 primary unavailable")},
	{name: "error text inside a 200", primary: kit.ErrorStringInside(), want: after("2 primary unavailable")},
	{name: "flat error inside a 200", primary: kit.FlatErrorInside(), want: after("2 primary unavailable")},
	{name: "a web page inside a 200", primary: kit.HTMLInside(), want: after("2 primary bad_response")},
	{name: "nothing inside a 200", primary: kit.EmptyInside(), want: after("2 primary bad_response")},
	{name: "cut JSON", primary: kit.CutJSON(), want: after("2 primary bad_response")},
	{name: "malformed JSON", primary: kit.MalformedJSON(), want: after("2 primary bad_response")},

	// What a stream has said cannot be taken back; JSON is checked whole before.
	{name: "a stream is cut by a reset", primary: kit.CutStream(3), want: after("2 primary bad_response"), stream: &truncated},
	{name: "a stream ends before its time", primary: kit.EndStream(3), want: fromPrimary, stream: &truncated},
	{name: "a tool's arguments are cut", primary: kit.EndStream(3), tool: "get_weather", want: fromPrimary, stream: &truncated},
	{name: "out of resources midway", primary: kit.OutOfResources(), want: after("2 primary unavailable"), stream: &truncated},
	{name: "an error frame midway", primary: kit.ErrorFrame(3), want: after("2 primary unavailable"),
		stream: &outcome{broken: failed, trail: "1 primary unavailable"}},

	{name: "a wrong request", primary: invalid, want: refusal(400, unknown, "1 primary refused")},
	{name: "nobody takes our keys", primary: kit.Unauthorized(), backup: kit.Unauthorized(),
		want: refusal(401, "Authentication Fails", "1 primary key_rejected, 1 backup key_rejected")},
	{name: "nobody has money of ours", primary: kit.InsufficientBalance(), backup: kit.InsufficientBalance(),
		want: refusal(402, "Insufficient Balance", "1 primary no_funds, 1 backup no_funds")},

	{name: "the caller's own key", ownKey: true, want: fromPrimary},
	{name: "the caller's own key stays at home", ownKey: true, primary: kit.Refused(), want: after("1 primary unreachable")},
	{name: "the caller's own key is rejected", ownKey: true, primary: kit.Unauthorized(),
		want: refusal(401, "Authentication Fails", "1 primary key_rejected")},
	{name: "the caller's own money is spent", ownKey: true, primary: kit.InsufficientBalance(),
		want: refusal(402, "Insufficient Balance", "1 primary no_funds")},

	{name: "outage: nobody listens", primary: kit.Refused(), backup: kit.Refused(),
		want: refusal(503, "breakwater: no endpoint answered: primary: unreachable", "3 primary unreachable, 3 backup unreachable")},
	{name: "outage: everybody is busy", primary: kit.Busy(), backup: kit.Busy(),
		want: refusal(503, busy, "3 primary unavailable, 3 backup unavailable")},
	{name: "outage: the first to speak is the backup", primary: kit.Refused(), backup: kit.Busy(),
		want: refusal(503, busyOpenAI, "3 primary unreachable, 3 backup unavailable")},
	{name: "outage: nothing inside any 200", primary: kit.EmptyInside(), backup: kit.EmptyInside(),
		want: refusal(502, noBody, "3 primary bad_response, 3 backup bad_response")},
	{name: "outage: an error inside every 200", primary: kit.ErrorInside(), backup: kit.ErrorInside(),
		want:   refusal(500, failed, "3 primary unavailable, 3 backup unavailable"),
		stream: &outcome{broken: failed, trail: "3 primary unavailable, 3 backup unavailable"}},
}

// behaves runs one row under an SDK.
func (b behaviour) behaves(t *testing.T, sdk SDK, stream bool) {
	want := b.want
	if stream && b.stream != nil {
		want = *b.stream
	}
	// What is told of streams here is what rescues begin from: they have a check of their own.
	w := newWorld(t, sdk, b.ownKey, breakwater.WithStream(breakwater.StreamPolicy{Rescue: breakwater.RescueOff}))
	w.server("primary").SetPace(b.pace)
	w.breaks("primary", b.primary)
	w.breaks("backup", b.backup)

	q := Question{model, "what is a harbour?", b.tool}
	got, trail, err := w.ask(t.Context(), q, stream)
	w.check(t, q, want, got, err, stream)
	if got := sum(trail); got != want.trail {
		t.Errorf("the trail has %s, want %s", got, want.trail)
	}
	w.checkOnce(t, trail)
	w.checkRequests(t)
}

// check compares what the SDK gave with what its user should see.
func (w *world) check(t *testing.T, q Question, want outcome, got Answer, err error, stream bool) {
	t.Helper()
	if stream && w.sdk.NoStreamTools { // some tell the name
		got.Tool, got.ToolArguments = "", ""
	}
	api, typed := w.client.APIError(err)
	switch {
	case want.from != "":
		if whole := w.whole(q, want.from, stream); err != nil || !got.same(whole) {
			t.Errorf("got %+v, %v, want %+v", got, err, whole)
		}
	case want.api.Status != 0:
		if !typed || api.Status != want.api.Status && !(w.sdk.NoStatus && api.Status == 0) || !strings.Contains(api.Message, want.api.Message) {
			t.Errorf("got %+v (%T: %v), want the SDK's API error %+v", api, err, err, want.api)
		}
	default:
		// Some SDKs return the error that is in the stream, some the error after it, and some
		// only say that there was one.
		if err == nil {
			t.Errorf("got %+v and no error, want one: %s", got, want.broken)
		}
		if whole := w.whole(q, "primary", stream); got.Finish != "" || !strings.HasPrefix(whole.Text, got.Text) || !strings.HasPrefix(whole.ToolArguments, got.ToolArguments) {
			t.Errorf("got %+v, want a part of %+v", got, whole)
		}
	}
}
