package wire

import "bytes"

// A Frame is what the events of Messages and Responses have done to the parts of an answer:
// blocks of content there, items of output here. Only an answer of at most one part of
// reasoning and at most one of text behind it can be continued.
type Frame struct {
	Reasoning, Text Part
	Sequence        int  // the latest sequence_number
	Latest          Step // what the latest event has done
}

// A Part is a part of an answer.
type Part struct {
	At   int    // its index or output_index
	ID   []byte // the id of an item, in JSON
	Done Act    // all that was done to it
}

// A Kind says which part of an answer something is about.
type Kind uint8

const (
	NoPart Kind = iota
	ReasoningPart
	TextPart
)

// An Act is what an event does. In a Part, several are joined.
type Act uint8

const (
	Begins   Act = 1 << iota // a part is there: content_block_start, output_item.added
	Opens                    // its content is there: content_part.added
	Grows                    // it has more text
	Signs                    // it has a signature
	Says                     // its text is whole: output_text.done
	Closes                   // its content is whole: content_part.done
	Ends                     // it is whole: content_block_stop, output_item.done
	Finishes                 // the answer ends: message_delta, message_stop, response.completed

	Idles   Act = 0                    // nothing: a keep-alive
	Starts      = Finishes | Begins    // the answer begins: message_start, response.created
	Settled     = Says | Closes | Ends // what a part has when its text is whole
)

// A Step is what one event has done.
type Step struct {
	Of   Kind
	Does Act
}

// maxID bounds the id of an item, in bytes.
const maxID = 512

// Part returns a part of the answer, or nil.
func (f *Frame) Part(k Kind) *Part {
	switch k {
	case ReasoningPart:
		return &f.Reasoning
	case TextPart:
		return &f.Text
	}
	return nil
}

// isOpen reports whether a part has begun and not ended. Some hosts do not say of a part that
// it begins, nor that it ends.
func (p *Part) isOpen() bool { return p.Done&(Begins|Ends) == Begins }

// mayBegin reports whether a part may begin now: each comes once, and reasoning first.
func (f *Frame) mayBegin(k Kind) bool {
	p := f.Part(k)
	return p != nil && p.Done == 0 && f.Text.Done == 0 && !f.Reasoning.isOpen()
}

// kindAt returns which part has an index.
func (f *Frame) kindAt(index int) Kind {
	switch {
	case f.Text.Done != 0 && f.Text.At == index:
		return TextPart
	case f.Reasoning.Done != 0 && f.Reasoning.At == index:
		return ReasoningPart
	}
	return NoPart
}

// step begins to record an event, and returns false if there is nothing to record: nobody
// wants it, or the event is no JSON.
func (t *Transcript) step(c *cursor) bool {
	if t == nil || !c.ended() {
		return false
	}
	if t.Frame == nil {
		t.Frame = new(Frame)
	}
	t.Frame.Latest = Step{}
	return true
}

// does records what an event does to a part that has begun.
func (t *Transcript) does(k Kind, a Act) {
	p := t.Frame.Part(k)
	if p == nil || p.Done == 0 {
		t.Other = true
		return
	}
	if a == Opens && p.Done&Opens != 0 { // it has several contents
		t.Other = true
	}
	p.Done |= a
	t.Frame.Latest = Step{k, a}
}

// begins records that a part begins. name is its type.
func (t *Transcript) begins(name value, index int, id value) {
	k := NoPart
	switch string(name.text()) {
	case "text", "message":
		k = TextPart
	case "thinking", "reasoning":
		k = ReasoningPart
	}
	if !t.Frame.mayBegin(k) || len(id) > maxID {
		t.Other = true
		return
	}
	p := t.Frame.Part(k)
	p.At, p.Done = index, Begins
	if id.isText() {
		p.ID = bytes.Clone(id)
	}
	t.Frame.Latest = Step{k, Begins}
}

// grows records a piece of a part's text.
func (t *Transcript) grows(k Kind, index int, text value) {
	p := t.Frame.Part(k)
	if !text.isText() {
		return
	}
	if p.Done == 0 && t.Frame.mayBegin(k) {
		p.At, p.Done = index, Grows
	}
	if p.Done == 0 || p.Done&Settled != 0 || p.At != index {
		t.Other = true
		return
	}
	t.add(k == ReasoningPart, text[1:len(text)-1])
	t.does(k, Grows)
}

// add appends a text, or reasoning.
func (t *Transcript) add(reasons bool, text []byte) {
	if !reasons {
		t.Text = append(t.Text, text...)
		return
	}
	t.Reasoning = append(t.Reasoning, text...)
	t.Late = t.Late || len(t.Text) > 0
}

// takeMessages records an event of a streamed message.
func (t *Transcript) takeMessages(c *cursor, e *members) {
	if !t.step(c) {
		return
	}
	f, index := t.Frame, e.all.get("index").index()
	switch string(e.kind.text()) {
	case "message_start":
		f.Latest.Does = Starts
	case "message_delta", "message_stop":
		f.Latest.Does = Finishes
	case "ping":
	case "content_block_start":
		t.Other = t.Other || e.block.get("text").isText() || e.block.get("thinking").isText()
		t.begins(e.block.get("type"), index, nil)
	case "content_block_delta":
		t.takeDelta(e.delta, index)
	case "content_block_stop":
		t.does(f.kindAt(index), Ends)
	default:
		t.Other = true
	}
}

// takeDelta records the delta of a content block.
func (t *Transcript) takeDelta(delta value, index int) {
	kind := string(delta.get("type").text())
	c := delta.cursor()
	if !c.enter('{') {
		return
	}
	said := false
	for c.more('}') {
		switch key, v := string(c.key()), c.value(); {
		case key == "type", !v.isText() && !v.isFilled():
			continue
		case said: // a text that comes twice, or beside something else
			t.Other = true
		case key == "text" && kind == "text_delta":
			t.grows(TextPart, index, v)
		case key == "thinking" && kind == "thinking_delta":
			t.grows(ReasoningPart, index, v)
		case key == "signature" && kind == "signature_delta" && t.Frame.kindAt(index) == ReasoningPart:
			t.does(ReasoningPart, Signs)
		default:
			t.Other = true
		}
		said = true
	}
}

// takeResponses records an event of a streamed response.
func (t *Transcript) takeResponses(c *cursor, e *members) {
	if !t.step(c) {
		return
	}
	f, index := t.Frame, e.all.get("output_index").index()
	if n := e.all.get("sequence_number"); len(n) > 0 && n[0] != '"' {
		f.Sequence = n.index()
	}
	if e.all.get("content_index").index() > 0 || e.all.get("summary_index").index() > 0 {
		t.Other = true // the part has several contents
	}
	at := f.kindAt(index)
	switch string(e.kind.text()) {
	case "response.created", "response.in_progress", "response.queued":
		f.Latest.Does = Starts
	case "response.completed", "response.incomplete", "response.done":
		f.Latest.Does = Finishes
	case "keepalive", "ping":
	case "response.output_item.added":
		t.Other = t.Other || hasText(e.item)
		t.begins(e.item.get("type"), index, e.item.get("id"))
	case "response.content_part.added", "response.reasoning_summary_part.added":
		part := e.all.get("part")
		t.Other = t.Other || string(part.get("type").text()) == "refusal" || part.get("text").isText()
		t.does(at, Opens)
	case "response.output_text.delta":
		t.grows(TextPart, index, e.delta)
	case "response.reasoning_text.delta", "response.reasoning_summary_text.delta":
		t.grows(ReasoningPart, index, e.delta)
	case "response.output_text.done", "response.reasoning_text.done", "response.reasoning_summary_text.done":
		t.says(at, Says, e.text.isText())
	case "response.content_part.done", "response.reasoning_summary_part.done":
		t.says(at, Closes, e.all.get("part", "text").isText())
	case "response.output_item.done":
		t.says(at, Ends, hasText(e.item))
	default:
		t.Other = true
	}
}

// says records an event that has the text of a part once more. An event that has it only then
// cannot be continued.
func (t *Transcript) says(k Kind, a Act, hasText bool) {
	t.does(k, a)
	if p := t.Frame.Part(k); hasText && p != nil && p.Done&Grows == 0 {
		t.Other = true
	}
}

// hasText reports whether an item has text in its first content.
func hasText(item value) bool {
	return item.get("content", "0", "text").isText() || item.get("summary", "0", "text").isText() || item.get("content", "0", "refusal").isText()
}
