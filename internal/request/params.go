package request

import (
	"bytes"
	"math"
	"unsafe"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// Params are the fields of a request's body that breakwater needs. The zero
// value is of a body with none of them; see Parse.
type Params struct {
	Model       string // a part of the body, not a copy: see Names
	ModelAt     Span   // the JSON value
	UserField   string // the field that names the caller's own user: user or user_id
	UserAt      Span   // the field's name; zero: there is none, or there are both
	MaxTokens   int    // the most that the answer may have; 0: not given
	MaxTokensAt Span   // the JSON value
	MessagesEnd int    // the offset of the bracket that ends the list of messages; 0: there is none
	Choices     int32  // the number that the answer should have
	Options     bool   // there are stream_options
	Thinking    Thinking
	TextBytes   int32 // bytes of the texts that the model will certainly read, as JSON
	LeastTokens int32 // tokens that these have at least; 0: not known. Parse does not set it: see MeasureTokens

	Stream           bool // the request asks for a stream
	IncludeUsage     bool // the stream should have an event with the usage
	Ambiguous        bool // hosts may understand Stream and IncludeUsage differently
	Logprobs         bool
	ZeroTemperature  bool // the temperature is given, as 0
	PrefixCompletion bool // the last message begins the answer, which the host then continues: https://api-docs.deepseek.com/guides/chat_prefix_completion
	Needs            Needs
}

// A Span is a part of a body, from its first byte to the one after its last.
type Span struct{ From, To int }

// maxModel bounds a model's name, in bytes.
const maxModel = 256

// Parse finds the parameters in one pass over the body. A body that is not a JSON object
// has none: the host will refuse it.
func Parse(body []byte) Params {
	p := newParser(body)
	p.read()
	return p.finish()
}

// finish returns the parameters once the body has been read.
func (p *parser) finish() Params {
	p.Stream, p.IncludeUsage, p.Options = p.stream.on, p.usage.on, p.options.said
	p.Ambiguous = p.stream.odd || p.usage.odd || p.options.odd
	if p.modes > 1 {
		p.Thinking.At = Span{}
	}
	if !p.shortens {
		p.TextBytes = int32(min(p.textBytes, math.MaxInt32))
	}
	p.Choices = int32(min(p.choices*float64(p.prompts), maxChoices))
	return p.Params
}

func newParser(body []byte) parser {
	return parser{walk: wire.NewWalker(body), choices: 1, prompts: 1}
}

// read reads the body.
func (p *parser) read() {
	for l := p.walk.Enter('{'); p.walk.Next(&l); {
		p.needs(&l)
		if m, ok := p.walk.Member(&l); ok {
			p.member(m)
		}
	}
	p.settle()
}

// maxChoices is the largest number of choices that hosts return.
const maxChoices = 128

// A parser is one pass over a body.
type parser struct {
	Params
	walk          wire.Walker
	history       bool // a message says what a tool of the host's did
	partial       bool // the last message begins the answer, in the words of some hosts
	shortens      bool // the host may shorten texts that are too long
	measures      bool // to count tokens, too
	textBytes     int
	tokens        int
	stream, usage flag
	options       flag // stream_options: whether it is there, and whether it is odd
	modes         int  // number of fields that say whether to think
	choices       float64
	prompts       int
}

// member reads a member of the body.
func (p *parser) member(m wire.Member) {
	switch string(m.Name) {
	case "model":
		// No model has such a long name: it is passed on, but not kept.
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
		p.choices = min(max(parsed(m.Value).Float(), 1), maxChoices) // hosts accept "2" for 2
	case "prompt":
		p.prompts = countTexts(parsed(m.Value))
	default:
		p.other(m.Name)
	}
}

// other reads a field with another name. Hosts written in Go, among others, accept names
// in any case.
func (p *parser) other(name []byte) {
	if bytes.EqualFold(name, []byte("stream")) || bytes.EqualFold(name, []byte("stream_options")) {
		p.stream.odd = true
	}
}

// streamOptions reads the object that says what a stream should contain.
func (p *parser) streamOptions(m wire.Member) {
	v := parsed(m.Value)
	p.options.odd = p.options.odd || p.options.said || !v.IsObject() && v.Type != gjson.Null
	p.options.said = true
	wire.Members(m.Value, func(o wire.Member) {
		if v := parsed(o.Value); string(o.Name) == "include_usage" {
			p.usage.set(v)
		} else { // a host's own option, or a known one in another case
			p.options.odd = p.options.odd || v.Type != gjson.Null
		}
	})
}

// messages reads the list of a chat's messages.
func (p *parser) messages(m wire.Member) {
	if bytes.HasPrefix(m.Value, []byte("[")) && bytes.HasSuffix(m.Value, []byte("}]")) {
		p.MessagesEnd = m.ValueEnds - 1
	}
}

// user reads a field that names the caller's own user.
func (p *parser) user(m wire.Member) {
	if p.UserField != "" {
		p.UserAt = Span{} // there are two, and nobody can tell which one counts
		return
	}
	p.UserAt = Span{m.NameAt, m.NameEnds}
	p.UserField = "user" // not a part of the body, because Params are kept longer than that
	if string(m.Name) == "user_id" {
		p.UserField = "user_id"
	}
}

func valueOf(m wire.Member) Span { return Span{m.ValueAt, m.ValueEnds} }

// A flag is the value of a boolean field that may come several times.
type flag struct {
	on   bool // the value of the last one
	said bool
	odd  bool // they differ, or one is no boolean: hosts take the first or the last, take "true" or 1 for true, or refuse it
}

func (f *flag) set(v gjson.Result) {
	on := v.Type == gjson.True
	f.odd = f.odd || !on && v.Type != gjson.False && v.Type != gjson.Null || f.said && f.on != on
	f.on, f.said = on, true
}

// parsed returns a part of a body for gjson, without copying it.
func parsed(text []byte) gjson.Result {
	return gjson.Parse(unsafe.String(unsafe.SliceData(text), len(text)))
}

// Inputs returns how many texts a request for embeddings has; each gets a vector.
func Inputs(body []byte) int { return countTexts(gjson.GetBytes(body, "input")) }

// countTexts counts the prompts of a FIM completion, or the inputs of embeddings. A text
// or a list of tokens counts as one, a list of these as many.
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
