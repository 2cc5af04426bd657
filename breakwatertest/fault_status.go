package breakwatertest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

const htmlPage = "<!DOCTYPE html>\n<html><head><title>%[1]s</title></head>\n<body><center><h1>%[1]s</h1></center><hr><center>openresty</center></body></html>\n"

// Status answers with the given status, type and body; contentType "" sends no
// Content-Type. header holds names and values by turns.
func Status(code int, contentType, body string, header ...string) Fault {
	return fixed("Status", strconv.Itoa(code), reply{code, contentType, body, header})
}

// TooManyRequests is a 429; retryAfter "" sends no Retry-After.
func TooManyRequests(retryAfter string) Fault {
	f := refused("TooManyRequests", retryAfter, rateLimited, 0)
	if retryAfter != "" {
		f = f.header("Retry-After", retryAfter)
	}
	return f
}

// TooManyRequestsMS is a 429 with retry-after-ms, as Azure sends it.
func TooManyRequestsMS(value string) Fault {
	return refused("TooManyRequestsMS", value, rateLimited, 0).header("Retry-After-Ms", value)
}

// ConcurrencyLimit is the 429 of one answer too many at once, of which the host
// allows n: on DeepSeek with the limit in its words.
func ConcurrencyLimit(n int) Fault {
	return refused("ConcurrencyLimit", strconv.Itoa(n), tooManyAtOnce, n)
}

// QuotaThrottle is a throttle that clears in a minute, worded as if the money had
// run out: Bailian's 429 insufficient_quota. Other hosts throttle in their words.
func QuotaThrottle() Fault { return refused("QuotaThrottle", "", throttled, 0) }

// ServerError is a 500, or what the host says instead.
func ServerError() Fault { return refused("ServerError", "", broken, 0) }

// Busy is the 503 of an overloaded host, or what the host says instead.
func Busy() Fault { return refused("Busy", "", tooBusy, 0) }

// HTMLError is an error page of a proxy before the host.
func HTMLError(code int) Fault {
	page := fmt.Sprintf(htmlPage, fmt.Sprintf("%d %s", code, http.StatusText(code)))
	return fixed("HTMLError", strconv.Itoa(code), reply{code: code, contentType: "text/html", body: page})
}

// EmptyError is an error status without a body.
func EmptyError(code int) Fault {
	return fixed("EmptyError", strconv.Itoa(code), reply{code: code})
}

// Unauthorized is the 401 a wrong key gets. It shows "xxxx" for the key's end.
func Unauthorized() Fault {
	return Fault{name: "Unauthorized", kind: kindStatus, reply: func(x *exchange) reply {
		return x.words(x.s.host.Dialect.words(wrongKey).fill("{key}", "xxxx"), 0)
	}}
}

// InsufficientBalance is DeepSeek's 402, in the shape of the host's errors
// whichever it is. [Overdue] is what the host itself would say.
func InsufficientBalance() Fault {
	return Fault{name: "InsufficientBalance", kind: kindStatus, reply: func(x *exchange) reply {
		return x.words(DialectDeepSeek.words(noMoney), 0)
	}}
}

// Overdue is an account without money, as the host says it: with a 402, 403, 400
// or 429.
func Overdue() Fault { return refused("Overdue", "", noMoney, 0) }

// PlainUnauthorized is a 401 in plain text of no type, as DeepSeek's edge sends it
// to requests without a key.
func PlainUnauthorized() Fault {
	return fixed("PlainUnauthorized", "", DialectDeepSeek.words(noKey).reply(DialectDeepSeek, Chat))
}

// ModelNotFound is an unknown model, with a 404 or 400 as the host has it.
func ModelNotFound() Fault { return refused("ModelNotFound", "", unknownModel, 0) }

// RetiredModel is DeepSeek's 400 for deepseek-chat and deepseek-reasoner since
// July 2026, with the name that was asked for; what other hosts say is guessed.
func RetiredModel() Fault { return refused("RetiredModel", "", retiredModel, 0) }

// ContextLength is a request that is too long for the model.
func ContextLength() Fault { return refused("ContextLength", "", tooLong, 0) }

// ContentFilter is a prompt that the host does not want to answer.
func ContentFilter() Fault { return refused("ContentFilter", "", filtered, 0) }

// MissingReasoning is the 400 of a conversation whose reasoning_content was left
// out.
func MissingReasoning() Fault { return refused("MissingReasoning", "", reasoningMissing, 0) }

// Redirect is a 307 to somewhere else.
func Redirect(location string) Fault {
	return fixed("Redirect", location, reply{code: http.StatusTemporaryRedirect, header: []string{"Location", location}})
}

func fixed(name, detail string, p reply) Fault {
	return Fault{name: name, kind: kindStatus, detail: detail, reply: func(*exchange) reply { return p }}
}

// refused is a refusal in the words of the host that gives it.
func refused(name, detail string, r refusal, n int) Fault {
	return Fault{name: name, kind: kindStatus, detail: detail, reply: func(x *exchange) reply {
		return x.words(x.s.host.Dialect.words(r), n)
	}}
}

// header adds a header to a fault that is a status.
func (f Fault) header(name, value string) Fault {
	bare := f.reply
	f.reply = func(x *exchange) reply {
		p := bare(x)
		p.header = append(slices.Clip(p.header), name, value)
		return p
	}
	return f
}
