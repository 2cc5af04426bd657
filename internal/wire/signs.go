package wire

import "bytes"

// The signs of an error are members that only errors have. Each host has its own.
type signs struct {
	failed bool
}

// take reads a member, and reports false if it is none of them.
func (s *signs) take(name []byte, c *cursor) bool {
	switch string(name) {
	case "errors", "err", "error_type", "error_message", "error_msg", "error_code", "errorType", "errorMessage", "errorMsg", "errorCode", "errmsg", "err_msg", "errcode", "err_code":
		s.failed = c.value().isError() || s.failed
	case "detail": // FastAPI
		v := c.value()
		s.failed = v.isText() || v.isFilled() || s.failed
	case "object", "type":
		s.failed = string(c.value().text()) == "error" || s.failed
	case "status":
		switch string(bytes.ToLower(c.value().text())) {
		case "error", "failed", "failure":
			s.failed = true
		}
	case "success", "ok":
		s.failed = string(c.value()) == "false" || s.failed
	default:
		return false
	}
	return true
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
// or an empty value if there is none.
func (v value) isError() bool {
	if v.is('{') || v.is('[') {
		return v.isFilled()
	}
	return len(v) > 0 && !v.isFine()
}

// isFine reports whether v says that all is well, or nothing.
func (v value) isFine() bool {
	text := v
	if v.is('"') {
		text = v.text()
	}
	switch string(bytes.ToLower(text)) {
	case "", "null", "false", "none", "0", "200", "ok", "success":
		return true
	}
	return false
}
