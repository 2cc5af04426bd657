// Package recast converts a complete answer of an inference API from a stream of
// server-sent events into the JSON document that the same API returns without streaming,
// and back. It is pure and knows no HTTP; package store is its user.
//
// Nothing is lost or changed: numbers and unknown members are copied byte for byte, and
// texts are joined and cut with the escapes they came in. What cannot be converted like
// that is refused: an answer that is incomplete, one with an error, an event of an unknown
// type, a member whose pieces do not say how they fit together.
package recast

import (
	"bytes"
	"encoding/json"
	"iter"

	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
	"github.com/tidwall/gjson"
)

// ToJSON returns the document for a stream, or false if the stream is refused.
func ToJSON(w wire.Wire, stream []byte) ([]byte, bool) {
	var to document
	switch w {
	case wire.Chat:
		to = newCompletion()
	case wire.Messages:
		to = new(message)
	case wire.Responses:
		to = new(response)
	default:
		return nil, false
	}
	answer, ok := follow(w, stream, to.take)
	if !ok {
		return nil, false
	}
	text, ok := to.json()
	if !ok {
		return nil, false
	}
	whole := wire.Answer{Wire: w, Choices: wire.Unknown}
	// Some hosts end a response without the text that its events had.
	return text, whole.Text(text) < wire.Malformed && whole.Ended() && (whole.HasContent || !answer.HasContent)
}

// A document is built from events.
type document interface {
	take(event gjson.Result) bool // false: it was not understood
	json() ([]byte, bool)
}

// ToStream returns the stream for a document, or false if the document is refused. It cuts
// long texts into pieces of a few kilobytes, for clients that bound the length of a line.
func ToStream(w wire.Wire, text []byte) ([]byte, bool) {
	if !isWhole(w, text) {
		return nil, false
	}
	to, body, ok := newStream(len(text)), gjson.ParseBytes(text), false
	switch w {
	case wire.Chat:
		ok = streamCompletion(to, body)
	case wire.Messages:
		ok = streamMessage(to, body)
	case wire.Responses:
		ok = streamResponse(to, body)
	}
	if !ok || to.overgrown {
		return nil, false
	}
	_, ok = follow(w, to.out, nil)
	return to.out, ok
}

// DropUsageEvents removes from a streamed completion the events that have usage but no
// choice, which are only for callers that set stream_options.include_usage: some other
// clients read choices[0] without a check. If there are none it returns the stream itself,
// otherwise a copy.
func DropUsageEvents(stream []byte) []byte {
	var kept []byte
	dropped, at := false, 0
	for event := range events(stream) {
		switch {
		case isUsageOnly(event.Data):
			if !dropped {
				dropped = true
				kept = append(make([]byte, 0, len(stream)), stream[:at]...)
			}
		case dropped:
			kept = append(kept, event.Raw...)
		}
		at += len(event.Raw)
	}
	if !dropped {
		return stream
	}
	return kept
}

func isUsageOnly(data []byte) bool {
	if !bytes.Contains(data, []byte(`"usage"`)) {
		return false
	}
	choices := gjson.GetBytes(data, "choices.#")
	return choices.Exists() && choices.Int() == 0 && gjson.GetBytes(data, "usage").IsObject() && json.Valid(data)
}

// TrimUsage removes from an event of a streamed completion what a host adds to it because
// stream_options.include_usage is set: the event itself, if it has the usage and no choice, or a
// usage that is null. It changes the event in place, and returns what is left of it.
func TrimUsage(event []byte) []byte {
	if !bytes.Contains(event, []byte(`"usage"`)) {
		return event
	}
	at := bytes.IndexByte(event, '{')
	if at < 0 {
		return event
	}
	data := wire.First(event[at:])
	if isUsageOnly(data) && isAlone(event, at, data) {
		return event[:0]
	}
	var before, usage, behind wire.Member
	wire.Members(data, func(m wire.Member) {
		switch {
		case usage.Name != nil && behind.Name == nil:
			behind = m
		case usage.Name == nil && string(m.Name) == "usage" && string(m.Value) == "null":
			usage = m
		case usage.Name == nil:
			before = m
		}
	})
	from, to := usage.NameAt, usage.ValueEnds
	switch {
	case usage.Name == nil:
		return event
	case behind.Name != nil:
		to = behind.NameAt
	case before.Name != nil:
		from = before.ValueEnds
	}
	return append(event[:at+from], event[at+to:]...)
}

// isAlone reports whether an event has nothing but one object, which begins at an offset.
func isAlone(event []byte, at int, object []byte) bool {
	head := bytes.TrimRight(event[:at], " ")
	return bytes.HasSuffix(head, []byte("data:")) && len(bytes.TrimSpace(event[at+len(object):])) == 0
}

// follow passes each event of a stream to take, which may be nil. It returns the answer, and
// whether all events were accepted and the answer is complete.
func follow(w wire.Wire, stream []byte, take func(event gjson.Result) bool) (answer wire.Answer, ok bool) {
	answer = wire.Answer{Wire: w, Choices: wire.Unknown}
	done := false
	for event := range events(stream) {
		switch {
		case event.Error:
			return answer, false
		case len(event.Data) == 0: // by the specification of server-sent events, this is no event
			continue
		}
		signal := answer.Event(event.Data)
		if signal >= wire.Malformed {
			return answer, false
		}
		if signal != wire.KeepAlive && string(event.Data) != "[DONE]" && take != nil && !take(gjson.ParseBytes(event.Data)) {
			return answer, false
		}
		if signal == wire.Done {
			done = true
			break
		}
	}
	// A completion is complete when every choice has a finish reason.
	return answer, answer.Ended() && (done || w == wire.Chat)
}

// isWhole reports whether a document is a complete answer.
func isWhole(w wire.Wire, text []byte) bool {
	answer := wire.Answer{Wire: w, Choices: wire.Unknown}
	return answer.Text(text) < wire.Malformed && answer.Ended()
}

// events returns the blocks of a stream, including comments and blank lines.
func events(stream []byte) iter.Seq[sse.Event] {
	return func(yield func(sse.Event) bool) {
		from := bytes.NewReader(stream)
		scanner := sse.New(len(stream), true)
		for {
			event, _ := scanner.Next() // none is longer than the stream
			if event == nil {
				if _, err := scanner.Fill(from); err == nil {
					continue
				}
				if event = scanner.Rest(); event == nil {
					return
				}
			}
			if !yield(*event) {
				return
			}
		}
	}
}
