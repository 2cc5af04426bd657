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
	for _, path := range [...]string{
		"error", "Error", "response.error", "Response.Error", // response.failed, Tencent
		"choices.0.error", "choices.0.delta.error", // OpenRouter puts it into a choice
		"error.0", "errors.0", "ErrorMsg", "base_resp", "fault", // MiniMax, Apigee
	} {
		if e := text.Get(path); e.IsObject() {
			from = e
			break
		}
	}
	r := Refusal{
		Code:    firstOf(from, "code", "Code", "error_code", "errorCode", "errcode", "err_code", "status_code", "statusCode", "status", "__type"),
		Type:    firstOf(from, "type", "Type", "error_type", "errorType"),
		Message: firstOf(from, "message", "Message", "error_message", "errorMessage", "error_msg", "errmsg", "err_msg", "status_msg", "msg", "Msg", "detail"),
	}
	if e := text.Get("error"); e.Type == gjson.String {
		r.Message = e.Str
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
	// first, unless it says no more than that. Google's status names what its code may not.
	code := statusNamed(r.Code)
	if status := statusNamed(r.Type); status != 0 && (status != 400 || code == 0) {
		return status
	}
	return code
}

// statusNamed returns the status that the name of an error implies, 0 if none. Spellings differ:
// rate_limit_error, RateLimitError, Too Many Requests.
func statusNamed(name string) int {
	plain := strings.Map(func(r rune) rune {
		switch r {
		case '_', '-', ' ':
			return -1
		}
		return r
	}, strings.ToLower(name[:min(len(name), maxName)]))
	plain = strings.TrimSuffix(strings.TrimSuffix(plain, "error"), "exception")
	if status := statuses[plain]; status != 0 {
		return status
	}
	switch {
	case strings.HasPrefix(plain, "throttling"), strings.HasPrefix(plain, "ratelimitexceeded"): // Bailian, Ark
		return 429
	case strings.HasPrefix(plain, "invalidparameter"), strings.HasSuffix(plain, "sensitivecontentdetected"):
		return 400
	}
	return 0
}

// maxName is how much of a name is read.
const maxName = 128

// statuses are what names of errors imply, without the endings error and exception.
var statuses = map[string]int{
	"ratelimit": 429, "ratelimitreached": 429, "ratelimited": 429, "toomanyrequests": 429, "resourceexhausted": 429,
	"requestslimitexceeded": 429, "tokenslimitexceeded": 429, "insufficientquota": 429, "throttled": 429,
	"limitrequests": 429, "limitburstrate": 429, // Bailian
	"rpmratelimitexceeded": 429, "tpmratelimitexceeded": 429, // Qianfan
	"serveroverloaded": 429, "requestbursttoofast": 429, // Ark
	"overloaded":     529,
	"authentication": 401, "invalidauthentication": 401, "invalidapikey": 401, "unauthenticated": 401, "unauthorized": 401,
	"billing": 402, "insufficientbalance": 402, "paymentrequired": 402,
	"permission": 403, "permissiondenied": 403, "accessdenied": 403,
	"notfound": 404, "modelnotfound": 404, "resourcenotfound": 404,
	"requesttoolarge": 413, "payloadtoolarge": 413,
	"unprocessableentity": 422, "validation": 422, // TGI
	"timeout": 504, "gatewaytimeout": 504, "deadlineexceeded": 504,
	"api": 500, "server": 500, "internalserver": 500, "internal": 500,
	"serviceunavailable": 503, "unavailable": 503, "engineoverloaded": 503, "modeloverloaded": 503,
	"invalidrequest": 400, "badrequest": 400, "invalidargument": 400, "invalidvalue": 400, "unsupportedparameter": 400, "unsupportedvalue": 400,
	"contextlengthexceeded": 400, "contextwindowexceeded": 400, "exceedcontextsize": 400, "prompttoolong": 400, "stringabovemaxlength": 400,
	"invalidprompt": 400, "invalidimage": 400, "imagetoolarge": 400,
	"contentfilter": 400, "contentpolicyviolation": 400, "responsibleaipolicyviolation": 400, "datainspectionfailed": 400,
}
