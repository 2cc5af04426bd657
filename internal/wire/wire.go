// Package wire reads what breakwater needs from the bodies of inference APIs, without
// decoding them: whether a body is an answer, whether it is complete, and how many tokens
// it took. It writes errors in the same formats. An [Answer] keeps the state of one answer
// and is not safe for concurrent use; all else is pure. It knows no HTTP, and any package
// may use it.
//
// Hosts do not keep to the documents of the APIs. So these rules hold on every wire:
//
//   - A finish reason is final only if no payload follows it.
//   - An event that says nothing is passed over: null, a number, a ping, a success.
//   - An answer that says nothing at all is none: it has neither payload nor a finish reason
//     that the APIs know.
//   - Half an object is a part of the answer that was lost.
//   - An error inside an answer means what its HTTP status would: see [RefusalOf].
package wire

import (
	"bytes"
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
	Work                         // the host works on the answer with its own tools
	Payload                      // carries text, reasoning, a refusal or a tool call
	Done                         // the terminator
	Malformed                    // half an object, or no answer at all
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
	Transcript *Transcript // of a stream; nil: not recorded
	Said       *Said       // of a stream, on any wire; nil: not recorded
	Partial    bool        // a choice ended before it was complete: at its token limit, or by a filter
	Accepted   bool        // a response was accepted that is made in the background: there is no answer yet
	HasContent bool        // there was payload
	Counts     bool        // the tokens of its texts are counted, in Spoken
	Spoken     int32       // an estimate of the tokens that have come, in tenths: see EstimateTokens
	Listener   Listener    // hears which model the answer is of; nil: nobody does

	hasModel, hasFingerprint bool // the listener has heard it

	begun        bool  // the frame of an answer has come: a list of choices, a response, a message
	indexed      bool  // indices name choices: one came again or out of order, or two came at once
	together     bool  // several choices came at once, so that indices name choices
	mixed        bool  // several choices came that cannot be told apart
	stopped      bool  // a finish reason came last, for whichever choice
	alone        bool  // that reason came without payload
	unmarked     bool  // payload came without a finish reason
	refuted      bool  // payload came behind a finish reason
	doubtful     bool  // words came that are no JSON, or an error without words
	promised     bool  // the reason that came last speaks of tool calls, and none had come
	chunks, last int32 // the number of choices with an index, and the latest index
	top          int32 // the largest index

	seen, finished, reasoned set // choices by index; those whose finish reason came last, and those that had one
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
	Late            bool   // reasoning came behind text
	Frame           *Frame // of Messages and Responses
}

// Said is what the latest events of a stream have said. Whoever reads it empties it.
type Said struct {
	Text, Reasoning []byte // with JSON's escapes, without the quotes
	Whole           []byte // a text that Responses send once more, whole, or only so
	Other           bool   // something else came: a tool call, a refusal
}

// take records a member of a delta that is neither empty nor a member of the frame.
func (s *Said) take(key, text []byte) {
	if s == nil {
		return
	}
	switch string(key) {
	case "content", "text":
		s.Text = append(s.Text, text...)
	case "reasoning_content", "reasoning", "thinking":
		s.Reasoning = append(s.Reasoning, text...)
	case "signature", "reasoning_details", "reasoning_signature", "citation", "annotations", "name", "id", "data":
	default:
		s.Other = true
	}
}

// takeFilled records a member of a delta that is a list or an object.
func (s *Said) takeFilled(key []byte) {
	switch string(key) {
	case "content", "text": // a list of parts
		s.take(nil, nil)
	default:
		s.take(key, nil)
	}
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

func (s *set) remove(i int) {
	i = min(max(i, 0), maxChoices-1)
	s[i/64] &^= 1 << (i % 64)
}

func (s *set) has(i int) bool {
	i = min(max(i, 0), maxChoices-1)
	return s[i/64]&(1<<(i%64)) != 0
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

// Proven reports whether an answer that has ended is complete even if its connection breaks.
// A finish reason proves nothing at a host that gives one with each piece of the answer.
func (a *Answer) Proven() bool { return !a.refuted && (a.alone || a.unmarked) }

// Empty reports whether the answer says nothing at all.
func (a *Answer) Empty() bool { return !a.HasContent && (a.reasoned == (set{}) || a.promised) }

// cut reports whether some choices have had a finish reason and some have not.
func (a *Answer) cut() bool {
	return a.reasoned != (set{}) && a.reasoned != a.seen && !a.one()
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
	a.chunks, a.last, a.top = a.chunks+1, i, max(a.top, i)
	a.seen.add(index)
	if payload {
		a.refuted = a.refuted || a.reasoned.has(index) || a.stopped && a.one()
		a.unmarked = a.unmarked || !ends
		a.finished.remove(index)
	}
	if ends {
		a.finished.add(index)
		a.reasoned.add(index)
	}
	a.stopped = ends || a.stopped && !payload
	a.alone = !payload && (ends || a.alone)
}

// goesOn is takeIndex for payload of the first choice, which is nearly all that a stream brings. It
// reports false if it has done nothing, because something else came before.
func (a *Answer) goesOn() bool {
	if !a.indexed || !a.unmarked || a.stopped || a.last != 0 || a.reasoned != (set{}) {
		return false
	}
	a.chunks++
	return true
}

// one reports whether all that came is one choice, because an index is beyond the number of
// choices requested: some hosts count chunks with it. Choices may be numbered from 1, too.
func (a *Answer) one() bool {
	n, top := a.asked(), int(a.top)
	if n >= maxChoices || a.together {
		return false
	}
	return top > n || top == n && (n == 1 || a.seen.has(0))
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
	a.reasoned.add(0)
	a.alone = true
}

// goOn notes payload of the only choice.
func (a *Answer) goOn() {
	a.HasContent = true
	if a.finished != (set{}) {
		a.refuted, a.finished = true, set{}
	}
}

// Event reads the data of one stream event.
func (a *Answer) Event(data []byte) Signal {
	if len(data) > 0 && data[0] == '{' {
		return a.objects(data)
	}
	data = bytes.TrimSpace(data)
	for bytes.HasPrefix(data, []byte("data:")) { // some hosts add the field's name twice
		data = bytes.TrimSpace(data[len("data:"):])
	}
	switch {
	case string(data) == "[DONE]", string(data) == `"[DONE]"`:
		return a.terminator()
	case len(data) == 0:
		return Nothing
	case data[0] == '{':
		return a.objects(data)
	case data[0] == '[' && value(data).get("0").is('{'):
		if !Valid(data) {
			return Malformed
		}
		return a.read(value(data).get("0"), true)
	}
	a.doubtful = a.doubtful || isProse(data)
	return Nothing
}

// objects reads an object. Others, or the terminator, may follow it in the same event, because
// some gateways lose line ends.
func (a *Answer) objects(data []byte) Signal {
	signal := a.read(data, true)
	if signal != Malformed {
		return signal
	}
	before := a.remember()
	if signal = a.glued(data); signal == Malformed {
		a.undo(before)
	}
	return signal
}

// glued reads objects that follow each other without anything between them, or with the name of
// a field.
func (a *Answer) glued(data []byte) Signal {
	signal := Nothing
	for data[0] == '{' {
		c := cursor{text: data}
		c.skip()
		if c.bad || c.ended() {
			return max(signal, a.read(data, true))
		}
		signal = max(signal, a.read(data[:c.at], true))
		data = bytes.TrimSpace(data[c.at:])
		data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("data:")))
		if len(data) == 0 {
			return Malformed
		}
	}
	if string(data) == "[DONE]" {
		return max(signal, a.terminator())
	}
	return Malformed
}

// A memory is what an answer was before a text was read that may turn out to be none.
type memory struct {
	answer     Answer
	transcript Transcript
	said       Said
}

func (a *Answer) remember() memory {
	m := memory{answer: *a}
	if a.Transcript != nil {
		m.transcript = *a.Transcript
	}
	if a.Said != nil {
		m.said = *a.Said
	}
	return m
}

func (a *Answer) undo(m memory) {
	*a = m.answer
	if a.Transcript != nil {
		*a.Transcript = m.transcript
	}
	if a.Said != nil {
		*a.Said = m.said
	}
}

// terminator returns what [DONE] means. It terminates no other wire than Chat, and no answer of
// which only some choices have had a finish reason. If none has had one, it does, because some
// hosts omit them all.
func (a *Answer) terminator() Signal {
	switch {
	case a.Wire != Chat && !a.Finished(), a.cut() && !a.counted():
		return Nothing
	case a.doubtful && a.reasoned == (set{}):
		return Malformed
	}
	return Done
}

// Text reads a complete answer. An error may come in a list.
func (a *Answer) Text(data []byte) Signal {
	if len(data) > 0 && data[0] == '[' && Valid(data) {
		var first Answer
		if first.Wire = a.Wire; first.read(value(data).get("0"), false) == Failure {
			return Failure
		}
	}
	return a.read(data, false)
}

// read reads an object. If its end shows that it is not JSON, or an answer is none, what was
// found before is undone.
func (a *Answer) read(data []byte, event bool) Signal {
	c := cursor{text: data}
	if c.peek() != '{' {
		return Malformed
	}
	before := a.remember()
	signal := a.object(&c, event)
	if !c.ended() || !event && signal == Nothing && (a.finished == (set{}) || a.promised) && !a.foreign(data) {
		a.undo(before)
		return Malformed
	}
	if signal == Payload {
		if a.Wire == Messages && event {
			a.goOn()
		}
		a.HasContent = true
	}
	return signal
}

// foreign reports whether an object is of a kind that nobody knows: it has members, but none
// that frames an answer.
func (a *Answer) foreign(data []byte) bool {
	if a.Wire != Chat {
		return false
	}
	some, known := false, false
	Members(data, func(m Member) {
		some = true
		switch string(m.Name) {
		case "id", "created", "model", "choices", "usage", "error":
			known = true
		case "object":
			name := value(m.Value).text()
			known = known || bytes.HasPrefix(name, []byte("chat.completion")) || bytes.HasPrefix(name, []byte("text_completion"))
		}
	})
	return some && !known
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
	signs                           signs // of an error, in other members
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
		key := c.key()
		if v := m.named(key); v != nil && *v == nil {
			*v = c.value()
		} else if !m.signs.take(key, c) {
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

// isFlatError reports whether the members are those of an error in place of an answer.
func (m *members) isFlatError(event bool) bool {
	return m.signs.failed || isStatus(m.status) || isFlatError(m.code, m.message, event)
}

// embeddings reads embeddings, which are either complete or missing.
func (a *Answer) embeddings(c *cursor) Signal {
	var m members
	m.read(c)
	a.identify(c, m.model, m.fingerprint)
	list := m.data.is('[')
	if m.err.isError() || !list && m.isFlatError(false) {
		return Failure
	}
	a.takeUsage(m.usage.cursor())
	if !list {
		return Nothing
	}
	a.begun = true
	if n := vectors(m.data.cursor()); n == 0 || n < a.Choices {
		return Nothing
	}
	a.finish()
	return Payload
}

// vectors counts the vectors of a list. It returns 0 if one of them is empty.
func vectors(c *cursor) int {
	n := 0
	for c.open(); c.more(']'); n++ {
		v := c.value().get("embedding")
		if !v.isText() && !v.isFilled() || string(v.get("0")) == "null" { // numbers that are none
			return 0
		}
	}
	return n
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

// A misplaced is what some hosts put into a delta or a message although it belongs elsewhere.
type misplaced struct {
	finish value // the finish reason
	failed bool  // there is an error
	counts bool  // the texts are counted
	spoken int32 // their tokens, in tenths
}

// say counts a text.
func (m *misplaced) say(key []byte, v value) {
	if m.counts && isSpoken(key) {
		m.spoken = addTenths(m.spoken, v[1:len(v)-1])
	}
}

// sayFilled counts the texts in a list or an object.
func (m *misplaced) sayFilled(key []byte, v value) {
	switch {
	case !m.counts:
	case string(key) == "input":
		m.spoken = addTenths(m.spoken, v)
	default:
		m.spoken = spokenIn(v, m.spoken, maxSpokenDepth)
	}
}

// beginOdd returns what carries fills in for the answer.
func (a *Answer) beginOdd() misplaced { return misplaced{counts: a.Counts, spoken: a.Spoken} }

// carries reads a delta, message or block and reports whether it has anything but its role
// and type: a text, list or object that is not empty. What is misplaced is none of that.
func carries(c *cursor, transcript *Transcript, said *Said, odd *misplaced) bool {
	if !c.enter('{') {
		return false
	}
	found, reasoned, spoken := false, false, false
	for c.more('}') {
		key := c.key()
		switch v := c.value(); {
		case v.isText():
			if isOfFrame(key, v, odd) {
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
			if key != nil {
				said.take(key, v[1:len(v)-1])
				odd.say(key, v)
			}
		case v.isFilled():
			if isOfFrame(key, v, odd) {
				continue
			}
			found = true
			transcript.take(nil, nil)
			said.takeFilled(key)
			odd.sayFilled(key, v)
		}
	}
	return found
}

// isOfFrame reports whether a member of a delta is no payload, and notes what is misplaced.
func isOfFrame(key []byte, v value, odd *misplaced) bool {
	switch string(key) {
	case "role", "type":
		return v.isText()
	case "finish_reason", "finishReason":
		odd.finish = v
	case "error":
		odd.failed = odd.failed || v.isError()
	default:
		return false
	}
	return true
}

// take records a member that is not empty; of a text, what is between its quotes.
func (t *Transcript) take(key, text []byte) {
	if t == nil {
		return
	}
	switch string(key) {
	case "content":
		t.add(false, text)
	case "reasoning_content", "reasoning":
		t.add(true, text)
	default:
		t.Other = true
	}
}
