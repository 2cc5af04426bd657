package breakwatertest

import (
	"fmt"
	"strings"
)

// An answer is the content of a response, before a wire formats it.
type answer struct {
	*question
	id, fingerprint string
	created         int64
	reasoning       []string   // in pieces; none without thinking
	pieces          [][]string // for each choice, the pieces of its content or of the tool's arguments
	given           int        // how many whole pieces the prefix has, which are not sent again
	callID          string
	finish          string // the finish_reason of chat completions
	usage           Usage
	cached          bool // the usage reports cached tokens
	shortField      bool // the field for the reasoning is called "reasoning"
}

// A script is an answer in the format of a wire. Every string except json is one event.
type script struct {
	json    string
	opening []string // before the first content
	steps   []step
	tail    []string // after the last step, with the finish reason
	end     string   // the mark of the end, such as [DONE], if the wire has one
	empty   string   // a delta without content
}

// A step is a few events that are sent without a wait between them.
type step struct {
	events []string
	says   bool // it has content or arguments, so Fault.after counts it
	token  bool // Pace.PerToken passes after it
}

// answer makes the answer. Of all faults it regards only OutOfResources, with which
// the host ends an answer regularly, but after half of it.
func (e *exchange) answer() *answer {
	q, host := e.asks, e.s.host
	a := &answer{
		question: q,
		id:       fmt.Sprintf("%s-%08d", host.Name, e.id),
		created:  e.in.Time.Unix(), fingerprint: "fp_" + host.Name,
		finish: "stop", cached: host.Dialect.row().Cached, shortField: host.Dialect.row().Reasoning,
	}
	if q.thinks(host.Dialect) {
		a.reasoning = split(Reasoning(q.prompt), max(1, e.pace.Tokens/2))
	}
	say := Answer
	if q.tool != "" {
		a.callID = fmt.Sprintf("call_%s_%08d", host.Name, e.id)
		a.finish, say = "tool_calls", ToolArguments
	}
	for i := range q.choices {
		whole := split(say(ofChoice(q.prompt, i)), e.pace.Tokens)
		rest := behind(whole, q.prefix)
		a.pieces, a.given = append(a.pieces, rest), len(whole)-len(rest)
	}
	if e.fault.kind == kindOutOfResources {
		for i, pieces := range a.pieces {
			a.pieces[i] = pieces[:(len(pieces)+1)/2]
		}
		a.finish = "insufficient_system_resource"
	}
	a.count()
	return a
}

// count fills in the usage. Each piece counts as a token, and so do four characters of
// a prompt.
func (a *answer) count() {
	u := &a.usage
	u.PromptTokens = a.tokens
	u.ReasoningTokens = a.choices * len(a.reasoning)
	u.CompletionTokens = u.ReasoningTokens
	for _, pieces := range a.pieces {
		u.CompletionTokens += len(pieces)
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	u.CacheMissTokens = u.PromptTokens
}

// said returns the whole content of choice i.
func (a *answer) said(i int) string { return strings.Join(a.pieces[i], "") }

func (a *answer) thought() string { return strings.Join(a.reasoning, "") }

// script formats the answer for its wire.
func (a *answer) script() *script {
	switch a.wire {
	case Completions:
		return a.onCompletions()
	case Responses:
		return a.onResponses()
	case Messages:
		return a.onMessages()
	}
	return a.onChat()
}

// inTurns returns the steps of the content. Each step has the next piece of every
// choice.
func (a *answer) inTurns(delta func(choice int, piece string) string) []step {
	var steps []step
	for round := 0; ; round++ {
		s := step{says: true, token: true}
		for i, pieces := range a.pieces {
			if round < len(pieces) {
				s.events = append(s.events, delta(i, pieces[round]))
			}
		}
		if len(s.events) == 0 {
			return steps
		}
		steps = append(steps, s)
	}
}

// The events of a stream. On Responses and Messages they have names, which are
// also the "type" in their data.

func event(data string) string { return "data: " + data + "\n\n" }

func named(name string, more ...any) string {
	return "event: " + name + "\n" + event(append(fields{"type", name}, more...).JSON())
}

const keepAliveComment = ": keep-alive\n\n"

// keepAlive returns the n-th keep-alive of a queued request.
func (q *question) keepAlive(d Dialect, n int) string {
	switch {
	case !q.stream:
		return "\n"
	case q.wire == Messages && n%2 == 0:
		return named("ping")
	case d.row().Comment != "":
		return d.row().Comment
	}
	return keepAliveComment
}

// pad adds n bytes without meaning to an event or a JSON answer. OpenAI's own streams
// have such a field.
func pad(text string, n int) string {
	head, tail, _ := strings.Cut(text, "{")
	return head + `{"obfuscation":"` + strings.Repeat("x", n) + `",` + tail
}

// malformed removes a colon. Even a tolerant parser rejects the result.
func malformed(text string) string {
	head, tail, _ := strings.Cut(text, "{")
	return head + "{" + strings.Replace(tail, ":", "", 1)
}
