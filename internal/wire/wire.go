// Package wire reads what the bodies of inference APIs say, without decoding
// them: is it an answer, is it whole, what did it cost. It knows no HTTP.
package wire

import (
	"math/bits"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"
)

// A Wire is a format of answers.
type Wire int

const (
	Chat       Wire = iota // chat completions and FIM completions
	Responses              // OpenAI's Responses API
	Messages               // Anthropic's Messages API
	Embeddings             // OpenAI's embeddings: never streamed
)

// Says is what one JSON text, whole answer or stream event, amounts to. Of
// several, the largest counts.
type Says int

const (
	Nothing        Says = iota // valid, but carries no payload: role only, empty delta, usage
	Alive                      // a keep-alive in the form of an event
	Payload                    // carries text, reasoning, a refusal or a tool call
	Done                       // the terminator
	Malformed                  // neither JSON nor the terminator
	Failure                    // an error in the place of an answer
	OutOfResources             // an answer cut short by the host for want of resources
)

// Usage counts tokens as the APIs' usage objects do. PromptTokens holds all
// that was read, from the host's prefix cache or not.
type Usage struct {
	PromptTokens, CompletionTokens, TotalTokens int
	CachedTokens, ReasoningTokens               int
}

// An Answer follows one answer through its text or events. The zero value
// expects one choice of a chat completion.
type Answer struct {
	Wire    Wire
	Choices int // choices asked for; 0 means 1
	Usage   Usage
	Length  bool // a choice ended for want of room or against a filter: not to be given again

	begun          bool // there was the frame of an answer: a list of choices, a response, a message
	seen, finished set  // choices by index
}

// maxChoices is how many choices are told apart, as many as the API allows.
const maxChoices = 128

// A set holds indexes below maxChoices.
type set [maxChoices / 64]uint64

func (s *set) add(i int) {
	i = min(max(i, 0), maxChoices-1)
	s[i/64] |= 1 << (i % 64)
}

func (s *set) len() int { return bits.OnesCount64(s[0]) + bits.OnesCount64(s[1]) }

// Finished reports whether every choice has said why it ended.
func (a *Answer) Finished() bool {
	return a.finished.len() >= min(max(a.Choices, 1), maxChoices) && a.finished == a.seen
}

// Begun reports whether the frame of an answer was seen at all.
func (a *Answer) Begun() bool { return a.begun }

// finish notes that the only choice there is has said why it ended.
func (a *Answer) finish() {
	a.seen.add(0)
	a.finished.add(0)
}

// Event takes in the data of one stream event.
func (a *Answer) Event(data []byte) Says {
	if string(data) == "[DONE]" {
		if a.Wire != Chat && !a.Finished() {
			return Nothing // no terminator of this wire: the answer still has to come to its end
		}
		return Done
	}
	return a.read(data, true)
}

// Text takes in a whole answer.
func (a *Answer) Text(data []byte) Says { return a.read(data, false) }

func (a *Answer) read(data []byte, event bool) Says {
	if !gjson.ValidBytes(data) {
		return Malformed
	}
	text := gjson.Parse(view(data))
	switch {
	case !text.IsObject():
		return Malformed
	case a.Wire == Responses && event:
		return a.responsesEvent(text)
	case a.Wire == Responses:
		return a.response(text)
	case a.Wire == Messages && event:
		return a.messagesEvent(text)
	case a.Wire == Messages:
		return a.message(text)
	case a.Wire == Embeddings:
		return a.embeddings(text)
	}
	return a.chat(text)
}

// isError reports whether the member "error" holds one: some hosts send null
// or false where there is none.
func isError(value gjson.Result) bool {
	return value.Exists() && value.Type != gjson.Null && value.Type != gjson.False
}

// embeddings are whole or they are not there.
func (a *Answer) embeddings(text gjson.Result) Says {
	if isError(text.Get("error")) {
		return Failure
	}
	a.takeUsage(text.Get("usage"))
	if !text.Get("data").IsArray() {
		return Nothing
	}
	a.begun = true
	a.finish()
	return Payload
}

// takeUsage takes in a usage object, by the names of any of the wires. What
// comes in parts, as on Messages, adds up.
func (a *Answer) takeUsage(value gjson.Result) {
	if !value.IsObject() {
		return
	}
	var u Usage
	read, written := 0, 0 // prompt tokens from and into the prefix cache, where they are counted apart
	value.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "prompt_tokens", "input_tokens":
			u.PromptTokens = tokens(value)
		case "completion_tokens", "output_tokens":
			u.CompletionTokens = tokens(value)
		case "total_tokens":
			u.TotalTokens = tokens(value)
		case "prompt_cache_hit_tokens":
			u.CachedTokens = max(u.CachedTokens, tokens(value))
		case "prompt_tokens_details", "input_tokens_details":
			u.CachedTokens = max(u.CachedTokens, tokens(value.Get("cached_tokens")))
		case "completion_tokens_details", "output_tokens_details":
			u.ReasoningTokens = tokens(value.Get("reasoning_tokens"))
		case "cache_read_input_tokens":
			read = tokens(value)
		case "cache_creation_input_tokens":
			written = tokens(value)
		}
		return true
	})
	if a.Wire == Messages {
		u.PromptTokens = max(a.Usage.PromptTokens, u.PromptTokens+read+written)
		u.CachedTokens = max(a.Usage.CachedTokens, read)
		u.CompletionTokens = max(a.Usage.CompletionTokens, u.CompletionTokens)
		u.TotalTokens = u.PromptTokens + u.CompletionTokens
	}
	a.Usage = u
}

// tokens reads a count, which is hostile: bounded, never negative.
func tokens(value gjson.Result) int { return int(min(max(value.Num, 0), 1<<31)) }

// carries reports whether a delta, message or block, a valid JSON object,
// holds anything but its role and type: a text that is not empty, a list or
// object that is not empty. It works on the raw text, since unescaping would
// allocate.
func carries(object string) bool {
	if len(object) == 0 || object[0] != '{' {
		return false
	}
	for i := 1; i < len(object); {
		open := strings.IndexByte(object[i:], '"')
		if open < 0 {
			return false
		}
		start := i + open + 1
		end := stringEnd(object, start)
		key := object[start:min(end, len(object))]
		i = end + 1
		for i < len(object) && (object[i] == ':' || object[i] <= ' ') {
			i++
		}
		if i >= len(object) {
			return false
		}
		switch object[i] {
		case '"':
			end := stringEnd(object, i+1)
			if end > i+1 && key != "role" && key != "type" {
				return true
			}
			i = end + 1
		case '[', '{':
			inner := strings.TrimLeft(object[i+1:], " \t\r\n")
			if inner != "" && inner[0] != ']' && inner[0] != '}' {
				return true
			}
			i += len(object[i:]) - len(inner) + 1
		default:
			next := strings.IndexByte(object[i:], ',')
			if next < 0 {
				return false
			}
			i += next + 1
		}
	}
	return false
}

// stringEnd returns the index of the quote that closes the string whose first
// byte is at i.
func stringEnd(s string, i int) int {
	for ; i < len(s) && s[i] != '"'; i++ {
		if s[i] == '\\' {
			i++
		}
	}
	return i
}

// view reads bytes as a string without copying them; neither outlives the call.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
