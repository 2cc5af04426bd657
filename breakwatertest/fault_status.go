package breakwatertest

import (
	"fmt"
	"net/http"
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
	var header []string
	if retryAfter != "" {
		header = []string{"Retry-After", retryAfter}
	}
	return worded("TooManyRequests", retryAfter, failure{
		status: 429, message: "Rate limit reached, please slow down.",
		kind: "rate_limit_error", code: "rate_limit_exceeded", flat: 50604,
	}, header...)
}

var serverError = failure{
	status: 500, message: "Internal server error, please try again later.",
	kind: "server_error", code: "internal_error",
}

// ServerError is a 500.
func ServerError() Fault { return worded("ServerError", "", serverError) }

var busy = failure{
	status: 503, message: "Service is too busy.",
	kind: "service_unavailable_error", code: "service_unavailable_error",
}

// Busy is the 503 of an overloaded host.
func Busy() Fault {
	return Fault{name: "Busy", kind: kindStatus, status: func(d Dialect) reply {
		f := busy
		if d == DialectSiliconFlow {
			f.message, f.flat = "System is really busy. Please try again later.", 50603
		}
		return f.reply(d)
	}}
}

// HTMLError is an error page of a proxy before the host.
func HTMLError(code int) Fault {
	page := fmt.Sprintf(htmlPage, fmt.Sprintf("%d %s", code, http.StatusText(code)))
	return fixed("HTMLError", strconv.Itoa(code), reply{code: code, contentType: "text/html", body: page})
}

// EmptyError is an error status without a body.
func EmptyError(code int) Fault {
	return fixed("EmptyError", strconv.Itoa(code), reply{code: code})
}

// Unauthorized is the 401 a wrong key gets.
func Unauthorized() Fault { return worded("Unauthorized", "", wrongKey("xxxx")) }

// InsufficientBalance is the 402 of an account without money.
func InsufficientBalance() Fault {
	return worded("InsufficientBalance", "", failure{
		status: 402, message: "Insufficient Balance",
		kind: "unknown_error", code: "invalid_request_error", flat: 30001,
	})
}

func wrongKey(tail string) failure {
	return failure{
		status: 401, message: "Authentication Fails, Your api key: ****" + tail + " is invalid",
		kind: "authentication_error", code: "invalid_request_error",
	}
}

func fixed(name, detail string, p reply) Fault {
	return Fault{name: name, kind: kindStatus, detail: detail, status: func(Dialect) reply { return p }}
}

func worded(name, detail string, f failure, header ...string) Fault {
	return Fault{name: name, kind: kindStatus, detail: detail, status: func(d Dialect) reply {
		return f.reply(d, header...)
	}}
}
