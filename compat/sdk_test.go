package compat

import (
	"context"
	"net/http"
	"testing"
)

// An sdk is a client made with an SDK: as much of it as the table of
// behaviours needs.
type sdk interface {
	chat(context.Context, question) (answer, error)

	// stream returns what came before the error, too.
	stream(context.Context, question) (answer, error)

	// apiError takes the SDK's own typed API error out of err.
	apiError(err error) (apiError, bool)
}

// A newSDK sets a client up the way the SDK's documentation tells: base URL,
// key, organisation and http.Client.
type newSDK func(baseURL string, client *http.Client) sdk

var sdks = map[string]newSDK{
	"openai-go": newOpenAIGo,
	"go-openai": newGoOpenAI,
}

// eachWay runs f under every SDK, plain and streaming.
func eachWay(t *testing.T, f func(t *testing.T, newSDK newSDK, stream bool)) {
	for name, newSDK := range sdks {
		t.Run(name+"/chat", func(t *testing.T) { f(t, newSDK, false) })
		t.Run(name+"/stream", func(t *testing.T) { f(t, newSDK, true) })
	}
}

// What every SDK is given as its own. None of it is another host's business.
const (
	callerKey = "sk-caller"
	callerOrg = "org-caller"
)

// A question is a chat with one message and, if tool is set, one tool.
type question struct{ model, prompt, tool string }

// An answer is what an SDK made of a response.
type answer struct {
	text, reasoning     string
	tool, toolArguments string
	finish              string
	model, fingerprint  string
}

type apiError struct {
	status  int
	message string
}
