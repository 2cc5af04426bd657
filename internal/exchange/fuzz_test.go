package exchange_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/flaw"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// lines returns a text without its line ends: before the first payload, blank lines are dropped.
func lines(text string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(text) }

// wantKept is wantStream with all checks, whose result changes nothing.
var wantKept = exchange.Want{
	Wire: wire.Chat, Choices: 1, Stream: true, KeepFlawed: true,
	Flaws: &flaw.Rules{Repetition: 1 << 10, Answer: true, Format: flaw.Object},
}

// bytewise is a text that comes byte by byte, if it is to.
func bytewise(text []byte, so bool) io.Reader {
	if so {
		return iotest.OneByteReader(bytes.NewReader(text))
	}
	return bytes.NewReader(text)
}

// What passes the JSON gate is one whole JSON object without an error. Whatever
// else comes is shown as it came.
func FuzzJSONGate(f *testing.F) {
	for _, seed := range []string{
		fakehost.GoodJSON, "\n\n" + fakehost.GoodJSON, fakehost.GoodJSON[:30], `{"error":"x"}`, `{"code":1,"message":"m"}`,
		`{"error":null}`, "[]", "", "<html>", `{"choices":[{"finish_reason":"insufficient_system_resource"}]}`,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, slow bool) {
		got := judge(t, policy, wantJSON, fakehost.AnswerFrom(200, fakehost.JSON, bytewise(body, slow)))
		if got.err != nil || got.failure == nil && !fakehost.IsClean(got.text) {
			t.Errorf("%q came as %v", body, got)
		}
		if want := bytes.TrimLeft(body, " \t\r\n"); got.text != string(want) {
			t.Errorf("%q came as %q, want it as it was but for leading blanks", body, got.text)
		}
	})
}

// What ends cleanly at the SSE gate is complete; what is passed on is what came,
// none of it missing up to the end, comments aside.
func FuzzSSEGate(f *testing.F) {
	const good, end, done = fakehost.GoodEvent, fakehost.EndEvent, fakehost.DoneEvent
	for _, seed := range []string{
		good + end + done, good + good + end + done, good, good + done, ": c\n\n" + good + ": c\n\n" + end, end, done,
		good + "data: {\n\n", good + `data: {"error":"x"}` + "\n\n", strings.ReplaceAll(good+end, "\n", "\r\n"), "data:{\"choices\"",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, slow bool) {
		got := judge(t, policy, wantStream, fakehost.AnswerFrom(200, fakehost.Stream, bytewise(body, slow)))
		if got.failure == nil && got.err == nil && !fakehost.IsComplete(got.text) {
			t.Errorf("%q ended cleanly as %q, which is not complete", body, got.text)
		}
		if got.err != nil && !typed(got.err) {
			t.Errorf("%q ended in %v, want a typed error", body, got.err)
		}
		isJSON := strings.HasPrefix(strings.TrimLeft(string(body), "\ufeff \t\r\n"), "{")
		// A flawed answer that is kept stays as it came. Only one without payload is judged later.
		kept := judge(t, policy, wantKept, fakehost.AnswerFrom(200, fakehost.Stream, bytewise(body, slow)))
		if !isJSON && kept.failure == nil && (got.failure != nil || lines(kept.text) != lines(got.text) || fmt.Sprint(kept.err) != fmt.Sprint(got.err)) {
			t.Errorf("%q came as %v, and with checks as %v", body, got, kept)
		}
		if !isJSON && !fakehost.Begins(string(body), got.text) { // JSON is converted
			t.Errorf("%q came as %q: not what was sent", body, got.text)
		}
	})
}
