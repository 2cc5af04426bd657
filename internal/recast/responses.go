package recast

import (
	"iter"
	"strconv"

	"github.com/tidwall/gjson"
)

// A response is in the last event of its stream, which is the document. API:
// https://platform.openai.com/docs/api-reference/responses-streaming.
type response struct {
	raw   string
	items int64 // that the stream has called done
}

func (r *response) take(event gjson.Result) bool {
	switch event.Get("type").Str {
	case "response.output_item.done":
		r.items++
	case "response.completed", "response.incomplete", "response.done":
		r.raw = event.Get("response").Raw
	}
	return true
}

// json refuses a response that lacks items: some hosts omit those that they have
// announced.
func (r *response) json() ([]byte, bool) {
	return []byte(r.raw), gjson.Get(r.raw, "output.#").Int() >= r.items
}

// responseEvents writes the numbered events of one response.
type responseEvents struct {
	*stream
	count int
}

func (e *responseEvents) event(kind string, members ...string) {
	e.named("response."+kind, append([]string{`,"sequence_number":`, strconv.Itoa(e.count)}, members...)...)
	e.count++
}

func streamResponse(to *stream, body gjson.Result) bool {
	all, ok := fieldsOf(body)
	if !ok {
		return false
	}
	e := &responseEvents{stream: to}
	begun := all.with("status", `"in_progress"`).with("output", "[]").with("usage", "null").
		with("incomplete_details", "null").with("completed_at", "null").json()
	e.event("created", `,"response":`, begun)
	e.event("in_progress", `,"response":`, begun)
	for i, item := range all.list("output") {
		if !e.item(strconv.Itoa(i), item) {
			return false
		}
	}
	e.event(all.text("status"), `,"response":`, body.Raw)
	return true
}

// item writes an item of the output. One of a type without deltas is complete when it is
// added.
func (e *responseEvents) item(index string, text gjson.Result) bool {
	item, ok := fieldsOf(text)
	if !ok {
		return false
	}
	begun := item.with("status", `"in_progress"`)
	place := `,"output_index":` + index
	added := func(begun fields) { e.event("output_item.added", place, `,"item":`, begun.json()) }
	within := `,"item_id":` + item.or("id", `""`) + place
	switch arguments := item.get("arguments"); item.text("type") {
	case "message":
		added(begun.with("content", "[]"))
		ok = e.parts("content_part", within+`,"content_index":`, item.list("content"))
	case "reasoning":
		added(begun.with("summary", "[]").with("content", "[]"))
		ok = e.parts("reasoning_summary_part", within+`,"summary_index":`, item.list("summary")) &&
			e.parts("content_part", within+`,"content_index":`, item.list("content"))
	case "function_call":
		added(begun.with("arguments", `""`))
		if ok = isString(arguments); ok {
			e.grow("function_call_arguments.delta", within, arguments)
			e.event("function_call_arguments.done", within, `,"name":`, item.or("name", `""`), `,"arguments":`, arguments)
		}
	default:
		added(item)
	}
	e.event("output_item.done", place, `,"item":`, item.json())
	return ok
}

// textKinds are the names of a part's events and the place of its text, by its type.
var textKinds = map[string]struct{ event, member string }{
	"output_text":    {"output_text", "text"},
	"refusal":        {"refusal", "refusal"},
	"reasoning_text": {"reasoning_text", "text"},
	"summary_text":   {"reasoning_summary_text", "text"},
}

// parts writes the parts of an item, each with its text. place locates them, without the
// last index.
func (e *responseEvents) parts(kind, place string, parts iter.Seq2[int, gjson.Result]) bool {
	for i, text := range parts {
		part, ok := fieldsOf(text)
		if !ok || e.overgrown {
			return false
		}
		within := place + strconv.Itoa(i)
		of, grows := textKinds[part.text("type")]
		if said := part.get(of.member); grows && isString(said) {
			begun := part.with(of.member, `""`).with("annotations", "[]").with("logprobs", "[]")
			e.event(kind+".added", within, `,"part":`, begun.json())
			more, all := "", ""
			if of.event == "output_text" {
				more, all = `,"logprobs":[]`, `,"logprobs":`+part.or("logprobs", "[]")
			}
			e.grow(of.event+".delta", within+more, said)
			for i, annotation := range part.list("annotations") {
				e.event("output_text.annotation.added", within, `,"annotation_index":`, strconv.Itoa(i), `,"annotation":`, annotation.Raw)
			}
			e.event(of.event+".done", within, all, `,"`, of.member, `":`, said)
		} else {
			e.event(kind+".added", within, `,"part":`, part.json())
		}
		e.event(kind+".done", within, `,"part":`, part.json())
	}
	return true
}

// grow writes the deltas of a text.
func (e *responseEvents) grow(kind, place, text string) {
	for piece := range pieces(text) {
		e.event(kind, place, `,"delta":"`, piece, `"`)
	}
}
