// Package resume continues the text of a stream that broke with the stream of another
// attempt, so that its reader sees one answer.
//
// A [Transcript] is what the reader has been given. An [Aligner] processes the events of
// the other attempt. It is in one of three states:
//
// - holding: it holds events until their text tells whether the host continues the
// transcript or restarts it; - continuing: it passes events on; - restarting: it drops
// what repeats the transcript, and passes on what follows.
//
// It rejects a stream that does not fit. The package knows no HTTP and no clock. It is not
// safe for concurrent use. The rescue layer of the root is its only user.
package resume

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// MaxTranscript bounds the bytes that are kept of one answer to continue it, and the bytes
// that an Aligner holds: enough for the longest answers, of 384K tokens, with JSON's
// escapes. No host continues more.
const MaxTranscript = 4 << 20

// Limits say which answers can be continued.
type Limits struct {
	Reasoning bool // those with reasoning, too
}

// An Obstacle is why an answer cannot be continued.
type Obstacle uint8

const (
	NoObstacle   Obstacle = iota
	OtherContent          // it has something besides text, such as a tool call
	TooLong               // it is longer than MaxTranscript
	Thought               // it has reasoning, and the limits do not allow that
)

// Allow reports whether an answer with so many bytes of text and reasoning could be
// continued. other says that it has something else, such as a tool call.
func (l Limits) Allow(text, reasoning int, other bool) bool {
	return l.Obstacle(text, reasoning, other) == NoObstacle
}

// Obstacle returns why Allow reports false.
func (l Limits) Obstacle(text, reasoning int, other bool) Obstacle {
	switch {
	case other:
		return OtherContent
	case text+reasoning > MaxTranscript:
		return TooLong
	case reasoning > 0 && !l.Reasoning:
		return Thought
	}
	return NoObstacle
}

// A Transcript is what the reader of a stream has been given of its answer.
type Transcript struct {
	Text, Reasoning []byte
	Late            bool     // reasoning came behind text
	Closed          bool     // it cannot be continued, so nothing is kept
	Obstacle        Obstacle // why not; NoObstacle: it was closed because it will not be
	limits          Limits
	frame           wire.Frame // of Messages and Responses
}

// NewTranscript returns the transcript of an answer's events.
func NewTranscript(events *wire.Transcript, l Limits) Transcript {
	d := deltaOf(events)
	t := Transcript{limits: l, Late: events.Late}
	if events.Frame != nil {
		t.frame = *events.Frame
	}
	t.add(d.text, d.reasoning, d.other || d.splitRune)
	return t
}

// add appends what the reader is given. It closes the transcript if that makes it
// impossible to continue.
func (t *Transcript) add(text, reasoning string, other bool) {
	if t.Closed {
		return
	}
	if t.Obstacle = t.limits.Obstacle(len(t.Text)+len(text), len(t.Reasoning)+len(reasoning), other); t.Obstacle != NoObstacle {
		t.Close()
		return
	}
	t.Late = t.Late || reasoning != "" && len(t.Text) > 0
	t.Text = append(t.Text, text...)
	t.Reasoning = append(t.Reasoning, reasoning...)
}

// Tokens estimates how many tokens the transcript took.
func (t *Transcript) Tokens() int {
	return wire.EstimateTokens(t.Text) + wire.EstimateTokens(t.Reasoning)
}

// IsReasoned reports whether the transcript is a text behind reasoning, which is finished
// once text has come.
func (t *Transcript) IsReasoned() bool { return len(t.Reasoning) > 0 }

// CanBeContinued reports whether a host could go on with the text: there is one that is not
// whole, and all reasoning is before it.
func (t *Transcript) CanBeContinued() bool {
	return len(t.Text) > 0 && !t.Late && t.frame.Text.Done&wire.Settled == 0
}

// Close drops the transcript, because it will not be continued.
func (t *Transcript) Close() { t.Text, t.Reasoning, t.Closed = nil, nil, true }

// A delta is what one event, or several, add to an answer.
type delta struct {
	data            []byte
	text, reasoning string
	other           bool      // something that cannot be continued
	splitRune       bool      // its text may begin or end within a character
	ends            bool      // the answer ends with it
	done            bool      // it is the terminator of Messages or Responses
	step            wire.Step // what it does to the parts of Messages or Responses
}

func deltaOf(events *wire.Transcript) delta {
	d := delta{text: unescape(events.Text), reasoning: unescape(events.Reasoning), other: events.Other}
	d.splitRune = splitsRune(events.Text, d.text) || splitsRune(events.Reasoning, d.reasoning)
	return d
}

// splitsRune reports whether a text may begin or end within a character. Hosts may split
// its bytes, or the two escapes that JSON has for it, between two events.
func splitsRune(inside []byte, text string) bool {
	return strings.ContainsRune(text, utf8.RuneError) && (bytes.Contains(inside, []byte(`\u`)) || !utf8.Valid(inside))
}

// unescape resolves the JSON escapes in the inside of a valid string.
func unescape(inside []byte) (text string) {
	_ = json.Unmarshal(append(append([]byte{'"'}, inside...), '"'), &text) // it was valid when it was read
	return text
}
