// Package resume continues the text of a chat stream that broke with the stream of
// another attempt, so that its reader sees one answer.
//
// A [Transcript] is what the reader has been given. An [Aligner] takes the events of
// the other attempt in. It first holds them, until their text tells whether the
// host continues the transcript or has begun anew; then it passes on what is new,
// made to fit, or rejects a stream that does not fit. The package knows no HTTP
// and no clock. It is not safe for concurrent use. The rescue layer of the root
// is its only user.
package resume

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// MaxTranscript bounds what is kept of one answer to continue it, and what an
// Aligner holds back, in bytes: the longest answers, of 384K tokens, in the
// escapes of JSON. No host continues more.
const MaxTranscript = 4 << 20

// Limits say what answers can be continued.
type Limits struct {
	Reasoning bool // also those with reasoning, by an answer that begins anew
}

// Allow reports whether anybody could continue an answer with so many bytes of
// text and reasoning; other: there was something besides, as a tool call.
func (l Limits) Allow(text, reasoning int, other bool) bool {
	return !other && text+reasoning <= MaxTranscript && (reasoning == 0 || l.Reasoning)
}

// A Transcript is what the reader of a stream has been given of its answer.
type Transcript struct {
	Text, Reasoning []byte
	Closed          bool // nobody can continue it, so nothing is kept
	limits          Limits
}

// NewTranscript returns the transcript of what a tape of events says.
func NewTranscript(events *wire.Transcript, l Limits) Transcript {
	d := deltaOf(events)
	t := Transcript{limits: l}
	t.add(d.text, d.reasoning, d.other || d.splitRune)
	return t
}

// add appends what the reader is given now. It closes the transcript if nobody could
// continue it any more.
func (t *Transcript) add(text, reasoning string, other bool) {
	if !t.limits.Allow(len(t.Text)+len(text), len(t.Reasoning)+len(reasoning), t.Closed || other) {
		t.Close()
		return
	}
	t.Text = append(t.Text, text...)
	t.Reasoning = append(t.Reasoning, reasoning...)
}

// Close lets go of the transcript: nothing continues it.
func (t *Transcript) Close() { t.Text, t.Reasoning, t.Closed = nil, nil, true }

// A delta is what one event, or all of a tape, add to an answer.
type delta struct {
	data            []byte
	text, reasoning string
	other           bool // something that cannot be continued
	splitRune       bool // it may hold a part of a character only
	ends            bool // the answer has ended with it
}

func deltaOf(events *wire.Transcript) delta {
	d := delta{text: unescape(events.Text), reasoning: unescape(events.Reasoning), other: events.Other}
	d.splitRune = splitsRune(events.Text, d.text) || splitsRune(events.Reasoning, d.reasoning)
	return d
}

// splitsRune reports whether a text may begin or end within a character: hosts may
// send its bytes, or the two escapes that JSON has for it, in two events.
func splitsRune(inside []byte, text string) bool {
	return strings.ContainsRune(text, utf8.RuneError) && (bytes.Contains(inside, []byte(`\u`)) || !utf8.Valid(inside))
}

// unescape undoes JSON's escapes in the inside of a valid string.
func unescape(inside []byte) (text string) {
	_ = json.Unmarshal(append(append([]byte{'"'}, inside...), '"'), &text) // it was valid when it came
	return text
}
