// Package request knows the requests of inference APIs: which operation one asks for, what
// its body's fields are, how to change them without touching other bytes, and which
// conversation it belongs to.
//
// All of it is functions of their arguments, without state, except for Names. Any
// goroutine may call all of it, and any package.
package request

import (
	"net/http"
	"strings"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// An Operation is an inference operation, named by its path after the base URL. Only these
// are judged, cached and failed over.
type Operation string

const (
	None        Operation = "" // no inference
	Chat        Operation = "/chat/completions"
	Completions Operation = "/completions" // fill in the middle
	Responses   Operation = "/responses"
	Messages    Operation = "/messages" // Anthropic's
	Embeddings  Operation = "/embeddings"
)

// operations has a row for each operation.
var operations = [...]struct {
	op     Operation
	suffix string    // of the paths that ask for it; the first row that fits counts
	wire   wire.Wire // of its answers
}{
	{Chat, string(Chat), wire.Chat},
	{Completions, string(Completions), wire.Chat},
	{Responses, string(Responses), wire.Responses},
	{Embeddings, string(Embeddings), wire.Embeddings},
	{Messages, "/v1" + string(Messages), wire.Messages}, // OpenAI's threads have paths that end in /messages, too
}

// OperationOf returns the operation that a request asks for, or false if it asks for none.
func OperationOf(req *http.Request) (op Operation, ok bool) {
	if req.Method != http.MethodPost || req.URL == nil {
		return "", false
	}
	for i := range operations {
		if strings.HasSuffix(req.URL.Path, operations[i].suffix) {
			return operations[i].op, true
		}
	}
	return "", false
}

// IsSafe reports whether a request is safe (RFC 9110, 9.2.1) and in a form that can be sent
// again: a GET or HEAD without a body that asks for no other protocol.
func IsSafe(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead:
		return (req.Body == nil || req.Body == http.NoBody) && len(req.Header["Upgrade"]) == 0
	}
	return false
}

// IsKnown reports whether op is one of the operations.
func (op Operation) IsKnown() bool {
	for i := range operations {
		if operations[i].op == op {
			return true
		}
	}
	return false
}

// Wire returns the format of the operation's answers.
func (op Operation) Wire() wire.Wire {
	for i := range operations {
		if operations[i].op == op {
			return operations[i].wire
		}
	}
	return wire.Chat
}
