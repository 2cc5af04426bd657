package request

import (
	"bytes"
	"unsafe"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// Params are the fields of a request's body that breakwater needs. The zero
// value is of a body with none of them; see Parse.
type Params struct {
	Model       string // a part of the body, not a copy: see Names
	ModelAt     Span   // the JSON value
	UserField   string // that names the caller's own user: user or user_id
	UserAt      Span   // the field's name; zero: there is none, or both are there
	MaxTokens   int    // that the answer may have; 0: not said
	MaxTokensAt Span   // the JSON value
	MessagesEnd int    // where the list of messages ends: its bracket; 0: there is none
	Choices     int    // that the answer is to have
	Thinking    Thinking

	Stream           bool // the answer is to be a stream
	IncludeUsage     bool // the stream is to say what it took, in an event of its own
	Ambiguous        bool // hosts may read Stream and IncludeUsage in another way
	Logprobs         bool
	ZeroTemperature  bool // the temperature is given, as 0
	Stateful         bool // the request goes on from what one host keeps
	PrefixCompletion bool // the last message is the beginning of the answer; Parse does not find it: see PrefixCompletion
}

// A Span is a part of a body: from its first byte to the one behind its last.
type Span struct{ From, To int }

// maxModel bounds a model's name, in bytes.
const maxModel = 256

// Parse finds the parameters in one pass over the body. A body that is no JSON
// object has none: the host will say what is wrong with it.
func Parse(body []byte) Params {
	p := parser{choices: 1, prompts: 1}
	wire.Members(body, p.member)
	p.Stream, p.IncludeUsage = p.stream.on, p.usage.on
	p.Ambiguous = p.stream.odd || p.usage.odd || p.options.odd
	if p.modes > 1 {
		p.Thinking.At = Span{}
	}
	p.Choices = int(min(p.choices*float64(p.prompts), maxChoices))
	return p.Params
}

// maxChoices is how many choices hosts give at most.
const maxChoices = 128

// A parser is one pass over a body.
type parser struct {
	Params
	stream, usage flag
	options       flag // stream_options: whether it is odd, and was there
	modes         int  // fields that say whether to think
	choices       float64
	prompts       int
}

// member takes in a member of the body.
func (p *parser) member(m wire.Member) {
	switch string(m.Name) {
	case "model":
		// No model has a name like a book: such a one is passed on, not kept.
		if v := parsed(m.Value); v.Type == gjson.String && len(v.Str) <= maxModel {
			p.Model, p.ModelAt = v.Str, valueOf(m)
		}
	case "stream":
		p.stream.set(parsed(m.Value))
	case "stream_options":
		p.streamOptions(m)
	case "thinking", "enable_thinking", "reasoning":
		p.thinking(m)
	case "user", "user_id":
		p.user(m)
	case "temperature":
		v := parsed(m.Value)
		p.ZeroTemperature = v.Type == gjson.Number && v.Num == 0
	case "max_tokens", "max_completion_tokens", "max_output_tokens":
		p.MaxTokens = int(min(max(parsed(m.Value).Num, 0), wire.MaxTokens))
		p.MaxTokensAt = valueOf(m)
	case "messages":
		p.messages(m)
	case "logprobs":
		p.Logprobs = parsed(m.Value).Type == gjson.True
	case "n":
		p.choices = min(max(parsed(m.Value).Float(), 1), maxChoices) // hosts take "2" for 2
	case "prompt":
		p.prompts = countTexts(parsed(m.Value))
	case "previous_response_id", "conversation":
		p.Stateful = p.Stateful || parsed(m.Value).Type != gjson.Null
	case "background":
		p.Stateful = p.Stateful || parsed(m.Value).Type == gjson.True
	default:
		p.other(m.Name)
	}
}

// other takes in a field of another name. Hosts that are written in Go, among
// others, take names in any case.
func (p *parser) other(name []byte) {
	if bytes.EqualFold(name, []byte("stream")) || bytes.EqualFold(name, []byte("stream_options")) {
		p.stream.odd = true
	}
}

// streamOptions takes in the object that says what a stream is to contain.
func (p *parser) streamOptions(m wire.Member) {
	v := parsed(m.Value)
	p.options.odd = p.options.odd || p.options.said || !v.IsObject() && v.Type != gjson.Null
	p.options.said = true
	wire.Members(m.Value, func(o wire.Member) {
		if v := parsed(o.Value); string(o.Name) == "include_usage" {
			p.usage.set(v)
		} else { // another host's own, or this one in another case
			p.options.odd = p.options.odd || v.Type != gjson.Null
		}
	})
}

// messages takes in the list of a chat's messages.
func (p *parser) messages(m wire.Member) {
	if bytes.HasPrefix(m.Value, []byte("[")) && bytes.HasSuffix(m.Value, []byte("}]")) {
		p.MessagesEnd = m.ValueEnds - 1
	}
}

// user takes in a field that names the caller's own user.
func (p *parser) user(m wire.Member) {
	if p.UserField != "" {
		p.UserAt = Span{} // there are two of them: nobody can tell which one counts
		return
	}
	p.UserAt = Span{m.NameAt, m.NameEnds}
	p.UserField = "user" // not a part of the body: Params are kept for longer than that
	if string(m.Name) == "user_id" {
		p.UserField = "user_id"
	}
}

func valueOf(m wire.Member) Span { return Span{m.ValueAt, m.ValueEnds} }

// A flag is what the members of one name say of something that is on or off.
type flag struct {
	on   bool // the last of them says so
	said bool
	odd  bool // they differ, or one says neither: hosts take the first or the last, and "true" or 1 for true, or refuse it
}

func (f *flag) set(v gjson.Result) {
	on := v.Type == gjson.True
	f.odd = f.odd || !on && v.Type != gjson.False && v.Type != gjson.Null || f.said && f.on != on
	f.on, f.said = on, true
}

// parsed is a part of a body as gjson sees it. It shares the body's memory.
func parsed(text []byte) gjson.Result {
	return gjson.Parse(unsafe.String(unsafe.SliceData(text), len(text)))
}

// Inputs returns how many texts a request for embeddings has, each of which
// gets a vector.
func Inputs(body []byte) int { return countTexts(gjson.GetBytes(body, "input")) }

// countTexts counts the prompts of a FIM completion, or the inputs of
// embeddings. A text or a list of tokens is one, a list of those is many.
func countTexts(value gjson.Result) int {
	n := 0
	if value.IsArray() {
		value.ForEach(func(_, text gjson.Result) bool {
			if text.Type == gjson.String || text.IsArray() {
				n++
			}
			return true
		})
	}
	return max(n, 1)
}

// PrefixCompletion reports whether the last message of a chat is the beginning
// of the answer, for the host to go on from. Only hosts that have such an API
// take it so, and to know costs another look at all messages. API:
// https://api-docs.deepseek.com/guides/chat_prefix_completion.
func PrefixCompletion(body []byte) bool {
	prefix := false
	gjson.GetBytes(body, "messages").ForEach(func(_, message gjson.Result) bool {
		prefix = message.Get("prefix").Type == gjson.True
		return true
	})
	return prefix
}
