package resume

import (
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// The parts of an attempt's stream are what an Aligner knows of it on Messages and Responses,
// whose events name the part that they are about. Its reader has the parts of another stream,
// with other ids and places. So each event is about a part that the reader has, and then only
// what is new of it passes, or about a new one.
type parts struct {
	answer wire.Answer
	theirs wire.Transcript // of the latest event; its Frame is that of the stream
	shift  int             // from their places to the reader's
	clash  bool            // an event passed that does not fit
}

func newParts(w wire.Wire) *parts {
	p := &parts{}
	p.theirs.Frame = new(wire.Frame)
	p.answer = wire.Answer{Wire: w, Transcript: &p.theirs}
	return p
}

// read parses an event.
func (p *parts) read(data []byte) delta {
	f := p.theirs.Frame
	f.Latest = wire.Step{}
	p.theirs = wire.Transcript{Text: p.theirs.Text[:0], Reasoning: p.theirs.Reasoning[:0], Frame: f}
	signal := p.answer.Event(data)
	d := deltaOf(&p.theirs)
	d.data, d.done, d.ends = data, signal == wire.Done, p.answer.Ended()
	d.step = f.Latest
	return d
}

// partData processes an event of Messages or Responses.
func (a *Aligner) partData(d delta) Verdict {
	a.parts.place(d.step, &a.given.frame)
	v := Fits
	switch {
	case d.step == wire.Step{Does: wire.Starts}: // so did the first stream
	case d.step == wire.Step{Does: wire.Idles} && !d.other:
		a.emit(a.event(request.Splice(nil, d.data, a.partEdits(&d, "", ""))))
	case a.restarts:
		v = a.repeat(d)
	case d.step.Of == wire.ReasoningPart:
		return Rejected // it thinks again, so it does not continue
	case a.continues, d.text == "" && !d.ends && !d.other && len(a.held) == 0:
		a.pass(d, d.text, "")
	default:
		v = a.align(d)
	}
	switch {
	case v == Rejected, a.parts.clash, d.done && !a.release():
		return Rejected
	case d.done:
		return Complete
	}
	return Fits
}

// place notes where a part is that the reader has.
func (p *parts) place(s wire.Step, ours *wire.Frame) {
	if part := ours.Part(s.Of); part != nil && part.Done != 0 {
		p.shift = part.At - p.theirs.Frame.Part(s.Of).At
	}
}

// has reports whether the reader knows already what an event does to a part, or would make
// nothing of it. Some hosts do not say that parts begin: then their reader is not told of their
// ends, either.
func has(part *wire.Part, does wire.Act) bool {
	switch does {
	case wire.Begins:
		return part.Done != 0
	case wire.Opens:
		return part.Done&(wire.Opens|wire.Grows) != 0
	case wire.Ends:
		return part.Done&wire.Begins == 0 || part.Done&wire.Ends != 0
	}
	return part.Done&does != 0
}

// takePart reports whether the reader gets an event: it is about something that the reader
// does not have yet. It notes what the reader has then.
func (a *Aligner) takePart(d *delta, news bool) bool {
	p := a.parts
	ours, theirs := a.given.frame.Part(d.step.Of), p.theirs.Frame.Part(d.step.Of)
	if ours == nil {
		p.clash = p.clash || a.restarts && !a.repeated()
		return !p.clash
	}
	does := d.step.Does
	if does == wire.Grows && !news || does != wire.Grows && has(ours, does) {
		return false
	}
	p.clash = p.clash || a.restarts && !a.repeated() || does == wire.Grows && ours.Done&wire.Settled != 0
	if p.clash {
		return false
	}
	if ours.Done == 0 {
		ours.At, ours.ID = theirs.At+p.shift, theirs.ID
	}
	ours.Done |= does
	return true
}

// partEdits adapts an event of Messages or Responses: to the ids and places that the reader
// knows, with only the new part of its text, and with the usage of the whole answer.
func (a *Aligner) partEdits(d *delta, newText, newReasoning string) []request.Edit {
	e := editor{data: d.data}
	p := a.parts
	if d.step.Does == wire.Grows {
		said, isNew := d.text, newText
		if d.step.Of == wire.ReasoningPart {
			said, isNew = d.reasoning, newReasoning
		}
		if said != isNew {
			e.replace(a.textPath(d.step.Of), string(gjson.AppendJSONString(nil, isNew)))
		}
	}
	if a.Wire == wire.Messages {
		e.add("index", p.shift)
		if !a.restarts {
			e.add("usage.output_tokens", a.spent)
		}
		return e.edits
	}
	e.add("output_index", p.shift)
	if n := gjson.GetBytes(d.data, "sequence_number"); n.Type == gjson.Number {
		a.given.frame.Sequence++
		e.replace("sequence_number", strconv.Itoa(a.given.frame.Sequence))
	}
	if a.ID != nil {
		e.replace("response.id", string(a.ID))
	}
	ours, theirs := &a.given.frame, p.theirs.Frame
	e.rename([...]renaming{{theirs.Reasoning.ID, ours.Reasoning.ID}, {theirs.Text.ID, ours.Text.ID}})
	return e.edits
}

// textPath returns where an event has a piece of a part's text.
func (a *Aligner) textPath(k wire.Kind) string {
	switch {
	case a.Wire == wire.Responses:
		return "delta"
	case k == wire.ReasoningPart:
		return "delta.thinking"
	}
	return "delta.text"
}

// An editor collects the edits of an event.
type editor struct {
	data  []byte
	edits []request.Edit
}

// replace replaces a value, if it is there and differs.
func (e *editor) replace(path, with string) {
	e.replaceValue(gjson.GetBytes(e.data, path), with)
}

func (e *editor) replaceValue(v gjson.Result, with string) {
	if v.Exists() && v.Index > 0 && v.Raw != with {
		e.edits = append(e.edits, request.Edit{At: request.Span{From: v.Index, To: v.Index + len(v.Raw)}, Text: with})
	}
}

// add adds to a number, if it is one that a host may mean.
func (e *editor) add(path string, n int) {
	if v := gjson.GetBytes(e.data, path); v.Type == gjson.Number && v.Num >= 0 && v.Num < 1<<31 {
		e.replaceValue(v, strconv.FormatInt(int64(v.Num)+int64(n), 10))
	}
}

// A renaming is the id of an item and the one that the reader knows, in JSON; nil: none.
type renaming struct{ from, to []byte }

// rename replaces the ids of items, wherever the event has them.
func (e *editor) rename(all [2]renaming) {
	id := func(v gjson.Result) {
		for _, r := range all {
			if r.from != nil && r.to != nil && v.Raw == string(r.from) {
				e.replaceValue(v, string(r.to))
				return
			}
		}
	}
	id(gjson.GetBytes(e.data, "item_id"))
	id(gjson.GetBytes(e.data, "item.id"))
	gjson.GetBytes(e.data, "response.output").ForEach(func(_, item gjson.Result) bool {
		id(item.Get("id"))
		return len(e.edits) < maxRenamed
	})
}

// maxRenamed bounds the edits of an event.
const maxRenamed = 16

// event returns the event with data, with its type as its name, as the APIs send it.
func (a *Aligner) event(data []byte) []byte {
	if a.parts == nil {
		return append(append([]byte("data: "), data...), "\n\n"...)
	}
	name := gjson.GetBytes(data, "type")
	var out []byte
	if name.Type == gjson.String && len(name.Raw) == len(name.Str)+len(`""`) { // without escapes
		out = append(append(append(out, "event: "...), name.Str...), '\n')
	}
	return append(append(append(out, "data: "...), data...), "\n\n"...)
}
