package wire

import (
	"strconv"

	"github.com/tidwall/gjson"
)

// A Refusal is an error body read leniently: an error object, an error
// string, or code and message at the top.
type Refusal struct {
	Code    string // error.code, or the flat code, as text
	Type    string // error.type
	Message string
	Status  int // the HTTP status that its code or type stands for, else 0
}

// RefusalOf reads an error body, or the event that carries one. Text that is
// no JSON gives its first bytes as the message.
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
	case text.Get("response.error").IsObject(): // of the event response.failed
		from = text.Get("response.error")
	case text.Get("choices.0.error").IsObject(): // OpenRouter's, of one choice
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

// status is what a refusal inside a 200 stands for. Only numbers and the
// names that two public APIs document count: a host's other words decide nothing.
func (r Refusal) status() int {
	if n, err := strconv.Atoi(r.Code); err == nil && n >= 400 && n <= 599 {
		return n
	}
	// DeepSeek's code invalid_request_error stands beside any type: the type is read first.
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
