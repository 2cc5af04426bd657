// Package sdktest is what users of an SDK see when breakwater is the transport
// below it: one table of behaviours, run under every SDK, over loopback TCP,
// and what comes of it as a row of the table in docs/clients.md. It knows no
// SDK: those are in modules of their own, since they quarrel about what they
// need.
package sdktest

import (
	"context"
	"encoding/json"
	"net/http"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// An SDK is a client library of an LLM API, and what of an answer it shows.
type SDK struct {
	Name string

	// New sets a client up the way the SDK's documentation tells, with the
	// caller's key (and organisation, where it has one), on an http.Client.
	New func(baseURL string, client *http.Client) Client

	Wire   kit.Wire // Chat or Messages
	Origin string   // the only one it asks, whatever it is told; empty: baseURL's
	Model  string   // the only one it asks for; empty: the question's

	// What it does not show of an answer, or of an error.
	NoStreamTools, NoReasoning, NoStreamReasoning, NoFingerprint, NoModel, NoFinish bool
	NoStatus                                                                        bool // typed: the status is in the text at most
}

// A Client is a client made with an SDK: as much of it as the table needs.
type Client interface {
	Chat(context.Context, Question) (Answer, error)

	// Stream returns what came before the error, too.
	Stream(context.Context, Question) (Answer, error)

	// APIError takes the SDK's own typed API error out of err. Where an SDK has
	// none, it is the text, and the status in it or 0.
	APIError(err error) (APIError, bool)
}

// What every SDK is given as its own. None of it is another host's business.
const (
	CallerKey = "sk-caller"
	CallerOrg = "org-caller"
)

// A Question is a chat with one message and, if Tool is set, one tool.
type Question struct{ Model, Prompt, Tool string }

// An Answer is what an SDK made of a response. Finish is as chat completions
// have it: stop, tool_calls.
type Answer struct {
	Text, Reasoning     string
	Tool, ToolArguments string
	Finish              string
	Model, Fingerprint  string
}

// An APIError is what an SDK tells of a refusal.
type APIError struct {
	Status  int
	Message string
}

// shows is an answer as the SDK shows it.
func (s SDK) shows(a Answer, stream bool) Answer {
	if s.NoReasoning || stream && s.NoStreamReasoning {
		a.Reasoning = ""
	}
	if stream && s.NoStreamTools {
		a.Tool, a.ToolArguments = "", ""
	}
	if s.NoFingerprint || s.Wire == kit.Messages {
		a.Fingerprint = ""
	}
	if s.NoModel {
		a.Model = ""
	}
	if s.NoFinish {
		a.Finish = ""
	}
	return a
}

// same reports whether two answers say the same: a tool's arguments are JSON,
// which some SDKs decode.
func (a Answer) same(b Answer) bool {
	a.ToolArguments, b.ToolArguments = plainJSON(a.ToolArguments), plainJSON(b.ToolArguments)
	return a == b
}

func plainJSON(text string) string {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	plain, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return string(plain)
}
