package breakwatertest

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"
)

// The types of this file are the JSON of an answer, whole or in chunks. Raw
// messages are there to tell null, "" and absent apart, which hosts do.

type completion struct {
	ID                string   `json:"id"`
	Object            string   `json:"object"`
	Created           int64    `json:"created"`
	Model             string   `json:"model"`
	SystemFingerprint string   `json:"system_fingerprint"`
	Choices           []choice `json:"choices"`
	Usage             *usage   `json:"usage,omitempty"`
}

type choice struct {
	Index        int       `json:"index"`
	Message      *content  `json:"message,omitempty"`
	Delta        *content  `json:"delta,omitempty"`
	Logprobs     *struct{} `json:"logprobs"`
	FinishReason *string   `json:"finish_reason"`
}

type content struct {
	Role             string          `json:"role,omitempty"`
	Content          json.RawMessage `json:"content,omitempty"`
	ReasoningContent json.RawMessage `json:"reasoning_content,omitempty"`
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

type usage struct {
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

// answer is what is to be said, before it is put into JSON or chunks.
type answer struct {
	completion          // without choices and usage
	reasoning  []string // pieces; none without thinking
	pieces     []string // of the content, or of the arguments if tool is set
	tool       string
	callID     string
	finish     string
	usage      usage
	choices    int
}

// answer makes up the answer. It knows of one fault only: running out of
// resources, after which a host honestly says that half is all there is.
func (x *exchange) answer() *answer {
	prompt := x.chat.prompt()
	a := &answer{
		completion: completion{
			ID:      fmt.Sprintf("%s-%08d", x.s.host.Name, x.id),
			Created: x.in.Time.Unix(), Model: x.chat.Model,
			SystemFingerprint: "fp_" + x.s.host.Name,
		},
		pieces:  split(Answer(prompt), x.pace.Tokens),
		finish:  "stop",
		choices: min(max(1, x.chat.N), 128),
	}
	if x.chat.thinks(x.s.host.Dialect) {
		a.reasoning = split(Reasoning(prompt), max(1, x.pace.Tokens/2))
	}
	if a.tool = x.chat.tool(); a.tool != "" {
		a.callID = fmt.Sprintf("call_%s_%08d", x.s.host.Name, x.id)
		a.pieces = split(ToolArguments(prompt), x.pace.Tokens)
		a.finish = "tool_calls"
	}
	if x.fault.kind == kindOutOfResources {
		a.pieces = slices.Clip(a.pieces[:(len(a.pieces)+1)/2])
		a.finish = "insufficient_system_resource"
	}
	a.count(x.chat, x.s.host.Dialect)
	return a
}

// count fills the usage. A piece is a token; a prompt has one for four
// characters.
func (a *answer) count(chat *chatRequest, d Dialect) {
	for _, m := range chat.Messages {
		a.usage.PromptTokens += utf8.RuneCountInString(m.text())/4 + 1
	}
	a.usage.CompletionTokens = a.choices * (len(a.reasoning) + len(a.pieces))
	a.usage.TotalTokens = a.usage.PromptTokens + a.usage.CompletionTokens
	if d == DialectDeepSeek {
		a.usage.PromptCacheHitTokens = new(0)
		a.usage.PromptCacheMissTokens = new(a.usage.PromptTokens)
	}
	if len(a.reasoning) > 0 {
		a.usage.CompletionTokensDetails = &reasoningDetails{a.choices * len(a.reasoning)}
	}
}
