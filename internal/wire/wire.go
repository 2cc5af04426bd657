// Package wire reads what breakwater needs from the bodies of inference APIs, without
// decoding them: whether a body is an answer, whether it is complete, and how many tokens
// it took. It writes errors in the same formats. An [Answer] keeps the state of one answer
// and is not safe for concurrent use; all else is pure. It knows no HTTP, and any package
// may use it.
package wire

import (
	"math"
	"math/bits"
)

// A Wire is a format of answers.
type Wire int

const (
	Chat       Wire = iota // chat completions and FIM completions
	Responses              // OpenAI's Responses API
	Messages               // Anthropic's Messages API
	Embeddings             // OpenAI's embeddings: never streamed
)

// A Signal is what one JSON text, a complete answer or a stream event, means. If it means
// several things, the largest counts.
type Signal int

const (
	Nothing        Signal = iota // valid, but carries no payload: role only, empty delta, usage
	KeepAlive                    // a keep-alive in the form of an event
	Payload                      // carries text, reasoning, a refusal or a tool call
	Done                         // the terminator
	Malformed                    // neither JSON nor the terminator
	Failure                      // an error in place of an answer
	OutOfResources               // the host cut the answer short because it lacks resources
)

// Usage counts tokens as the APIs' usage objects do. PromptTokens includes the tokens from
// the host's prefix cache.
type Usage struct {
	PromptTokens, CompletionTokens, TotalTokens int
	CachedTokens, ReasoningTokens               int
}

// MaxTokens is the largest count of tokens. It fits an int of 32 bits.
const MaxTokens = math.MaxInt32

// An Answer tracks one answer through its text or events. The zero value expects one
// choice of a chat completion.
type Answer struct {
	Wire       Wire
	Choices    int // choices requested; 0 means 1; Unknown
	Usage      Usage
	Transcript *Transcript // of a streamed chat; nil: not recorded
	Partial    bool        // a choice ended before it was complete: at its token limit, or by a filter
	HasContent bool        // there was payload
	Listener   Listener    // hears which model the answer is of; nil: nobody does

	hasModel, hasFingerprint bool // the listener has heard it

	begun          bool  // the frame of an answer has come: a list of choices, a response, a message
	indexed        bool  // indices name choices: one came again or out of order, or two came at once
	mixed          bool  // several choices came that cannot be told apart
	stopped        bool  // a finish reason came last, for whichever choice
	chunks, last   int32 // the number of choices with an index, and the latest index
	seen, finished set   // choices by index
}

// A Listener hears what an answer says of the model that it is of.
type Listener interface {
	// ServedBy tells the name of the model and the fingerprint of what runs it, the first of
	// each that the answer has, at once or one after the other; nil: not this one. The bytes
	// are the host's, and valid during the call only.
	ServedBy(model, fingerprint []byte)
}

// A Transcript records the text of an answer, so that another attempt can continue it.
type Transcript struct {
	Text, Reasoning []byte // with JSON's escapes, without the quotes
	Other           bool   // something else came: a tool call, a refusal, another choice
}

// maxChoices is how many choices are told apart, as many as the API allows.
const maxChoices = 128

// maxIndex bounds an index.
const maxIndex = 1 << 30

// A set holds indexes below maxChoices.
type set [maxChoices / 64]uint64

func (s *set) add(i int) {
	i = min(max(i, 0), maxChoices-1)
	s[i/64] |= 1 << (i % 64)
}

func (s *set) len() int { return bits.OnesCount64(s[0]) + bits.OnesCount64(s[1]) }

// Unknown is the number of choices if the request could not be parsed.
const Unknown = -1

// Finished reports whether every requested choice has a finish reason. If their number is
// not known, another one may always follow.
func (a *Answer) Finished() bool {
	if !a.Ended() {
		return false
	}
	n := a.finished.len()
	if a.one() {
		n = 1
	}
	return n >= a.asked()
}

// Ended reports whether the answer is complete if nothing more comes: every choice that
// began has a finish reason. Hosts may return fewer choices than requested.
func (a *Answer) Ended() bool {
	switch {
	case !a.stopped && a.finished == (set{}): // no finish reason has come
		return false
	case a.one():
		return a.stopped
	}
	return a.finished == a.seen && !a.mixed && a.finished.len() > 0
}

// cut reports whether some choices have a finish reason and some do not.
func (a *Answer) cut() bool {
	some := a.finished.len() > 0
	if a.one() {
		some = a.stopped
	}
	return some && !a.Ended()
}

// identify tells the listener of a model and a fingerprint that a text names, unless it has
// heard of them. c has read the text: what is no JSON names nothing.
func (a *Answer) identify(c *cursor, model, fingerprint value) {
	if a.hasModel || !model.isText() {
		model = nil
	}
	if a.hasFingerprint || !fingerprint.isText() {
		fingerprint = nil
	}
	if model == nil && fingerprint == nil || a.Listener == nil || !c.ended() {
		return
	}
	a.hasModel, a.hasFingerprint = a.hasModel || model != nil, a.hasFingerprint || fingerprint != nil
	a.Listener.ServedBy(model.text(), fingerprint.text())
}

// asked returns how many choices were requested, or more than possible if that is not
// known. Only chats and prompts have several.
func (a *Answer) asked() int {
	switch {
	case a.Wire != Chat:
		return 1
	case a.Choices == Unknown:
		return maxChoices + 1
	}
	return min(max(a.Choices, 1), maxChoices)
}

// takeIndex notes the index of a choice, whether the choice ends, and whether it has
// payload.
func (a *Answer) takeIndex(index int, ends, payload bool) {
	i := int32(index) // maxIndex at most
	if a.chunks > 0 {
		a.indexed = a.indexed || i <= a.last
		a.mixed = a.mixed || i != a.last && max(i, a.last) >= maxChoices
	}
	a.chunks, a.last = a.chunks+1, i
	a.seen.add(index)
	if ends {
		a.finished.add(index)
	}
	a.stopped = ends || a.stopped && !payload
}

// one reports whether the answer has one choice whose index counts chunks, as some hosts
// do: each index came once and in order, and there are more than choices requested. An
// index that comes again names a choice after all.
func (a *Answer) one() bool {
	n := a.asked()
	return !a.indexed && n < maxChoices && int(a.chunks) > n
}

// counted reports whether indices look like a count of chunks although the number of
// requested choices is not known: each came once and in order, and only the last has a
// finish reason.
func (a *Answer) counted() bool {
	var last set
	last.add(int(a.last))
	return a.Choices == Unknown && !a.indexed && a.chunks > 1 && a.last == a.chunks-1 && a.finished == last
}

// Begun reports whether the frame of an answer has come.
func (a *Answer) Begun() bool { return a.begun }

// finish notes that the only choice has ended.
func (a *Answer) finish() {
	a.seen.add(0)
	a.finished.add(0)
}

// Event reads the data of one stream event.
func (a *Answer) Event(data []byte) Signal {
	if string(data) == "[DONE]" {
		// It terminates no other wire, and no answer of which only some choices have a
		// finish reason. If none has one, it does: some hosts omit them all.
		if a.Wire != Chat && !a.Finished() || a.cut() && !a.counted() {
			return Nothing
		}
		return Done
	}
	return a.read(data, true)
}

// Text reads a complete answer.
func (a *Answer) Text(data []byte) Signal { return a.read(data, false) }

// read reads a text. If its end shows that it is not JSON, what was found before is
// undone.
func (a *Answer) read(data []byte, event bool) Signal {
	c := cursor{text: data}
	if c.peek() != '{' {
		return Malformed
	}
	before, transcript := *a, Transcript{}
	if a.Transcript != nil {
		transcript = *a.Transcript
	}
	signal := a.object(&c, event)
	empty := !event && a.Wire == Chat && signal == Nothing && a.begun && a.seen.len() == 0 // a list of choices that is empty
	if !c.ended() || empty {
		*a = before
		if a.Transcript != nil {
			*a.Transcript = transcript
		}
		return Malformed
	}
	a.HasContent = a.HasContent || signal == Payload
	return signal
}

func (a *Answer) object(c *cursor, event bool) Signal {
	switch {
	case a.Wire == Responses && event:
		return a.responsesEvent(c)
	case a.Wire == Responses:
		return a.response(c)
	case a.Wire == Messages && event:
		return a.messagesEvent(c)
	case a.Wire == Messages:
		return a.message(c)
	case a.Wire == Embeddings:
		return a.embeddings(c)
	}
	return a.chat(c, event)
}

// members are the members that the wires other than chat need, of an event or of the
// answer itself. If a name occurs several times, the first counts.
type members struct {
	all value // the object that has them

	kind                            value // "type"
	err, code, message, usage       value
	response, item                  value // of Responses' events
	delta, text, arguments, refusal value
	status, output                  value // of a response
	block, content, stop            value // of Messages
	data                            value // of Embeddings
	model, fingerprint              value
}

func (m *members) read(c *cursor) {
	m.all = c.text
	if !c.enter('{') {
		return
	}
	for c.more('}') {
		if v := m.named(c.key()); v != nil && *v == nil {
			*v = c.value()
		} else {
			c.skip()
		}
	}
}

func (m *members) named(name []byte) *value {
	switch string(name) {
	case "type":
		return &m.kind
	case "error":
		return &m.err
	case "code":
		return &m.code
	case "message":
		return &m.message
	case "usage":
		return &m.usage
	case "response":
		return &m.response
	case "item":
		return &m.item
	case "delta":
		return &m.delta
	case "text":
		return &m.text
	case "arguments":
		return &m.arguments
	case "refusal":
		return &m.refusal
	case "status":
		return &m.status
	case "output":
		return &m.output
	case "content_block":
		return &m.block
	case "content":
		return &m.content
	case "stop_reason":
		return &m.stop
	case "data":
		return &m.data
	case "model":
		return &m.model
	case "system_fingerprint":
		return &m.fingerprint
	}
	return nil
}

// isFlatError reports whether there are a code and a message in place of an answer.
func (m *members) isFlatError() bool { return m.code.isSet() && m.message.isSet() }

// embeddings reads embeddings, which are either complete or missing.
func (a *Answer) embeddings(c *cursor) Signal {
	var m members
	m.read(c)
	a.identify(c, m.model, m.fingerprint)
	if m.err.isError() {
		return Failure
	}
	a.takeUsage(m.usage.cursor())
	if !m.data.is('[') {
		return Nothing
	}
	a.begun = true
	a.finish()
	return Payload
}

// takeUsage reads a usage object with the names of any wire. Parts add up, because
// Messages sends several.
func (a *Answer) takeUsage(c *cursor) {
	if !c.enter('{') {
		return
	}
	var u Usage
	read, written := 0, 0 // prompt tokens from and into the prefix cache, if they are counted separately
	for c.more('}') {
		switch string(c.key()) {
		case "prompt_tokens", "input_tokens":
			u.PromptTokens = c.value().tokens()
		case "completion_tokens", "output_tokens":
			u.CompletionTokens = c.value().tokens()
		case "total_tokens":
			u.TotalTokens = c.value().tokens()
		case "prompt_cache_hit_tokens":
			u.CachedTokens = max(u.CachedTokens, c.value().tokens())
		case "prompt_tokens_details", "input_tokens_details":
			u.CachedTokens = max(u.CachedTokens, c.value().get("cached_tokens").tokens())
		case "completion_tokens_details", "output_tokens_details":
			u.ReasoningTokens = c.value().get("reasoning_tokens").tokens()
		case "cache_read_input_tokens":
			read = c.value().tokens()
		case "cache_creation_input_tokens":
			written = c.value().tokens()
		default:
			c.skip()
		}
	}
	if a.Wire == Messages {
		u.PromptTokens = max(a.Usage.PromptTokens, sum(u.PromptTokens, read, written))
		u.CachedTokens = max(a.Usage.CachedTokens, read)
		u.CompletionTokens = max(a.Usage.CompletionTokens, u.CompletionTokens)
		u.TotalTokens = sum(u.PromptTokens, u.CompletionTokens)
	}
	a.Usage = u
}

// sum adds counts of tokens, up to MaxTokens.
func sum(counts ...int) int {
	var all int64
	for _, n := range counts {
		all += int64(n)
	}
	return int(min(all, MaxTokens))
}

// tokens reads a count of tokens.
func (v value) tokens() int { return v.count(MaxTokens) }

// carries reads a delta, message or block and reports whether it has anything but its role
// and type: a text, list or object that is not empty.
func carries(c *cursor, transcript *Transcript) bool {
	if !c.enter('{') {
		return false
	}
	found, reasoned, spoken := false, false, false
	for c.more('}') {
		key := c.key()
		switch v := c.value(); {
		case v.isText():
			if string(key) == "role" || string(key) == "type" {
				continue
			}
			found = true
			// A text that comes twice, under one name or two, makes the transcript
			// unclear.
			switch string(key) {
			case "content":
				if spoken {
					key = nil
				}
				spoken = true
			case "reasoning", "reasoning_content":
				if reasoned {
					key = nil
				}
				reasoned = true
			}
			transcript.take(key, v[1:len(v)-1])
		case v.isFilled():
			found = true
			transcript.take(nil, nil)
		}
	}
	return found
}

// take records a member that is not empty; of a text, what is between its quotes.
func (t *Transcript) take(key, text []byte) {
	if t == nil {
		return
	}
	switch string(key) {
	case "content":
		t.Text = append(t.Text, text...)
	case "reasoning_content", "reasoning":
		t.Reasoning = append(t.Reasoning, text...)
	default:
		t.Other = true
	}
}
