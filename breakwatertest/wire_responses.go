package breakwatertest

import "encoding/json"

// The Responses wire: an answer is a list of items. A stream has events for each item's
// beginning, deltas and end. It has no [DONE].

func (a *answer) onResponses() *script {
	sequence := 0
	next := func(name string, more ...any) string {
		sequence++
		return named(name, append([]any{"sequence_number", sequence - 1}, more...)...)
	}
	items, begun := a.items(true), a.items(false)
	s := &script{
		json: a.response(a.responseStatus(), items).JSON(),
		opening: []string{
			next("response.created", "response", a.response("in_progress", nil)),
			next("response.in_progress", "response", a.response("in_progress", nil)),
		},
	}
	index := 0 // the item of the next event
	id := func(more ...any) []any {
		return append([]any{"item_id", a.itemID(index), "output_index", index}, more...)
	}
	add := func(events ...string) { s.steps = append(s.steps, step{events: events}) }

	if len(a.reasoning) > 0 {
		add(next("response.output_item.added", "output_index", index, "item", begun[index]))
		for _, piece := range a.reasoning {
			s.steps = append(s.steps, step{token: true, events: []string{
				next("response.reasoning_text.delta", id("content_index", 0, "delta", piece)...),
			}})
		}
		add(next("response.reasoning_text.done", id("content_index", 0, "text", a.thought())...),
			next("response.output_item.done", "output_index", index, "item", items[index]))
		index++
	}

	delta, done, more := "response.output_text.delta", "response.output_text.done", []any{"content_index", 0}
	add(next("response.output_item.added", "output_index", index, "item", begun[index]))
	if a.tool != "" {
		delta, done, more = "response.function_call_arguments.delta", "response.function_call_arguments.done", nil
	} else {
		add(next("response.content_part.added", id("content_index", 0, "part", textPart(""))...))
	}
	says := func(_ int, piece string) string { return next(delta, id(append(more, "delta", piece)...)...) }
	s.steps = append(s.steps, a.inTurns(says)...)
	s.empty = says(0, "")
	if a.tool != "" {
		s.tail = append(s.tail, next(done, id("arguments", a.said(0))...))
	} else {
		s.tail = append(s.tail,
			next(done, id("content_index", 0, "text", a.said(0))...),
			next("response.content_part.done", id("content_index", 0, "part", textPart(a.said(0)))...))
	}
	s.tail = append(s.tail,
		next("response.output_item.done", "output_index", index, "item", items[index]),
		next("response."+a.responseStatus(), "response", a.response(a.responseStatus(), items)))
	return s
}

func (a *answer) responseStatus() string {
	if a.finish == "stop" || a.finish == "tool_calls" {
		return "completed"
	}
	return "incomplete"
}

// response returns the answer with this status and these items. The wire has no field
// that tells hosts apart, so we add system_fingerprint.
func (a *answer) response(status string, items []fields) fields {
	var incomplete, usage any
	switch status {
	case "incomplete":
		incomplete = fields{"reason", a.finish}
		fallthrough
	case "completed":
		usage = fields{
			"input_tokens", a.usage.PromptTokens,
			"input_tokens_details", fields{"cached_tokens", a.usage.CacheHitTokens},
			"output_tokens", a.usage.CompletionTokens,
			"output_tokens_details", fields{"reasoning_tokens", a.usage.ReasoningTokens},
			"total_tokens", a.usage.TotalTokens,
		}
	}
	if items == nil {
		items = []fields{}
	}
	return fields{
		"id", a.id, "object", "response", "created_at", a.created, "model", a.model,
		"system_fingerprint", a.fingerprint, "status", status, "error", nil,
		"incomplete_details", incomplete, "output", items, "usage", usage,
	}
}

// items returns the output, either finished or as it is when an item begins.
func (a *answer) items(finished bool) []fields {
	status, thought, said := "in_progress", []fields{}, []fields{}
	arguments := ""
	if finished {
		status = a.responseStatus()
		thought = []fields{{"type", "reasoning_text", "text", a.thought()}}
		said, arguments = []fields{textPart(a.said(0))}, a.said(0)
	}
	var items []fields
	if len(a.reasoning) > 0 {
		items = append(items, fields{
			"id", a.itemID(0), "type", "reasoning", "summary", []fields{}, "content", thought, "status", status,
		})
	}
	if a.tool != "" {
		return append(items, fields{
			"id", a.itemID(len(items)), "type", "function_call", "call_id", a.callID,
			"name", a.tool, "arguments", arguments, "status", status,
		})
	}
	return append(items, fields{
		"id", a.itemID(len(items)), "type", "message", "role", "assistant", "content", said, "status", status,
	})
}

func (a *answer) itemID(index int) string {
	return "item_" + a.id + "_" + string(rune('0'+index))
}

func textPart(text string) fields {
	return fields{"type", "output_text", "text", text, "annotations", []fields{}}
}

// A response is a response as a client reads it.
type response struct {
	ID                string `json:"id"`
	Model             string `json:"model"`
	SystemFingerprint string `json:"system_fingerprint"`
	Status            string `json:"status"`
	IncompleteDetails struct {
		Reason string `json:"reason"`
	} `json:"incomplete_details"`
	Output []struct {
		Type      string        `json:"type"`
		Arguments string        `json:"arguments"`
		Content   []contentPart `json:"content"`
	} `json:"output"`
	Usage *struct {
		InputTokens        int `json:"input_tokens"`
		OutputTokens       int `json:"output_tokens"`
		TotalTokens        int `json:"total_tokens"`
		InputTokensDetails struct {
			CachedTokens int `json:"cached_tokens"`
		} `json:"input_tokens_details"`
		OutputTokensDetails struct {
			ReasoningTokens int `json:"reasoning_tokens"`
		} `json:"output_tokens_details"`
	} `json:"usage"`
}

// addResponse adds everything except the content.
func (r *Reply) addResponse(p *response) {
	r.ID, r.Model, r.Fingerprint = p.ID, p.Model, p.SystemFingerprint
	switch p.Status {
	case "completed":
		r.FinishReason, r.Done = "stop", true
		for _, item := range p.Output {
			if item.Type == "function_call" {
				r.FinishReason = "tool_calls"
			}
		}
	case "incomplete":
		r.FinishReason, r.Done = p.IncompleteDetails.Reason, true
	}
	if u := p.Usage; u != nil {
		r.Usage = Usage{
			PromptTokens: u.InputTokens, CompletionTokens: u.OutputTokens, TotalTokens: u.TotalTokens,
			CacheHitTokens:  u.InputTokensDetails.CachedTokens,
			CacheMissTokens: u.InputTokens - u.InputTokensDetails.CachedTokens,
			ReasoningTokens: u.OutputTokensDetails.ReasoningTokens,
		}
	}
}

// addWholeResponse adds an answer that came in one piece.
func (r *Reply) addWholeResponse(text []byte) error {
	var p response
	if err := json.Unmarshal(text, &p); err != nil {
		return noJSON(err)
	}
	if p.Status == "failed" {
		return errorInside(text)
	}
	r.addResponse(&p)
	for _, item := range p.Output {
		r.ToolArguments += item.Arguments
		for _, part := range item.Content {
			if item.Type == "reasoning" {
				r.Reasoning += part.Text
			} else {
				r.say(0, part.Text)
			}
		}
	}
	return nil
}

// addResponseEvent adds an event of a stream.
func (r *Reply) addResponseEvent(name string, text []byte) error {
	var e struct {
		Delta    string   `json:"delta"`
		Response response `json:"response"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return noJSON(err)
	}
	switch name {
	case "response.failed":
		return errorInside(text)
	case "response.created", "response.in_progress", "response.completed", "response.incomplete":
		r.addResponse(&e.Response)
	case "response.output_text.delta":
		r.say(0, e.Delta)
	case "response.reasoning_text.delta", "response.reasoning_summary_text.delta":
		r.Reasoning += e.Delta
	case "response.function_call_arguments.delta":
		r.ToolArguments += e.Delta
	}
	return nil
}
