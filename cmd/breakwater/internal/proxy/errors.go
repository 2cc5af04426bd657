package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// errShutdown ends calls whose time to drain is over.
var errShutdown = errors.New("proxy: shutting down")

// A refusal is an answer of the proxy's own.
type refusal struct {
	status  int
	code    string // one word
	message string // for people: it quotes nothing of the request
	retry   int    // seconds after which another try may help; 0: none will
}

// errorBody returns the body of a refusal in the form of the wire's API, so that its SDKs show it.
func (w wire) errorBody(r refusal) []byte {
	type inner struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	}
	body := struct {
		Type  string `json:"type,omitempty"`
		Error inner  `json:"error"`
	}{"", inner{"breakwater proxy: " + r.message, "breakwater_error", nil, r.code}}
	switch {
	case w == anthropic:
		body.Type, body.Error.Type = "error", anthropicType(r.status)
	case r.status == http.StatusUnauthorized:
		body.Error.Type = "authentication_error"
	case r.status < 500:
		body.Error.Type = "invalid_request_error"
	}
	text, _ := json.Marshal(body)
	return text
}

// anthropicType returns the type that Anthropic's API gives to an error with this status.
func anthropicType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	}
	if status < 500 {
		return "invalid_request_error"
	}
	return "api_error"
}

// errorEvent returns the event that ends a stream with an error, in the form of the wire's API.
func (w wire) errorEvent(code, message string) []byte {
	text, _ := json.Marshal("breakwater proxy: " + message)
	switch w {
	case anthropic:
		return fmt.Appendf(nil, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":%s}}\n\n", text)
	case responses:
		return fmt.Appendf(nil, "event: error\ndata: {\"type\":\"error\",\"code\":%q,\"message\":%s,\"param\":null}\n\n", code, text)
	}
	return fmt.Appendf(nil, "data: {\"error\":{\"message\":%s,\"type\":\"breakwater_error\",\"param\":null,\"code\":%q}}\n\n", text, code)
}

// write sends a refusal.
func (r refusal) write(w http.ResponseWriter, as wire) {
	body := as.errorBody(r)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Breakwater-Error", r.code)
	h.Set("X-Should-Retry", strconv.FormatBool(r.retry > 0))
	if r.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(r.retry))
	}
	if r.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="breakwater"`)
	}
	w.WriteHeader(r.status)
	w.Write(body)
}
