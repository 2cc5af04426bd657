package host

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// An ErrorRule recognizes one refusal. All fields that are not empty must match.
type ErrorRule struct {
	Status     int
	Code       string // error.code or error.type; one that ends in a dot matches all that begin with it
	Message    string // part of the message, in lower case
	RetryAfter bool   // the host asked for a pause
	Class      outcome.Class
}

// Classify returns the class of a refusal: by the host's own rules, then by the codes that
// all hosts have from OpenAI, then by the status. The message of an unknown host decides
// nothing. pause says whether the host asked for one.
func (p *Profile) Classify(status int, body []byte, pause bool) outcome.Class {
	refusal := wire.RefusalOf(body)
	message := strings.ToLower(refusal.Message)
	for _, rules := range [...][]ErrorRule{p.Errors, openAIErrors} {
		for i := range rules {
			r := &rules[i]
			if r.Status == status && (!r.RetryAfter || pause) &&
				(r.Code == "" || r.hasCode(refusal.Code) || r.hasCode(refusal.Type)) && strings.Contains(message, r.Message) {
				return r.Class
			}
		}
	}
	switch {
	case status >= 300 && status < 400:
		return outcome.Redirected
	case status == http.StatusTooManyRequests:
		return outcome.RateLimited
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return outcome.KeyRejected
	case status == http.StatusPaymentRequired:
		return outcome.NoFunds
	case status == http.StatusRequestTimeout, status == http.StatusFailedDependency, status >= 500:
		return outcome.Unavailable
	}
	return outcome.Refused
}

// hasCode reports whether the rule is for that code. Ark's codes have details
// after a dot.
func (r *ErrorRule) hasCode(code string) bool {
	if family, ok := strings.CutSuffix(r.Code, "."); ok {
		return code == family || strings.HasPrefix(code, r.Code)
	}
	return code == r.Code
}

// StatedLimit returns the number that a refusal states as the host's limit; 0: none. It
// has at most six digits, because a host may state any number.
func (p *Profile) StatedLimit(body []byte) int32 {
	if p.LimitPhrase == "" {
		return 0
	}
	_, rest, _ := bytes.Cut(body, []byte(p.LimitPhrase))
	n := int32(0)
	for _, digit := range rest[:min(len(rest), 6)] {
		if digit < '0' || digit > '9' {
			break
		}
		n = 10*n + int32(digit-'0')
	}
	return n
}
