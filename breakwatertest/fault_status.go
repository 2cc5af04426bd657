package breakwatertest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/breakwater-go/breakwater/internal/dialect"
)

const htmlPage = "<!DOCTYPE html>\n<html><head><title>%[1]s</title></head>\n<body><center><h1>%[1]s</h1></center><hr><center>openresty</center></body></html>\n"

// Status answers with the given status, type and body. An empty contentType sends
// no Content-Type. header alternates names and values.
func Status(code int, contentType, body string, header ...string) Fault {
	return fixed("Status", strconv.Itoa(code), reply{code, contentType, body, header})
}

// TooManyRequests sends a 429 with Retry-After, or without if retryAfter is empty.
func TooManyRequests(retryAfter string) Fault {
	f := refused("TooManyRequests", retryAfter, dialect.RateLimited, 0)
	if retryAfter != "" {
		f = f.header("Retry-After", retryAfter)
	}
	return f
}

// TooManyRequestsMS sends a 429 with retry-after-ms, as Azure does.
func TooManyRequestsMS(value string) Fault {
	return refused("TooManyRequestsMS", value, dialect.RateLimited, 0).header("Retry-After-Ms", value)
}

// ConcurrencyLimit sends the 429 of a host that gives n answers at once. DeepSeek's
// message names n.
func ConcurrencyLimit(n int) Fault {
	return refused("ConcurrencyLimit", strconv.Itoa(n), dialect.TooManyAtOnce, n)
}

// QuotaThrottle sends the 429 of a rate limit that ends within a minute. Bailian's
// code for it is insufficient_quota, as if the account had no money. Other hosts
// have their own.
func QuotaThrottle() Fault { return refused("QuotaThrottle", "", dialect.Throttled, 0) }

// ServerError sends a 500, or what the host sends instead.
func ServerError() Fault { return refused("ServerError", "", dialect.Broken, 0) }

// Busy sends the 503 of an overloaded host, or what the host sends instead.
func Busy() Fault { return refused("Busy", "", dialect.TooBusy, 0) }

// HTMLError sends the error page of a proxy in front of the host.
func HTMLError(code int) Fault {
	page := fmt.Sprintf(htmlPage, fmt.Sprintf("%d %s", code, http.StatusText(code)))
	return fixed("HTMLError", strconv.Itoa(code), reply{code: code, contentType: "text/html", body: page})
}

// EmptyError sends an error status without a body.
func EmptyError(code int) Fault {
	return fixed("EmptyError", strconv.Itoa(code), reply{code: code})
}

// Unauthorized sends the 401 for a wrong key. Its message has "xxxx" for the end of
// the key.
func Unauthorized() Fault {
	return Fault{name: "Unauthorized", kind: kindStatus, reply: func(x *exchange) reply {
		return x.words(x.s.host.Dialect.words(dialect.WrongKey).Fill("{key}", "xxxx"), 0)
	}}
}

// InsufficientBalance sends DeepSeek's 402 and message, in the error shape of the
// host. [Overdue] is the host's own error.
func InsufficientBalance() Fault {
	return Fault{name: "InsufficientBalance", kind: kindStatus, reply: func(x *exchange) reply {
		return x.words(DialectDeepSeek.words(dialect.NoMoney), 0)
	}}
}

// Overdue sends the host's error for an account without money: a 402, 403, 400 or
// 429.
func Overdue() Fault { return refused("Overdue", "", dialect.NoMoney, 0) }

// PlainUnauthorized sends a 401 in plain text without a Content-Type, as DeepSeek
// does for requests without a key.
func PlainUnauthorized() Fault {
	return fixed("PlainUnauthorized", "", replyOf(DialectDeepSeek.words(dialect.NoKey), DialectDeepSeek, Chat))
}

// ModelNotFound sends the host's error for an unknown model: a 404 or 400.
func ModelNotFound() Fault { return refused("ModelNotFound", "", dialect.UnknownModel, 0) }

// RetiredModel sends DeepSeek's 400 for deepseek-chat and deepseek-reasoner, as
// since July 2026, with the name of the request. The errors of other hosts are
// guessed.
func RetiredModel() Fault { return refused("RetiredModel", "", dialect.RetiredModel, 0) }

// ContextLength sends the error for a request that is too long for the model.
func ContextLength() Fault { return refused("ContextLength", "", dialect.TooLong, 0) }

// ContentFilter sends the error for a prompt that the host refuses to answer.
func ContentFilter() Fault { return refused("ContentFilter", "", dialect.Filtered, 0) }

// MissingReasoning sends the 400 for a conversation without its reasoning_content.
func MissingReasoning() Fault { return refused("MissingReasoning", "", dialect.ReasoningMissing, 0) }

// Redirect sends a 307 to location.
func Redirect(location string) Fault {
	return fixed("Redirect", location, reply{code: http.StatusTemporaryRedirect, header: []string{"Location", location}})
}

func fixed(name, detail string, p reply) Fault {
	return Fault{name: name, kind: kindStatus, detail: detail, reply: func(*exchange) reply { return p }}
}

// refused returns a fault that sends the host's own refusal.
func refused(name, detail string, r dialect.Refusal, n int) Fault {
	return Fault{name: name, kind: kindStatus, detail: detail, reply: func(x *exchange) reply {
		return x.words(x.s.host.Dialect.words(r), n)
	}}
}

// header returns a fault that sends a status, with one more header field.
func (f Fault) header(name, value string) Fault {
	bare := f.reply
	f.reply = func(x *exchange) reply {
		p := bare(x)
		p.header = append(slices.Clip(p.header), name, value)
		return p
	}
	return f
}
