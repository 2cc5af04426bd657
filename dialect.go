package breakwater

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// This file is how the rows of hosts.go are read.

// classify says what a refusal means: the host's own words first, then the
// codes all have from OpenAI, then the status, the message of a host we do not
// know never.
func (row *hostRow) classify(status int, body []byte, asked bool) Class {
	r := wire.RefusalOf(body)
	message := strings.ToLower(r.Message)
	for _, rules := range [...][]wordRule{row.words, openAICodes} {
		for _, w := range rules {
			if w.status == status && (!w.asked || asked) && (w.code == "" || w.names(r.Code) || w.names(r.Type)) && strings.Contains(message, w.message) {
				return w.class
			}
		}
	}
	switch {
	case status >= 300 && status < 400:
		return ClassRedirected
	case status == http.StatusTooManyRequests:
		return ClassRateLimited
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ClassKeyRejected
	case status == http.StatusPaymentRequired:
		return ClassNoFunds
	case status == http.StatusRequestTimeout, status == http.StatusFailedDependency, status >= 500:
		return ClassUnavailable
	}
	return ClassRefused
}

// limitSaid returns the number that a refusal gives for the host's limit, 0 if
// it gives none: it is hostile, and bounded.
func (row *hostRow) limitSaid(body []byte) int32 {
	if row.limitWords == "" {
		return 0
	}
	_, rest, _ := bytes.Cut(body, []byte(row.limitWords))
	n := int32(0)
	for _, digit := range rest[:min(len(rest), 6)] {
		if digit < '0' || digit > '9' {
			break
		}
		n = 10*n + int32(digit-'0')
	}
	return n
}

// names reports whether the rule's code is this one. A code that ends in a
// dot stands for all that begin with it: Ark's have details behind a dot.
func (w *wordRule) names(code string) bool {
	if family, ok := strings.CutSuffix(w.code, "."); ok {
		return code == family || strings.HasPrefix(code, w.code)
	}
	return code == w.code
}

// thinks reports whether a model is known by its name to think unasked.
func (row *hostRow) thinks(model string) bool {
	model = strings.ToLower(model)
	for _, part := range row.thinkers {
		if strings.Contains(model, part) {
			return true
		}
	}
	return false
}

// mountOf returns what precedes the host's roots at an endpoint with that base
// URL: nothing on the host's own servers, the path of a gateway elsewhere.
func (row *hostRow) mountOf(base *url.URL) string {
	if hostOf(base.Hostname()) == row.host {
		return ""
	}
	mount := base.Path
	precedes := func(root string) {
		if rest, ok := strings.CutSuffix(base.Path, root); ok && len(rest) < len(mount) {
			mount = rest
		}
	}
	if row.operations == nil {
		for _, root := range row.roots {
			precedes(root)
		}
	}
	for _, roots := range row.operations {
		for _, root := range roots {
			precedes(root)
		}
	}
	return mount
}

// rootOf returns what precedes op's path at the endpoint, or false if its host
// does not serve op.
func (e *upstream) rootOf(op request.Operation) (string, bool) {
	base := e.base.Path
	if e.row.operations == nil {
		if op == request.Messages && !strings.HasSuffix(base, "/v1") {
			return base + "/v1", true // as Anthropic's SDKs have it
		}
		return base, true
	}
	roots, ok := e.row.operations[op]
	if !ok {
		return "", false
	}
	for _, root := range roots {
		if e.mount+root == base {
			return base, true
		}
	}
	if op == request.Chat && !e.row.knows(strings.TrimPrefix(base, e.mount)) {
		return base, true // a base path that is not in the table is the user's word
	}
	return e.mount + roots[0], true
}

// knows reports whether base is, or precedes, one of the host's roots.
func (row *hostRow) knows(base string) bool {
	for _, roots := range row.operations {
		for _, root := range roots {
			if root == base || strings.HasPrefix(root, base+"/") {
				return true
			}
		}
	}
	return false
}

// userField is the field that names the caller's own user.
func (row *hostRow) userField() string {
	if row.user == "" {
		return "user"
	}
	return row.user
}
