package host

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/breakwater-go/breakwater/internal/header"
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
// all hosts have from OpenAI, then by whether a gateway only relays it, then by the status.
// Nothing else in the message of an unknown host decides anything. pause says whether the
// host asked for one.
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
	if status >= 400 && status < 500 && isRelayed(refusal, message) {
		return classOfRelayed(status)
	}
	return classOf(status)
}

// classOf returns the class of a status whose body says nothing.
func classOf(status int) outcome.Class {
	switch status {
	case http.StatusTooManyRequests, statusCalmDown:
		return outcome.RateLimited
	case http.StatusUnauthorized, http.StatusForbidden:
		return outcome.KeyRejected
	case http.StatusPaymentRequired:
		return outcome.NoFunds
	case http.StatusProxyAuthRequired:
		return outcome.Blocked
	case http.StatusGone: // the end of a model's life
		return outcome.NoModel
	case http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		return outcome.Unsuited // another host may take more
	case http.StatusRequestTimeout, http.StatusFailedDependency, http.StatusMisdirectedRequest, http.StatusTooEarly,
		statusNoResponse, statusClientClosed:
		return outcome.Unavailable
	}
	switch {
	case status >= 300 && status < 400:
		return outcome.Redirected
	case status >= 500:
		return outcome.Unavailable
	}
	return outcome.Refused
}

// Statuses that no standard has.
const (
	statusCalmDown     = 420 // of some gateways, for 429
	statusNoResponse   = 444 // nginx's
	statusClientClosed = 499 // nginx's: its own client, a gateway, has left
)

// isRelayed reports whether a gateway only relays the refusal of some host behind it, which
// another call may not meet.
func isRelayed(r wire.Refusal, message string) bool {
	for _, name := range [...]string{r.Code, r.Type} {
		switch name {
		case "upstream_error", "provider_error", "bad_response_status_code":
			return true
		}
	}
	for _, words := range [...]string{"provider returned error", "upstream error", "no available channel", "no available account"} {
		if strings.Contains(message, words) {
			return true
		}
	}
	return false
}

// classOfRelayed returns the class of a 4xx that a gateway relays. It says nothing about the
// gateway's own key, account or path. The request may be at fault; another host tells.
func classOfRelayed(status int) outcome.Class {
	class := classOf(status)
	switch {
	case outcome.Of(class).Fault == outcome.FaultKey, class == outcome.NoModel, status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return outcome.Unavailable
	case class == outcome.Refused:
		return outcome.Unsuited
	}
	return class
}

// mitigations are the headers by which firewalls and content delivery networks say that
// they answered instead of the host.
var mitigations = [...]string{"Cf-Mitigated", "X-Amzn-Waf-Action", "X-Vercel-Mitigated", "X-Datadome"}

// Intercepted reports whether a refusal comes from something in front of the host: a
// firewall, a challenge of a content delivery network, a gateway's own page. No API
// refuses in HTML or XML. Where a status has a meaning of its own whoever sends it, as 401 and 429
// have, only a header shows that.
func Intercepted(status int, h http.Header, body []byte) bool {
	if status < 400 {
		return false
	}
	for _, name := range mitigations {
		if header.First(h, name) != "" {
			return true
		}
	}
	switch {
	case status == http.StatusForbidden:
		return !wire.Valid(body)
	case classOf(status) == outcome.Refused:
		return isPage(h, body)
	}
	return false
}

// isPage reports whether a body is HTML or XML. If it begins as neither, and not as JSON,
// its label tells.
func isPage(h http.Header, body []byte) bool {
	start := bytes.TrimLeft(body[:min(len(body), 1<<10)], "\ufeff \t\r\n")
	switch {
	case bytes.HasPrefix(start, []byte("<")):
		return true
	case bytes.HasPrefix(start, []byte("{")):
		return false
	}
	return header.MediaType(h) == "text/html"
}

// NamesKey reports whether a refusal says that the key is wrong: by a code that names keys
// or, where the host has no codes, by the host's own words.
func (p *Profile) NamesKey(status int, body []byte) bool {
	refusal := wire.RefusalOf(body)
	message := strings.ToLower(refusal.Message)
	for i := range p.Errors {
		if r := &p.Errors[i]; r.Class == outcome.KeyRejected && r.Status == status && r.Code == "" && strings.Contains(message, r.Message) {
			return true
		}
	}
	for _, name := range [...]string{refusal.Code, refusal.Type} {
		name = strings.ToLower(strings.ReplaceAll(name, "_", ""))
		if strings.Contains(name, "apikey") || strings.Contains(name, "authentication") || strings.Contains(name, "token") && (strings.Contains(name, "invalid") || strings.Contains(name, "expired")) {
			return true
		}
	}
	return false
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
