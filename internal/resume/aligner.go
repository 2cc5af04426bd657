package resume

import (
	"bytes"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
)

const (
	// MinOverlap is how many bytes of a transcript a stream must repeat before it
	// counts as one that begins anew. Of a shorter transcript nobody can tell
	// whether a stream continues it.
	MinOverlap = 32
	heldEvent  = 128 // bytes that it takes to hold an event, besides its own
)

// A Verdict is what an event came to.
type Verdict uint8

const (
	Fits     Verdict = iota // the stream goes on
	Complete                // the answer is whole, as its terminator says
	Rejected                // the stream does not continue the transcript
)

// Options say what an Aligner is to expect.
type Options struct {
	Wire wire.Wire
	ID   []byte // of the answer that broke, as JSON has it; nil: unknown

	Restart    bool // the host was asked to begin anew, and not to continue
	MayRestart bool // a host that begins anew, though it was asked to continue, is as good
	Last       bool // no further stream will continue this one, so its text need not be kept
}

// An Aligner makes the events of an attempt fit behind what the reader of another
// attempt's stream has been given.
type Aligner struct {
	Options
	given *Transcript
	emit  func(event []byte)
	spent int // tokens of what was told before, about

	restarts        bool // the stream repeats the transcript from its beginning
	text, reasoning int  // bytes of the transcript that it has repeated

	continues bool    // it is known that the host continues, and has not begun anew
	held      []delta // events until that is known
	heldBytes int     // about
	begins    string  // their text
}

// NewAligner returns an Aligner that passes events on to give and notes in told
// what they say.
func NewAligner(given *Transcript, o Options, emit func(event []byte)) *Aligner {
	return &Aligner{Options: o, given: given, emit: emit, spent: request.EstimateTokens(given.Text), restarts: o.Restart}
}

// Restarts reports whether the stream repeats the transcript from its beginning.
func (a *Aligner) Restarts() bool { return a.restarts }

// Held returns how many bytes it takes, about, to hold events back.
func (a *Aligner) Held() int { return a.heldBytes + len(a.begins) }

// Event takes in one event.
func (a *Aligner) Event(ev sse.Event) Verdict {
	switch {
	case ev.Kind == sse.Comment: // the scanner drops those that nobody wants
		a.emit(ev.Raw)
	case ev.Kind != sse.Data:
	case ev.One || gjson.ValidBytes(ev.Data):
		return a.data(bytes.ReplaceAll(ev.Data, []byte("\n"), []byte(" "))) // a copy: the scanner's bytes do not last
	default: // a host that forgets the blank lines between its events
		all := Fits
		for line := range bytes.SplitSeq(bytes.Clone(ev.Data), []byte("\n")) {
			if all = max(all, a.data(line)); all == Rejected {
				break
			}
		}
		return all
	}
	return Fits
}

// End takes in that the stream has ended cleanly.
func (a *Aligner) End() Verdict {
	if !a.release() {
		return Rejected
	}
	return Complete
}

// data takes in what an event says.
func (a *Aligner) data(data []byte) Verdict {
	switch {
	case len(data) == 0:
		return Fits
	case string(data) == "[DONE]":
		if !a.release() {
			return Rejected
		}
		a.emit([]byte("data: [DONE]\n\n"))
		return Complete
	}
	d := a.read(data)
	switch {
	case a.restarts:
		return a.repeat(d)
	case d.reasoning != "":
		return Rejected // it thinks anew: this is no continuation
	case a.continues, d.text == "" && !d.ends && !d.other && len(a.held) == 0:
		a.pass(d, d.text, "")
		return Fits
	}
	return a.align(d)
}

// read returns what an event says.
func (a *Aligner) read(data []byte) delta {
	var events wire.Transcript
	answer := wire.Answer{Wire: a.Wire, Transcript: &events}
	answer.Event(data)
	d := deltaOf(&events)
	d.data, d.ends = data, answer.Ended()
	return d
}

// align holds events, those without text too, until their text tells whether the
// host continues the transcript, or has ignored it and begins anew.
func (a *Aligner) align(d delta) Verdict {
	a.held = append(a.held, d)
	a.begins += d.text
	if a.heldBytes += len(d.data) + heldEvent; a.heldBytes > MaxTranscript {
		return Rejected
	}
	enough := min(len(a.given.Text), MinOverlap)
	n := min(len(a.begins), enough)
	same := n > 0 && a.begins[:n] == string(a.given.Text[:n])
	switch {
	case !d.ends && (n == 0 || same && n < enough): // wait for more
	case same && n == MinOverlap && a.MayRestart && !repeats(a.given.Text):
		return a.restart()
	case same && n == enough:
		return Rejected // it begins anew, or nobody can tell
	default:
		a.release()
	}
	return Fits
}

// restart takes the held events for the beginning of an answer that repeats the
// transcript.
func (a *Aligner) restart() Verdict {
	held := a.held
	a.held, a.heldBytes, a.begins, a.restarts = nil, 0, "", true
	for _, d := range held {
		if v := a.repeat(d); v != Fits {
			return v
		}
	}
	return Fits
}

// repeats reports whether a text may go on as it began, for it has done so
// before: then nobody can tell continuing from beginning anew.
func repeats(text []byte) bool {
	border := make([]int32, len(text)) // the longest beginning that each part ends in
	for i, k := 1, int32(0); i < len(text); i++ {
		for k > 0 && text[i] != text[k] {
			k = border[k-1]
		}
		if text[i] == text[k] {
			k++
		}
		border[i] = k
	}
	return 2*int(border[len(text)-1]) >= len(text)
}

// release passes held events on: the host continues. It returns false if the stream
// ends before it has repeated the transcript.
func (a *Aligner) release() bool {
	if a.restarts && !a.repeated() {
		return false
	}
	a.continues = true
	for _, d := range a.held {
		a.pass(d, d.text, "")
	}
	a.held, a.heldBytes, a.begins = nil, 0, ""
	return true
}

// repeated reports whether the stream has repeated the whole transcript.
func (a *Aligner) repeated() bool {
	return a.text >= len(a.given.Text) && a.reasoning >= len(a.given.Reasoning)
}

// repeat takes an event of an answer that begins anew. While the answer repeats the
// transcript, which it must do to the byte, the event is dropped; what follows the
// transcript is passed on.
func (a *Aligner) repeat(d delta) Verdict {
	newReasoning, sameReasoning := afterPrefix(d.reasoning, a.given.Reasoning, &a.reasoning)
	if a.isOutOfOrder(d, newReasoning) {
		return Rejected
	}
	newText, sameText := afterPrefix(d.text, a.given.Text, &a.text)
	if !sameReasoning || !sameText {
		return Rejected
	}
	repeated := a.repeated()
	if (d.other || d.ends) && !repeated {
		return Rejected // it ends, or calls a tool, before it has said as much
	}
	if isCut := newText != d.text || newReasoning != d.reasoning; isCut && (d.splitRune || !d.plain()) {
		return Rejected // the rest of the event cannot be cut out of it
	}
	isEmpty := d.text == "" && d.reasoning == ""
	hasNews := newText != "" || newReasoning != "" || d.other || d.ends
	if hasNews || isEmpty && repeated && (a.text > 0 || a.reasoning > 0) {
		a.pass(d, newText, newReasoning)
	}
	return Fits
}

// isOutOfOrder reports whether an event has text where the transcript has reasoning,
// or new reasoning where the transcript has text. The event's reasoning has been
// counted in a.reasoning.
func (a *Aligner) isOutOfOrder(d delta, newReasoning string) bool {
	if d.text != "" && a.reasoning < len(a.given.Reasoning) {
		return true
	}
	return newReasoning != "" && a.text < len(a.given.Text)
}

// afterPrefix compares an event's text with the transcript behind the first *at
// bytes, which have been repeated, and moves *at. It returns what follows the end of
// the transcript, or false if the text differs.
func afterPrefix(text string, given []byte, at *int) (rest string, same bool) {
	n := min(len(text), len(given)-*at)
	if n > 0 && text[:n] != string(given[*at:*at+n]) {
		return "", false
	}
	n = max(n, 0)
	*at += n
	return text[n:], true
}

// plain reports whether all the event's text stands where a chunk has it.
func (d *delta) plain() bool {
	chunk := gjson.GetBytes(d.data, "choices.0.delta")
	reasoning := chunk.Get("reasoning_content").Str
	if reasoning == "" {
		reasoning = chunk.Get("reasoning").Str
	}
	return chunk.Get("content").Str == d.text && reasoning == d.reasoning
}

// pass gives an event to the reader, with what is new of its text only, and made to
// fit.
func (a *Aligner) pass(d delta, newText, newReasoning string) {
	fitted := request.Splice([]byte("data: "), d.data, a.edits(d, newText, newReasoning))
	other := d.other || d.splitRune || a.Last && newText+newReasoning != ""
	a.given.add(newText, newReasoning, other)
	a.text += len(newText)
	a.reasoning += len(newReasoning)
	a.emit(append(fitted, "\n\n"...))
}

// edits make an event fit: with the first answer's id, without a role, with what is
// new of its text, and with what the whole answer took.
func (a *Aligner) edits(d delta, newText, newReasoning string) (edits []request.Edit) {
	replace := func(path, with string) {
		if v := gjson.GetBytes(d.data, path); v.Exists() && v.Index > 0 && v.Raw != with {
			edits = append(edits, request.Edit{At: request.Span{From: v.Index, To: v.Index + len(v.Raw)}, Text: with})
		}
	}
	if a.ID != nil {
		replace("id", string(a.ID))
	}
	if gjson.GetBytes(d.data, "choices.0.index").Int() != 0 {
		replace("choices.0.index", "0") // the only one there is: some hosts count chunks by it
	}
	if gjson.GetBytes(d.data, "choices.0.delta.role").Type == gjson.String {
		replace("choices.0.delta.role", "null")
	}
	if newText != d.text {
		replace("choices.0.delta.content", string(gjson.AppendJSONString(nil, newText)))
	}
	for _, name := range [...]string{"reasoning_content", "reasoning"} {
		if v := gjson.GetBytes(d.data, "choices.0.delta."+name); v.Type == gjson.String && v.Str != "" && newReasoning != d.reasoning {
			replace("choices.0.delta."+name, string(gjson.AppendJSONString(nil, newReasoning)))
		}
	}
	if usage := gjson.GetBytes(d.data, "usage"); usage.IsObject() && !a.restarts {
		// What the first attempt took is not in it: it broke before it could say.
		for _, name := range [...]string{"completion_tokens", "total_tokens"} {
			if n := usage.Get(name); n.Type == gjson.Number && n.Num >= 0 && n.Num < 1<<31 {
				replace("usage."+name, strconv.FormatInt(int64(n.Num)+int64(a.spent), 10))
			}
		}
	}
	return edits
}
