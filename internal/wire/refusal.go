package wire

import (
	"strconv"

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
	from := text
	switch e := text.Get("error"); {
	case e.IsObject():
		from = e
	case e.Type == gjson.String:
		return Refusal{Message: e.Str, Code: text.Get("code").String()}
	case text.Get("response.error").IsObject(): // in the event response.failed
		from = text.Get("response.error")
	case text.Get("choices.0.error").IsObject(): // OpenRouter puts it into a choice
		from = text.Get("choices.0.error")
	}
	r := Refusal{
		Code:    from.Get("code").String(),
		Type:    from.Get("type").String(),
		Message: from.Get("message").String(),
	}
	r.Status = r.status()
	return r
}

// status returns the status that a refusal inside a 200 implies. Only numbers and the
// names that two public APIs document count; the texts of other hosts decide nothing.
func (r Refusal) status() int {
	if n, err := strconv.Atoi(r.Code); err == nil && n >= 400 && n <= 599 {
		return n
	}
	// DeepSeek sends the code invalid_request_error with any type, so the type is read
	// first.
	for _, name := range [...]string{r.Type, r.Code} {
		switch name {
		case "rate_limit_error", "rate_limit_exceeded":
			return 429
		case "overloaded_error":
			return 529
		case "authentication_error":
			return 401
		case "billing_error":
			return 402
		case "permission_error":
			return 403
		case "timeout_error":
			return 504
		case "api_error", "server_error":
			return 500
		}
	}
	return 0
}
