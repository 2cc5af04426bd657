package breakwatertest

import "encoding/json"

// The types of this file are the JSON of answers and chunks of chat completions and
// completions. Some fields are json.RawMessage, because hosts send null, "" and no
// field with different meanings.

type completion struct {
	ID                string     `json:"id"`
	Object            string     `json:"object"`
	Created           int64      `json:"created"`
	Model             string     `json:"model"`
	SystemFingerprint string     `json:"system_fingerprint"`
	Choices           []choice   `json:"choices"`
	Usage             *chatUsage `json:"usage,omitempty"`
}

type choice struct {
	Index        int       `json:"index"`
	Text         *string   `json:"text,omitempty"`
	Message      *content  `json:"message,omitempty"`
	Delta        *content  `json:"delta,omitempty"`
	Logprobs     *struct{} `json:"logprobs"`
	FinishReason *string   `json:"finish_reason"`
}

type content struct {
	Role             string          `json:"role,omitempty"`
	Content          json.RawMessage `json:"content,omitempty"`
	ReasoningContent json.RawMessage `json:"reasoning_content,omitempty"`
	Reasoning        json.RawMessage `json:"reasoning,omitempty"` // the same at some hosts
	ToolCalls        []toolCall      `json:"tool_calls,omitempty"`
}

type toolCall struct {
	Index    int    `json:"index"`
	ID       string `json:"id,omitempty"`
	Type     string `json:"type,omitempty"`
	Function struct {
		Name      string `json:"name,omitempty"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type chatUsage struct {
	PromptTokens            int               `json:"prompt_tokens"`
	CompletionTokens        int               `json:"completion_tokens"`
	TotalTokens             int               `json:"total_tokens"`
	PromptCacheHitTokens    *int              `json:"prompt_cache_hit_tokens,omitempty"`
	PromptCacheMissTokens   *int              `json:"prompt_cache_miss_tokens,omitempty"`
	CompletionTokensDetails *reasoningDetails `json:"completion_tokens_details,omitempty"`
}

type reasoningDetails struct {
	ReasoningTokens int `json:"reasoning_tokens"`
}

var null = json.RawMessage("null")

func quote(text string) json.RawMessage { return json.RawMessage(mustJSON(text)) }

func (a *answer) onChat() *script {
	s := &script{json: a.chatJSON(), end: event("[DONE]"), empty: a.chunk(0, a.delta(""), "")}
	for i := range a.choices {
		s.opening = append(s.opening, a.chunk(i, a.roleDelta(), ""))
	}
	for _, piece := range a.reasoning {
		one := step{token: true}
		for i := range a.choices {
			one.events = append(one.events, a.chunk(i, a.withReasoning(null, quote(piece)), ""))
		}
		s.steps = append(s.steps, one)
	}
	if a.tool != "" {
		var one step
		for i := range a.choices {
			one.events = append(one.events, a.chunk(i, a.callDelta(), ""))
		}
		s.steps = append(s.steps, one)
	}
	s.steps = append(s.steps, a.inTurns(func(i int, piece string) string {
		return a.chunk(i, a.delta(piece), "")
	})...)
	end := content{Content: quote("")}
	if len(a.reasoning) > 0 {
		end = a.withReasoning(end.Content, null)
	}
	s.tail = a.chatTail(func(i int) choice { return choice{Index: i, Delta: &end} }, "chat.completion.chunk")
	return s
}

func (a *answer) onCompletions() *script {
	whole := a.completion("text_completion")
	for i := range a.choices {
		said := a.said(i)
		whole.Choices = append(whole.Choices, choice{Index: i, Text: &said, FinishReason: &a.finish})
	}
	whole.Usage = a.chatUsage()
	delta := func(i int, piece string) string {
		c := a.completion("text_completion")
		c.Choices = []choice{{Index: i, Text: &piece}}
		return event(mustJSON(c))
	}
	s := &script{json: mustJSON(whole), end: event("[DONE]"), empty: delta(0, "")}
	for i := range a.choices {
		s.opening = append(s.opening, delta(i, ""))
	}
	s.steps = a.inTurns(delta)
	s.tail = a.chatTail(func(i int) choice { return choice{Index: i, Text: new(string)} }, "text_completion")
	return s
}

// completion returns an answer or chunk without content.
func (a *answer) completion(object string) completion {
	return completion{
		ID: a.id, Object: object, Created: a.created, Model: a.model,
		SystemFingerprint: a.fingerprint, Choices: []choice{},
	}
}

func (a *answer) chatJSON() string {
	whole := a.completion("chat.completion")
	whole.Usage = a.chatUsage()
	for i := range a.choices {
		m := content{Content: quote(a.said(i))}
		if len(a.reasoning) > 0 {
			m = a.withReasoning(m.Content, quote(a.thought()))
		}
		m.Role = "assistant"
		if a.tool != "" {
			call := toolCall{ID: a.callID, Type: "function"}
			call.Function.Name, call.Function.Arguments = a.tool, a.said(i)
			m.Content, m.ToolCalls = quote(""), []toolCall{call}
		}
		whole.Choices = append(whole.Choices, choice{Index: i, Message: &m, FinishReason: &a.finish})
	}
	return mustJSON(whole)
}

func (a *answer) chunk(index int, d content, finish string) string {
	c := a.completion("chat.completion.chunk")
	one := choice{Index: index, Delta: &d}
	if finish != "" {
		one.FinishReason = &finish
	}
	c.Choices = []choice{one}
	return event(mustJSON(c))
}

func (a *answer) roleDelta() content {
	role := content{Content: quote("")}
	if len(a.reasoning) > 0 {
		role = a.withReasoning(null, quote(""))
	}
	role.Role = "assistant"
	return role
}

// withReasoning adds the reasoning of a model that thinks, in the host's field.
func (a *answer) withReasoning(said, reasoning json.RawMessage) content {
	if a.shortField {
		return content{Content: said, Reasoning: reasoning}
	}
	return content{Content: said, ReasoningContent: reasoning}
}

// callDelta returns the delta that begins the tool call. Its arguments follow in pieces.
func (a *answer) callDelta() content {
	call := toolCall{ID: a.callID, Type: "function"}
	call.Function.Name = a.tool
	return content{ToolCalls: []toolCall{call}}
}

func (a *answer) delta(piece string) content {
	switch {
	case a.tool != "":
		var call toolCall
		call.Function.Arguments = piece
		return content{ToolCalls: []toolCall{call}}
	case len(a.reasoning) > 0:
		return a.withReasoning(quote(piece), null)
	}
	return content{Content: quote(piece)}
}

// chatTail returns the finish chunks of all choices. The last one has the usage, unless
// the request asked for a separate chunk with it.
func (a *answer) chatTail(end func(i int) choice, object string) []string {
	var events []string
	for i := range a.choices {
		c, one := a.completion(object), end(i)
		one.FinishReason = &a.finish
		c.Choices = []choice{one}
		if i == a.choices-1 && !a.ownUsage {
			c.Usage = a.chatUsage()
		}
		events = append(events, event(mustJSON(c)))
	}
	if a.ownUsage {
		c := a.completion(object)
		c.Usage = a.chatUsage()
		events = append(events, event(mustJSON(c)))
	}
	return events
}

func (a *answer) chatUsage() *chatUsage {
	u := &chatUsage{
		PromptTokens: a.usage.PromptTokens, CompletionTokens: a.usage.CompletionTokens, TotalTokens: a.usage.TotalTokens,
	}
	if a.cached {
		u.PromptCacheHitTokens = new(a.usage.CacheHitTokens)
		u.PromptCacheMissTokens = new(a.usage.CacheMissTokens)
	}
	if a.usage.ReasoningTokens > 0 {
		u.CompletionTokensDetails = &reasoningDetails{a.usage.ReasoningTokens}
	}
	return u
}
