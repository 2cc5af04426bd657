// Package chat reads what the bodies of the chat completions API say, without
// decoding them: is it an answer, is it whole, what did it cost.
// API: https://api-docs.deepseek.com/api/create-chat-completion.
package chat

import (
	"math/bits"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"
)

// Says is what one JSON text, whole answer or stream event, amounts to.
type Says int

const (
	Nothing        Says = iota // valid, but carries no payload: role only, empty delta, usage
	Payload                    // carries text, reasoning, a refusal or a tool call
	Done                       // the terminator [DONE]
	Malformed                  // neither JSON nor the terminator
	Failure                    // an error in the place of an answer
	OutOfResources             // finish_reason insufficient_system_resource: an answer cut short by the host
)

// Usage counts tokens as the API's usage object does.
type Usage struct {
	PromptTokens, CompletionTokens, TotalTokens int
	CachedTokens, ReasoningTokens               int
}

// An Answer follows one answer through its text or events. The zero value
// expects one choice.
type Answer struct {
	Choices int // choices asked for; 0 means 1
	Usage   Usage
	Length  bool // a choice ended because of its length

	seen, finished uint64 // choices by index
	choices        bool   // there was a list of choices
}

// maxChoices is how many choices are told apart: the API allows 128, hosts far fewer.
const maxChoices = 64

// Finished reports whether every choice has given its finish_reason.
func (a *Answer) Finished() bool {
	return a.finished != 0 && a.finished == a.seen &&
		bits.OnesCount64(a.finished) >= min(max(a.Choices, 1), maxChoices)
}

// HasChoices reports whether a list of choices was seen at all.
func (a *Answer) HasChoices() bool { return a.choices }

// Event takes in the data of one stream event.
func (a *Answer) Event(data []byte) Says {
	if string(data) == "[DONE]" {
		return Done
	}
	return a.Text(data)
}

// Text takes in one JSON text.
func (a *Answer) Text(data []byte) Says {
	if !gjson.ValidBytes(data) {
		return Malformed
	}
	text := gjson.Parse(view(data))
	if !text.IsObject() {
		return Malformed
	}
	says := Nothing
	failed, flat := false, 0
	text.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "choices":
			if value.IsArray() {
				a.choices = true
				value.ForEach(func(_, choice gjson.Result) bool {
					says = max(says, a.choice(choice))
					return true
				})
			}
		case "error":
			failed = failed || value.Type != gjson.Null && value.Type != gjson.False
		case "code", "message":
			if value.Type != gjson.Null {
				flat++
			}
		case "usage":
			a.usage(value)
		}
		return true
	})
	// Flat errors have a code and a message where an answer has choices (FACTS: SiliconFlow).
	if failed || flat == 2 && !a.choices {
		return Failure
	}
	return says
}

func (a *Answer) choice(choice gjson.Result) Says {
	says, index, finish := Nothing, 0, ""
	choice.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "index":
			index = int(value.Int())
		case "delta", "message":
			if carries(value.Raw) {
				says = Payload
			}
		case "finish_reason":
			finish = value.Str
		}
		return true
	})
	bit := uint64(1) << min(max(index, 0), maxChoices-1)
	a.seen |= bit
	switch finish {
	case "":
	case "insufficient_system_resource":
		return OutOfResources
	default:
		a.finished |= bit
		a.Length = a.Length || finish == "length"
	}
	return says
}

func (a *Answer) usage(value gjson.Result) {
	if !value.IsObject() {
		return
	}
	tokens := func(path string) int { return int(min(max(value.Get(path).Int(), 0), 1<<31)) }
	a.Usage = Usage{
		PromptTokens:     tokens("prompt_tokens"),
		CompletionTokens: tokens("completion_tokens"),
		TotalTokens:      tokens("total_tokens"),
		CachedTokens:     max(tokens("prompt_cache_hit_tokens"), tokens("prompt_tokens_details.cached_tokens")),
		ReasoningTokens:  tokens("completion_tokens_details.reasoning_tokens"),
	}
}

// carries reports whether a delta or message, a valid JSON object, holds
// anything but its role: a text that is not empty, a list or object that is
// not empty. It works on the raw text, since unescaping would allocate.
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
			if end > i+1 && key != "role" {
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

// A Refusal is an error body read leniently: an error object, an error
// string, or code and message at the top.
type Refusal struct {
	Code    string // error.code, or the flat code, as text
	Type    string // error.type
	Message string
	Status  int // the HTTP status that a numeric code stands for, else 0
}

// RefusalOf reads an error body. Text that is no JSON gives its first bytes as the message.
func RefusalOf(body []byte) Refusal {
	const maxMessage = 4 << 10
	if !gjson.ValidBytes(body) {
		return Refusal{Message: string(body[:min(len(body), maxMessage)])}
	}
	text := gjson.ParseBytes(body)
	from := text
	switch e := text.Get("error"); {
	case e.IsObject():
		from = e
	case e.Type == gjson.String:
		return Refusal{Message: e.Str, Code: text.Get("code").String()}
	}
	r := Refusal{
		Code:    from.Get("code").String(),
		Type:    from.Get("type").String(),
		Message: from.Get("message").String(),
	}
	if n, err := strconv.Atoi(r.Code); err == nil && n >= 400 && n <= 599 {
		r.Status = n
	}
	return r
}

// view reads bytes as a string without copying them; neither outlives the call.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
