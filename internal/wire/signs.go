package wire

import "bytes"

// The signs of an error are members that only errors have. Each host has its own.
type signs struct {
	failed bool
}

// take reads a member, and reports false if it is none of them.
func (s *signs) take(name []byte, c *cursor) bool {
	kind := signOf(name)
	if kind == noSign {
		return false
	}
	v, shown := c.value(), false
	switch kind {
	case errorSign:
		shown = v.isError()
	case filledSign:
		shown = v.isText() || v.isFilled()
	case nameSign:
		shown = isErrorName(v.text())
	case stateSign:
		shown = isStatus(v) || isFailed(v.text())
	case statusSign:
		shown = isStatus(v)
	case successSign:
		shown = string(v) == "false"
	case nestedSign:
		shown = v.get("status_code").isError() || v.get("Error").isError() || v.get("error").isError()
	}
	s.failed = s.failed || shown
	return true
}

// A sign is how a member tells of an error.
type sign uint8

const (
	noSign      sign = iota
	errorSign        // by any value
	filledSign       // by a text, a list or an object that is not empty
	nameSign         // by the name of an error
	stateSign        // by a word, or a status
	statusSign       // by the status of a failure
	successSign      // by false
	nestedSign       // by a member of its own
)

// signOf returns how a member tells of an error. Spellings differ: errorCode, error_code,
// ErrorCode.
func signOf(name []byte) sign {
	var plain [16]byte
	n := 0
	for _, b := range name {
		switch {
		case b == '_' || b == '-':
			continue
		case n == len(plain):
			return noSign
		case 'A' <= b && b <= 'Z':
			b += 'a' - 'A'
		}
		plain[n] = b
		n++
	}
	switch string(plain[:n]) {
	case "error", "errors", "err", "errno", "errortype", "errormessage", "errormsg", "errorcode", "errorinfo", "errmsg", "errcode", "exception", "fault":
		return errorSign
	case "detail": // FastAPI
		return filledSign
	case "object", "type", "event":
		return nameSign
	case "status", "result":
		return stateSign
	case "statuscode", "httpstatus", "httpcode", "ret", "retcode":
		return statusSign
	case "success", "ok":
		return successSign
	case "baseresp", "response": // MiniMax, Tencent
		return nestedSign
	}
	return noSign
}

// isErrorName reports whether a type names an error, as api_error and ThrottlingException do.
func isErrorName(name []byte) bool {
	for _, end := range [...]string{"error", "exception"} {
		if n := len(name) - len(end); n >= 0 && bytes.EqualFold(name[n:], []byte(end)) {
			return true
		}
	}
	return false
}

// isFailed reports whether the word of a status tells of a failure.
func isFailed(status []byte) bool {
	switch string(bytes.ToLower(status)) {
	case "error", "fail", "failed", "failure":
		return true
	}
	return false
}

// isStatus reports whether v is the HTTP status of a failure.
func isStatus(v value) bool {
	if v.is('"') {
		v = v.text()
	}
	return len(v) == 3 && (v[0] == '4' || v[0] == '5') && isDigit(v[1]) && isDigit(v[2])
}

// isFlatError reports whether a code and a message, of which either may be missing, stand in
// place of an answer. A code of 0 or 200 reports a success. Events may have a message without
// a code, such as a heartbeat with words.
func isFlatError(code, message value, event bool) bool {
	switch {
	case !message.isSet() || message.isFine():
		return false
	case code == nil:
		return !event && message.isText()
	case code.isSet():
		return !code.isFine()
	}
	return message.isText()
}

// isError reports whether a member that is for errors has one: some hosts send a null, a zero
// or an empty value if there is none, or an object of such.
func (v value) isError() bool {
	switch {
	case v.is('['):
		return v.isFilled()
	case !v.is('{'):
		return len(v) > 0 && !v.isFine()
	}
	some := false
	c := v.cursor()
	for c.open(); c.more('}'); {
		c.key()
		one := c.value()
		some = some || one.isFilled() || !one.is('{') && !one.is('[') && !one.isFine()
	}
	return some
}

// isFine reports whether v says that all is well, or nothing.
func (v value) isFine() bool {
	text := v
	if v.is('"') {
		text = v.text()
	}
	switch string(bytes.ToLower(text)) {
	case "", "null", "false", "none", "0", "200", "ok", "success", "succeeded", "successful", "成功", "操作成功", "请求成功":
		return true
	}
	return false
}

// isProse reports whether data that is no object may be an error in plain words, and not a
// number, a time, a literal or a single word such as ping.
func isProse(data []byte) bool {
	switch {
	case isDigit(data[0]): // 502 Bad Gateway is one, a time is none
		return len(data) > 3 && data[3] == ' ' && isStatus(data[:3])
	case data[0] == '<': // a page
		return true
	}
	for _, b := range data {
		if b >= 0x80 || b == ' ' || b == '\t' || b == '\n' || b == '\\' {
			return true
		}
	}
	return kindOf(bytes.Trim(data, `"`)) == brokenEnd
}
