package breakwatertest

import (
	"fmt"
	"strings"
)

// answer is what is to be said, before a wire puts it into bytes.
type answer struct {
	*question
	id, fingerprint string
	created         int64
	reasoning       []string   // pieces; none without thinking
	pieces          [][]string // of each choice: of its content, or of the arguments if a tool is called
	given           int        // the pieces that a prefix holds whole, which are not said again
	callID          string
	finish          string // in the words of chat completions
	usage           Usage
	cached          bool // whether the host says what its cache gave
	shortField      bool // whether it calls the reasoning "reasoning"
}

// script is an answer in a wire's bytes. Every string but the JSON is one event.
type script struct {
	json    string
	opening []string // before anything is said
	steps   []step
	tail    []string // behind the last step, with the finish
	end     string   // the mark that nothing follows, if the wire has one
	empty   string   // a delta that says nothing
}

// step is a few events between which no time passes.
type step struct {
	events []string
	says   bool // content or arguments: what a fault's "after" counts
	token  bool // a token's time passes behind it
}

// answer makes up the answer. It knows of one fault only: running out of
// resources, after which a host honestly says that half is all there is.
func (e *exchange) answer() *answer {
	q, host := e.asks, e.s.host
	a := &answer{
		question: q,
		id:       fmt.Sprintf("%s-%08d", host.Name, e.id),
		created:  e.in.Time.Unix(), fingerprint: "fp_" + host.Name,
		finish: "stop", cached: host.Dialect.row().cached, shortField: host.Dialect.row().reasoning,
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

// count fills the usage. A piece is a token; a prompt has one for four
// characters.
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

// said is all that choice i says.
func (a *answer) said(i int) string { return strings.Join(a.pieces[i], "") }

func (a *answer) thought() string { return strings.Join(a.reasoning, "") }

// script puts the answer into the bytes of its wire.
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

// inTurns is one step for each round of pieces, the choices taking turns.
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
	return "event: " + name + "\n" + event(append(fields{"type", name}, more...).json())
}

const keepAliveComment = ": keep-alive\n\n"

// keepAlive is the n-th sign of life of a queued request.
func (q *question) keepAlive(d Dialect, n int) string {
	switch {
	case !q.stream:
		return "\n"
	case q.wire == Messages && n%2 == 0:
		return named("ping")
	case d.row().comment != "":
		return d.row().comment
	}
	return keepAliveComment
}

// pad makes an event, or a whole JSON answer, larger by n bytes that say
// nothing. OpenAI's own streams have such a field.
func pad(text string, n int) string {
	head, tail, _ := strings.Cut(text, "{")
	return head + `{"obfuscation":"` + strings.Repeat("x", n) + `",` + tail
}

// malformed loses a colon, which no tolerant parser can make up for.
func malformed(text string) string {
	head, tail, _ := strings.Cut(text, "{")
	return head + "{" + strings.Replace(tail, ":", "", 1)
}
