package breakwater

import (
	"bytes"
	"slices"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// look is what the one look into a request's body found.
type look struct {
	model       string
	modelAt     span // the JSON value
	userField   string
	userAt      span // the key
	temperature float64
	choices     int
	messagesEnd int // where the list of messages ends: its bracket; 0: there is none
	maxTokens   int
	maxTokensAt span // the JSON value

	thinkingAt   span  // the whole member, if there is just one such
	saysThinking uint8 // the fields of that kind that are there at all, null ones too: as bits
	thinkingIn   thinkingField
	thinking     bool // the call asks the model to think

	stream         bool
	extraUsage     bool // the stream is to say what it took, in an event of its own
	oddForm        bool // but hosts may read that otherwise
	logprobs       bool
	hasTemperature bool
	stateful       bool // it goes on from what one host keeps
	prefix         bool // its last message is the beginning of the answer
}

// thinkingMode is 0 where the call does not say whether to think, else 1 or 2:
// no, yes. What thinks takes longer.
func (l *look) thinkingMode() int {
	switch {
	case l.thinking:
		return 2
	case l.thinkingIn != thinkingUnknown:
		return 1
	}
	return 0
}

// A span is a part of a body.
type span struct{ from, to int }

// names keeps model names, so that those of calls need not be copied out of
// their bodies each time: a bounded number, since they come from callers.
type names struct {
	all bounded.Map[string, string]
}

const (
	maxNames = 1024
	maxName  = 256 // bytes
)

func (n *names) intern(name string) string {
	if known, ok := n.all.Get(name); ok {
		return known
	}
	name = strings.Clone(name)
	return n.all.GetOrAdd(name, func() string { return name })
}

// lookInto reads the fields breakwater needs in one pass. The model's name is
// part of the body, not a copy. A body that is no JSON object yields nothing:
// the host will say what is wrong with it.
func lookInto(body []byte) look {
	l := look{choices: 1}
	modes, n, prompts := 0, 1.0, 1
	var stream, usage, options onOff
	think := func(in thinkingField, on bool, m wire.Member) {
		modes++
		l.thinking = l.thinking || on
		l.thinkingIn, l.thinkingAt = in, span{m.NameAt, m.ValueEnds}
	}
	wire.Members(body, func(m wire.Member) {
		at := span{m.ValueAt, m.ValueEnds}
		value := func() gjson.Result { return parsed(m.Value) }
		switch string(m.Name) {
		case "model":
			// No model has a name like a book: such a one is passed on, not kept.
			if v := value(); v.Type == gjson.String && len(v.Str) <= maxName {
				l.model, l.modelAt = v.Str, at
			}
		case "stream":
			stream.say(value())
		case "stream_options":
			v := value()
			options.odd = options.odd || options.said || !v.IsObject() && v.Type != gjson.Null
			options.said = true
			wire.Members(m.Value, func(o wire.Member) {
				if v := parsed(o.Value); string(o.Name) == "include_usage" {
					usage.say(v)
				} else { // another host's own, or this one in another case
					options.odd = options.odd || v.Type != gjson.Null
				}
			})
		case "thinking":
			l.saysThinking |= 1 << thinkingObject
			if kind := value().Get("type").Str; kind != "" {
				think(thinkingObject, kind != "disabled", m)
			}
		case "enable_thinking":
			l.saysThinking |= 1 << enableThinking
			if v := value(); v.IsBool() {
				think(enableThinking, v.Type == gjson.True, m)
			}
		case "reasoning":
			l.saysThinking |= 1 << reasoningObject
			if enabled := value().Get("enabled"); enabled.IsBool() {
				think(reasoningObject, enabled.Type == gjson.True, m)
			}
		case "user", "user_id":
			if l.userField != "" {
				l.userAt = span{} // both: none is renamed
				break
			}
			l.userField, l.userAt = "user", span{m.NameAt, m.NameEnds} // no part of the body: it is kept for long
			if string(m.Name) == "user_id" {
				l.userField = "user_id"
			}
		case "temperature":
			v := value()
			l.temperature, l.hasTemperature = v.Num, v.Type == gjson.Number
		case "max_tokens", "max_completion_tokens", "max_output_tokens":
			l.maxTokens = int(min(max(value().Num, 0), wire.MaxTokens))
			l.maxTokensAt = at
		case "messages":
			if bytes.HasPrefix(m.Value, []byte("[")) && bytes.HasSuffix(m.Value, []byte("}]")) {
				l.messagesEnd = m.ValueEnds - 1
			}
		case "logprobs":
			l.logprobs = value().Type == gjson.True
		case "n":
			n = min(max(value().Float(), 1), 128) // hosts take "2" for 2
		case "prompt":
			prompts = promptsIn(value())
		case "previous_response_id", "conversation":
			l.stateful = l.stateful || value().Type != gjson.Null
		case "background":
			l.stateful = l.stateful || value().Type == gjson.True
		default: // hosts that are written in Go, among others, take names in any case
			stream.odd = stream.odd || bytes.EqualFold(m.Name, []byte("stream")) || bytes.EqualFold(m.Name, []byte("stream_options"))
		}
	})
	l.stream, l.extraUsage, l.oddForm = stream.on, usage.on, stream.odd || usage.odd || options.odd
	if modes > 1 {
		l.thinkingAt = span{}
	}
	l.choices = int(min(n*float64(prompts), 128))
	return l
}

// An onOff is what members of one name say of something that is on or off.
type onOff struct {
	on   bool // the last of them says so
	said bool
	odd  bool // they differ, or one says neither: hosts take the first or the last, and "true" or 1 for true, or refuse it
}

func (f *onOff) say(v gjson.Result) {
	on := v.Type == gjson.True
	f.odd = f.odd || !on && v.Type != gjson.False && v.Type != gjson.Null || f.said && f.on != on
	f.on, f.said = on, true
}

// parsed is a part of a body as gjson sees it, not a copy.
func parsed(text []byte) gjson.Result {
	return gjson.Parse(unsafe.String(unsafe.SliceData(text), len(text)))
}

// promptsIn counts the prompts of a FIM completion, each of which has choices
// of its own, or the inputs of embeddings, each of which has a vector: a text or a list of tokens is one, a list of those is many.
func promptsIn(value gjson.Result) int {
	n := 0
	if value.IsArray() {
		value.ForEach(func(_, prompt gjson.Result) bool {
			if prompt.Type == gjson.String || prompt.IsArray() {
				n++
			}
			return true
		})
	}
	return max(n, 1)
}

// beginsAnswer reports whether the last message of a chat is the beginning of
// the answer, for the host to go on from. API:
// https://api-docs.deepseek.com/guides/chat_prefix_completion.
func beginsAnswer(body []byte) bool {
	text := gjson.GetBytes(body, "messages")
	prefix := false
	text.ForEach(func(_, message gjson.Result) bool {
		prefix = message.Get("prefix").Type == gjson.True
		return true
	})
	return prefix
}

// An edit puts text in the place of a span.
type edit struct {
	at   span
	text string
}

// editsFor is what makes the call's body e's: the model by its name there, and,
// where e's host has other fields for them than the caller's, the mode of
// thinking and the caller's user. Every other byte stays as it was: the host's
// prefix cache depends on it.
func (c *call) editsFor(e *upstream, model string) []edit {
	var edits []edit
	l := &c.look
	renamed := l.modelAt.to != 0 && model != l.model
	if renamed {
		edits = append(edits, edit{l.modelAt, string(gjson.AppendJSONString(nil, model))})
	}
	if think, old := retired[l.model]; old && renamed && l.thinkingIn == thinkingUnknown && !e.row.thinks(model) {
		// Today's models of that name think by themselves; those of old did as they were called.
		field := e.row.thinking
		switch c.op {
		case opMessages:
			field = thinkingObject
			if think { // Anthropic's field wants a budget with that
				field = thinkingUnknown
			}
		case opChat:
		default:
			field = thinkingUnknown
		}
		if field != thinkingUnknown && l.saysThinking&(1<<field) == 0 {
			after := span{l.modelAt.to, l.modelAt.to}
			edits = append(edits, edit{after, `,"` + field.name() + `":` + field.value(think)})
		}
	}
	if c.op == opChat && e.row != c.target.row {
		if to := e.row.thinking; l.thinkingAt.to != 0 && to != thinkingUnknown && l.saysThinking&(1<<to) == 0 {
			edits = append(edits, edit{l.thinkingAt, `"` + to.name() + `":` + to.value(l.thinking)})
		}
		if to := e.row.userField(); l.userAt.to != 0 && l.userField == c.target.row.userField() && to != l.userField {
			edits = append(edits, edit{l.userAt, `"` + to + `"`})
		}
	}
	return edits
}

// withEdits appends body with the edits made to text.
func withEdits(text, body []byte, edits []edit) []byte {
	slices.SortStableFunc(edits, func(a, b edit) int { return a.at.from - b.at.from })
	size, done := len(body), 0
	for _, e := range edits {
		size += len(e.text)
	}
	text = slices.Grow(text, size)
	for _, e := range edits {
		text = append(append(text, body[done:e.at.from]...), e.text...)
		done = e.at.to
	}
	return append(text, body[done:]...)
}
