package resume

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
)

const (
	// MinOverlap is how many bytes must match before a replacement stream is taken for a
	// restart rather than a continuation. With a shorter transcript, nobody can tell which
	// it is.
	MinOverlap = 32
	heldEvent  = 128 // bytes that a held event takes besides its own data
)

// A Verdict says whether the stream fits after an event.
type Verdict uint8

const (
	Fits     Verdict = iota // the stream goes on
	Complete                // the answer is complete, as its terminator says
	Rejected                // the stream does not continue the transcript
)

// Options say what stream an Aligner gets.
type Options struct {
	Wire wire.Wire
	ID   []byte // the id of the answer that broke, in JSON; nil: unknown

	Restart    bool // the host was asked for a new answer, not for a continuation
	MayRestart bool // if the host restarts although it was asked to continue, that is accepted
	Last       bool // no other stream will continue this one, so its text need not be kept
}

// An Aligner fits the events of an attempt to what the reader has been given of another
// attempt's stream. It holds events until it knows whether the stream continues or
// restarts the text, and then passes them on.
type Aligner struct {
	Options
	given *Transcript
	emit  func(event []byte)
	spent int // about how many tokens the given text and reasoning took
	mused int // of these, the reasoning

	restarts        bool // the stream is a restart: it repeats the transcript from its beginning
	text, reasoning int  // how many bytes of the transcript it has repeated

	parts     *parts  // on Messages and Responses; else nil
	continues bool    // the stream is known to be a continuation
	held      []delta // events held until then
	heldBytes int     // about how many bytes they take
	begins    string  // their text
}

// NewAligner returns an Aligner that passes events on to emit and adds their text to
// given.
func NewAligner(given *Transcript, o Options, emit func(event []byte)) *Aligner {
	a := &Aligner{Options: o, given: given, emit: emit, spent: given.Tokens(), mused: wire.EstimateTokens(given.Reasoning), restarts: o.Restart}
	if o.Wire != wire.Chat {
		a.parts = newParts(o.Wire)
	}
	return a
}

// Restarts reports whether the stream repeats the transcript from its beginning.
func (a *Aligner) Restarts() bool { return a.restarts }

// Held returns about how many bytes the held events take.
func (a *Aligner) Held() int { return a.heldBytes + len(a.begins) }

// Event processes one event of the stream.
func (a *Aligner) Event(ev sse.Event) Verdict {
	switch {
	case ev.Kind == sse.Comment: // the scanner drops comments if nobody wants them
		a.emit(ev.Raw)
	case ev.Kind != sse.Data:
	case ev.One || wire.Valid(ev.Data):
		return a.data(bytes.ReplaceAll(ev.Data, []byte("\n"), []byte(" "))) // a copy, because the scanner uses its buffer again
	default: // the host omits the blank lines between its events
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

// End processes a clean end of the stream.
func (a *Aligner) End() Verdict {
	if !a.release() {
		return Rejected
	}
	return Complete
}

// data processes the data of one event.
func (a *Aligner) data(data []byte) Verdict {
	switch {
	case len(data) == 0:
		return Fits
	case a.parts != nil:
		return a.partData(a.parts.read(data))
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
		return Rejected // it thinks again, so it does not continue
	case a.continues, d.text == "" && !d.ends && !d.other && len(a.held) == 0:
		a.pass(d, d.text, "")
		return Fits
	}
	return a.align(d)
}

// read parses an event.
func (a *Aligner) read(data []byte) delta {
	var events wire.Transcript
	answer := wire.Answer{Wire: a.Wire, Transcript: &events}
	answer.Event(data)
	d := deltaOf(&events)
	d.data, d.ends = data, answer.Ended()
	return d
}

// align holds events, even those without text, until their text tells whether the host
// continues the transcript or has ignored it and restarts.
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
		return Rejected // it restarts, or nobody can tell
	default:
		a.release()
	}
	return Fits
}

// restart processes the held events as the beginning of a restart.
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

// repeats reports whether a text ends in a long part of its own beginning. If so, nobody
// can tell a continuation from a restart.
func repeats(text []byte) bool {
	border := make([]int32, len(text)) // for each prefix, the length of the longest prefix that it ends in
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

// release passes on the held events of a stream that continues. It returns false if the
// stream restarts and has not repeated the whole transcript, so that it must not end here.
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

// repeat processes an event of a restart. The restart must repeat the transcript to the
// byte; repeat drops what is repeated and passes on what follows.
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
		return Rejected // it ends, or calls a tool, before it has repeated the transcript
	}
	if isCut := newText != d.text || newReasoning != d.reasoning; isCut && (d.splitRune || !d.plain()) {
		return Rejected // the new part cannot be cut out of the event
	}
	isEmpty := d.text == "" && d.reasoning == ""
	hasNews := newText != "" || newReasoning != "" || d.other || d.ends
	if hasNews || isEmpty && repeated && (a.text > 0 || a.reasoning > 0) {
		a.pass(d, newText, newReasoning)
	}
	return Fits
}

// isOutOfOrder reports whether an event has text where the transcript has reasoning, or
// new reasoning where the transcript has text. a.reasoning must include the event's
// reasoning.
func (a *Aligner) isOutOfOrder(d delta, newReasoning string) bool {
	if d.text != "" && a.reasoning < len(a.given.Reasoning) {
		return true
	}
	return newReasoning != "" && a.text < len(a.given.Text)
}

// afterPrefix compares an event's text with the transcript after its first *at bytes,
// which have been repeated, and advances *at. It returns what follows the end of the
// transcript, or false if the text differs.
func afterPrefix(text string, given []byte, at *int) (rest string, same bool) {
	n := min(len(text), len(given)-*at)
	if n > 0 && text[:n] != string(given[*at:*at+n]) {
		return "", false
	}
	n = max(n, 0)
	*at += n
	return text[n:], true
}

// plain reports whether a chunk has all the event's text in the usual fields. On Messages and
// Responses, nothing else is recorded as text.
func (d *delta) plain() bool {
	if d.step.Of != wire.NoPart {
		return true
	}
	chunk := gjson.GetBytes(d.data, "choices.0.delta")
	reasoning := chunk.Get("reasoning_content").Str
	if reasoning == "" {
		reasoning = chunk.Get("reasoning").Str
	}
	return chunk.Get("content").Str == d.text && reasoning == d.reasoning
}

// pass gives an event to the reader, with only the new part of its text, and adapted to
// the first answer.
func (a *Aligner) pass(d delta, newText, newReasoning string) {
	if a.parts != nil && !a.takePart(&d, newText+newReasoning != "") {
		return
	}
	fitted := a.event(request.Splice(nil, d.data, a.edits(d, newText, newReasoning)))
	a.given.add(newText, newReasoning, d.other || d.splitRune)
	if a.Last && newText+newReasoning != "" {
		a.given.Close()
	}
	a.text += len(newText)
	a.reasoning += len(newReasoning)
	a.emit(fitted)
}

// edits adapts an event: to the first answer's id, without a role, with only the new part
// of its text, and with the usage of the whole answer.
func (a *Aligner) edits(d delta, newText, newReasoning string) []request.Edit {
	if a.parts != nil {
		return a.partEdits(&d, newText, newReasoning)
	}
	e := editor{data: d.data}
	replace := e.replace
	if a.ID != nil {
		replace("id", string(a.ID))
	}
	if gjson.GetBytes(d.data, "choices.0.index").Int() != 0 {
		replace("choices.0.index", "0") // there is only one choice, but some hosts count chunks in its index
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
	if !a.restarts {
		// The usage lacks what the first attempt took, because that broke before it could
		// say so.
		e.add("usage.completion_tokens", a.spent)
		e.add("usage.total_tokens", a.spent)
		e.add("usage.completion_tokens_details.reasoning_tokens", a.mused)
	}
	return e.edits
}
