package wire

import (
	"fmt"

	"github.com/tidwall/gjson"
)

// ErrorBody returns the body of an error with an HTTP status, in the form that the wire's
// SDKs show to users: OpenAI's, or Anthropic's on its own wire.
func (w Wire) ErrorBody(status int, code, message string) []byte {
	kind, before := "breakwater_error", `{"error":{"message":`
	if w == Messages {
		kind, before = messagesError(status), `{"type":"error","error":{"message":`
	}
	body := gjson.AppendJSONString([]byte(before), message)
	return fmt.Appendf(body, `,"type":%q,"param":null,"code":%q}}`, kind, code)
}

// messagesError returns the type that Anthropic's API gives to an error with this status.
func messagesError(status int) string {
	switch status {
	case 400, 422:
		return "invalid_request_error"
	case 402:
		return "billing_error"
	case 429:
		return "rate_limit_error"
	case 504:
		return "timeout_error"
	}
	return "overloaded_error"
}

// ErrorEvent returns the event that ends a stream with an error, in the form that the
// wire's SDKs show to users.
func (w Wire) ErrorEvent(code, message string) []byte {
	text := gjson.AppendJSONString(nil, message)
	switch w {
	case Messages:
		return fmt.Appendf(nil, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":%s}}\n\n", text)
	case Responses:
		return fmt.Appendf(nil, "event: error\ndata: {\"type\":\"error\",\"code\":%q,\"message\":%s,\"param\":null}\n\n", code, text)
	}
	return fmt.Appendf(nil, "data: {\"error\":{\"message\":%s,\"type\":\"breakwater_error\",\"param\":null,\"code\":%q}}\n\n", text, code)
}
