package breakwatertest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	bt "github.com/breakwater-go/breakwater/breakwatertest"
)

// outcome is what a bare client sees of a fault.
type outcome struct {
	is      error  // the error is this
	status  int    // the error is this status
	text    string // the error says this
	content string // what was read: "all", "some", "half" or ""
	finish  string
	done    bool
}

var errAny = errors.New("some error")

var (
	right    = outcome{content: "all", finish: "stop", done: true}
	timedOut = outcome{is: context.DeadlineExceeded}
	inside   = outcome{text: "put an error into its answer"}
	noJSON   = outcome{text: "sent no JSON"}
)

// outcomes holds JSON and stream for each of bt.Faults.
var outcomes = map[string][2]outcome{
	"Refused":             {{is: syscall.ECONNREFUSED}, {is: syscall.ECONNREFUSED}},
	"Reset":               {{is: syscall.ECONNRESET}, {is: syscall.ECONNRESET}},
	"BlackHole":           {timedOut, timedOut},
	"NoSuchHost":          {{text: "no such host"}, {text: "no such host"}},
	"BadCertificate":      {{is: syscall.ECONNRESET}, {is: syscall.ECONNRESET}}, // without TLS, as the next two without HTTP/2
	"GoAway":              {{is: syscall.ECONNRESET}, {is: syscall.ECONNRESET}},
	"RefusedStream":       {{is: syscall.ECONNRESET}, {is: syscall.ECONNRESET}},
	"IdleClosed":          {{is: io.EOF}, {is: io.EOF}},
	"NoContinue":          {right, right},
	"HeaderBomb":          {{text: "response headers exceeded"}, {text: "response headers exceeded"}},
	"ManyKeepAlives":      {right, right},
	"BlankThenClose":      {noJSON, {}},
	"SlowHeaders":         {right, right},
	"QueueForever":        {timedOut, timedOut},
	"Silence":             {timedOut, timedOut},
	"Status":              {{status: 502}, {status: 502}},
	"TooManyRequests":     {{status: 429}, {status: 429}},
	"TooManyRequestsMS":   {{status: 429}, {status: 429}},
	"ConcurrencyLimit":    {{status: 429, text: "concurrency is 40, which exceeds your concurrency limit of 39 based"}, {status: 429}},
	"QuotaThrottle":       {{status: 429, text: "exceeded your current quota"}, {status: 429}},
	"Redirect":            {{status: 307}, {status: 307}},
	"PlainUnauthorized":   {{status: 401, text: `"Authentication Fails (governor)"`}, {status: 401}},
	"Overdue":             {{status: 402, text: "Insufficient Balance"}, {status: 402}},
	"ModelNotFound":       {{status: 400, text: "but you passed " + model}, {status: 400}},
	"RetiredModel":        {{status: 400, text: "are deepseek-v4-pro or deepseek-v4-flash, but you passed " + model + "."}, {status: 400}},
	"ContextLength":       {{status: 400, text: "maximum context length"}, {status: 400}},
	"ContentFilter":       {{status: 400, text: "Content Exists Risk"}, {status: 400}},
	"MissingReasoning":    {{status: 400, text: "must be passed back"}, {status: 400}},
	"ServerError":         {{status: 500}, {status: 500}},
	"Busy":                {{status: 503, text: "too busy"}, {status: 503, text: "too busy"}},
	"HTMLError":           {{status: 504, text: "<h1>504 Gateway Timeout</h1>"}, {status: 504}},
	"EmptyError":          {{status: 502}, {status: 502}},
	"Unauthorized":        {{status: 401, text: "****xxxx is invalid"}, {status: 401}},
	"InsufficientBalance": {{status: 402}, {status: 402}},
	"ErrorInside":         {inside, inside},
	"ErrorStringInside":   {inside, inside},
	"FlatErrorInside":     {inside, inside},
	"HTMLInside":          {noJSON, noJSON},
	"EmptyInside":         {noJSON, {}},
	"CutJSON":             {noJSON, noJSON},
	"MalformedJSON":       {noJSON, noJSON},
	"OutOfResources": {
		{content: "half", finish: "insufficient_system_resource", done: true},
		{content: "half", finish: "insufficient_system_resource", done: true},
	},
	"CutStream":      {{is: io.ErrUnexpectedEOF}, {is: io.ErrUnexpectedEOF, content: "some"}},
	"EndStream":      {right, {content: "some"}},
	"StallStream":    {timedOut, {is: context.DeadlineExceeded, content: "some"}},
	"StallKeepAlive": {timedOut, {is: context.DeadlineExceeded, content: "some"}},
	"ErrorFrame":     {inside, {text: inside.text, content: "some"}},
	"GoAwayMidway":   {{is: io.ErrUnexpectedEOF}, {is: io.ErrUnexpectedEOF, content: "some"}},
	"MalformedEvent": {noJSON, {text: noJSON.text, content: "some"}},
	"CRLF":           {right, right},
	"NoSpace":        {right, right},
	"ByteByByte":     {right, right},
	"SlowBody":       {right, right},
	"Glued":          {right, right},
	"SplitAnywhere":  {right, right},
	"Gzip":           {right, right},
	"GzipBomb":       {right, right},
	"Huge":           {right, right},
	"HugeEvent":      {right, right},
	"NoDone":         {right, {content: "all", finish: "stop"}},
}

func (want outcome) check(t *testing.T, prompt string, got bt.Reply, err error) {
	t.Helper()
	for _, complaint := range want.complaints(prompt, got, err) {
		t.Error(complaint)
	}
}

// complaints are what is wrong with what a client saw.
func (want outcome) complaints(prompt string, got bt.Reply, err error) (all []string) {
	complain := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	var status *bt.StatusError
	switch {
	case want.is == nil && want.status == 0 && want.text == "":
		if err != nil {
			complain("error %v, want none", err)
		}
	case err == nil:
		complain("no error, want %+v", want)
	case want.is == errAny:
	case want.is != nil && !errors.Is(err, want.is):
		complain("error %v, want %v", err, want.is)
	case want.status != 0 && (!errors.As(err, &status) || status.Code != want.status):
		complain("error %v, want status %d", err, want.status)
	case !strings.Contains(err.Error(), want.text):
		complain("error %v, want %q in it", err, want.text)
	}

	answer := bt.Answer(prompt)
	full := len([]rune(answer))
	n := len([]rune(got.Content))
	var ok bool
	switch want.content {
	case "":
		ok = n == 0
	case "some":
		ok = n == full*3/12 // CutStream(3) and the like, of twelve deltas
	case "half":
		ok = n == full*6/12
	case "all":
		ok = n == full
	}
	if !ok || !strings.HasPrefix(answer, got.Content) {
		complain("content %q, want %s of %q", got.Content, want.content, answer)
	}
	if got.FinishReason != want.finish || got.Done != want.done {
		complain("finish reason %q, done %v; want %q, %v", got.FinishReason, got.Done, want.finish, want.done)
	}
	return all
}

// eachFault runs f for every fault on every wire, as JSON and as a stream.
func eachFault(t *testing.T, f func(t *testing.T, w bt.Wire, fault bt.Fault, stream bool, want outcome)) {
	for _, fault := range bt.Faults() {
		want, ok := outcomes[fault.Name()]
		if !ok {
			t.Errorf("no test knows the fault %s", fault)
		}
		for _, w := range bt.Wires() {
			for i, stream := range []bool{false, true} {
				want := want[i]
				if fault.Name() == "NoDone" && (w == bt.Responses || w == bt.Messages) {
					want = right // they have no [DONE]
				}
				name := fault.Name() + "/" + strings.ReplaceAll(w.String(), "/", " ") + "/" + kindOf(stream)
				t.Run(name, func(t *testing.T) { f(t, w, fault, stream, want) })
			}
		}
	}
}

func TestFaultsInBubble(t *testing.T) {
	eachFault(t, func(t *testing.T, w bt.Wire, fault bt.Fault, stream bool, want outcome) {
		inBubble(t, func(t *testing.T, c *client) {
			s := c.fleet.Server("primary")
			c.mustAnswerOn(w, s, "before", stream) // leaves an idle connection to break
			s.Break(fault)
			synctest.Wait() // the client notices that its idle connection is closed
			got, err := c.askOn(w, s, "during", stream, 20*time.Minute)
			want.check(t, "during", got, err)
			if fault.Harmless() && err != nil {
				t.Errorf("%s is harmless, but: %v", fault, err)
			}
			s.Heal()
			c.mustAnswerOn(w, s, "after", stream)
		}, bt.DeepSeek("primary"))
	})
}

func TestFaultsOnTCP(t *testing.T) {
	eachFault(t, func(t *testing.T, w bt.Wire, fault bt.Fault, stream bool, want outcome) {
		t.Parallel()
		if fault.Name() == "SlowHeaders" {
			fault = bt.SlowHeaders(50 * time.Millisecond)
		}
		timeout := ages
		if errors.Is(want.is, context.DeadlineExceeded) {
			timeout = 300 * time.Millisecond
		}
		c := tcp(t, bt.DeepSeek("primary"))
		s := c.fleet.Server("primary")
		s.SetPace(bt.Pace{KeepAlive: 5 * time.Millisecond})
		if fault.Name() == "IdleClosed" {
			c.mustAnswerOn(w, s, "before", stream)
		}
		s.Break(fault)
		got, err := c.askOn(w, s, "during", stream, timeout)
		for len(want.complaints("during", got, err)) > 0 && timeout < time.Minute { // on a busy machine all there is to see takes longer
			timeout *= 2
			got, err = c.askOn(w, s, "during", stream, timeout)
		}
		want.check(t, "during", got, err)
		eventually(t, "nothing in flight", func() bool { return s.InFlight() == 0 })
		s.Heal()
		c.mustAnswerOn(w, s, "after", stream)
	})
}

// TestBehindCommit holds BehindCommit against what a stream really shows.
func TestBehindCommit(t *testing.T) {
	more := []bt.Fault{
		bt.CutStream(0), bt.EndStream(0), bt.StallStream(0), bt.StallKeepAlive(0), bt.ErrorFrame(0),
		bt.CutStream(1), bt.EndStream(999), bt.StallStream(999), bt.ErrorFrame(999),
		bt.MalformedEvent(0), bt.HugeEvent(0, 9), bt.GoAwayMidway(0),
	}
	for _, fault := range append(bt.Faults(), more...) {
		t.Run(fault.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *client) {
				s := c.fleet.Server("primary")
				s.Break(fault)
				got, _ := c.ask(s, "hello", true, time.Hour)
				if got.Content == bt.Answer("hello") && !fault.BehindCommit() {
					return // what there is to see shows before the payload, which then comes
				}
				if payload := got.Content != ""; payload != fault.BehindCommit() {
					t.Errorf("payload %v, BehindCommit %v", payload, fault.BehindCommit())
				}
			}, bt.DeepSeek("primary"))
		})
	}
}
