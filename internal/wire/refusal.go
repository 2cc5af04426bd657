package wire

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// A Refusal is an error body that was read leniently: an error object, an error string, or
// code and message at the top.
type Refusal struct {
	Code    string // error.code, or the flat code, as text
	Type    string // error.type
	Message string
	Status  int // the HTTP status that its code or type implies; 0: none
}

// RefusalOf reads an error body, or an event that carries one. If it is not JSON, its
// first bytes are the message.
func RefusalOf(body []byte) Refusal {
	const maxMessage = 4 << 10
	if !Valid(body) {
		return Refusal{Message: string(body[:min(len(body), maxMessage)])}
	}
	text := gjson.ParseBytes(body)
	if text.IsArray() {
		text = text.Get("0")
	}
	from := text
	switch e := text.Get("error"); {
	case e.IsObject():
		from = e
	case e.Type == gjson.String:
		r := Refusal{Message: e.Str, Code: text.Get("code").String(), Type: text.Get("error_type").String()}
		r.Status = r.status()
		return r
	case text.Get("response.error").IsObject(): // in the event response.failed
		from = text.Get("response.error")
	case text.Get("choices.0.error").IsObject(): // OpenRouter puts it into a choice
		from = text.Get("choices.0.error")
	}
	r := Refusal{
		Code:    firstOf(from, "code", "error_code", "errorCode", "errcode", "err_code", "status_code", "statusCode", "status"),
		Type:    firstOf(from, "type", "error_type", "errorType"),
		Message: firstOf(from, "message", "error_message", "errorMessage", "error_msg", "errmsg", "err_msg", "msg", "detail"),
	}
	r.Status = r.status()
	return r
}

// firstOf returns the first member of those names that says something.
func firstOf(from gjson.Result, names ...string) string {
	for _, name := range names {
		if v := from.Get(name); v.Exists() && v.Type != gjson.Null && v.String() != "" {
			return v.String()
		}
	}
	return ""
}

// status returns the status that a refusal inside a 200 implies. Only numbers and documented
// names count; the texts of messages decide nothing.
func (r Refusal) status() int {
	if n, err := strconv.Atoi(r.Code); err == nil && n >= 400 && n <= 599 {
		return n
	}
	// DeepSeek sends the code invalid_request_error with any type, so the type is read
	// first, unless it says no more than that.
	code := statusNamed(r.Code)
	if status := statusNamed(r.Type); status != 0 && (status != 400 || code == 0) {
		return status
	}
	return code
}

// statusNamed returns the status that the name of an error implies, 0 if none.
func statusNamed(name string) int {
	switch name {
	case "rate_limit_error", "rate_limit_exceeded", "too_many_requests", "RateLimitError", "RESOURCE_EXHAUSTED", "requests_limit_exceeded", "tokens_limit_exceeded":
		return 429
	case "overloaded_error":
		return 529
	case "authentication_error", "invalid_api_key", "AuthenticationError", "UNAUTHENTICATED":
		return 401
	case "billing_error", "insufficient_balance":
		return 402
	case "insufficient_quota":
		return 429
	case "permission_error", "permission_denied", "PERMISSION_DENIED", "PermissionDeniedError":
		return 403
	case "not_found_error", "model_not_found", "NotFoundError", "NOT_FOUND":
		return 404
	case "request_too_large":
		return 413
	case "timeout_error":
		return 504
	case "api_error", "server_error", "internal_server_error", "internal_error", "InternalServerError", "InternalError", "INTERNAL":
		return 500
	case "service_unavailable", "service_unavailable_error", "ServiceUnavailable", "UNAVAILABLE":
		return 503
	case "invalid_request_error", "context_length_exceeded", "invalid_prompt", "content_filter", "content_policy_violation",
		"string_above_max_length", "invalid_image", "image_too_large", "unsupported_parameter", "invalid_value",
		"BadRequestError", "InvalidParameter", "INVALID_ARGUMENT", "DataInspectionFailed", "data_inspection_failed":
		return 400
	}
	switch {
	case strings.HasPrefix(name, "Throttling"), strings.HasPrefix(name, "RateLimitExceeded"): // Bailian, Ark
		return 429
	case strings.HasPrefix(name, "InvalidParameter"):
		return 400
	}
	return 0
}
