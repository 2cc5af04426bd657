package header

import (
	"math"
	"net/http"
	"net/textproto"
	"strings"
)

// MaxRequestID is how many bytes of a request's id are read at most. The ids of all known
// hosts are shorter.
const MaxRequestID = 128

// requestIDs are the response headers in which hosts tell the id of a request. The names
// that only one host has come before those that a gateway in front of a host adds, too.
var requestIDs = [...]string{
	"X-Ds-Trace-Id",           // DeepSeek
	"X-Siliconcloud-Trace-Id", // SiliconFlow
	"X-Tt-Logid",              // Volcengine Ark
	"X-Generation-Id",         // OpenRouter
	"X-Bce-Request-Id",        // Baidu Qianfan
	"Nvcf-Reqid",              // NVIDIA
	"X-Amzn-Requestid",        // AWS Bedrock
	"Apim-Request-Id",         // Azure
	"Request-Id",              // Anthropic
	"X-Request-Id",            // OpenAI, Bailian, Fireworks, vLLM, SGLang, most gateways
	"X-Ms-Request-Id",         // Azure
}

// requestIDEnds are how the names of such headers end at hosts that nobody has looked at.
var requestIDEnds = [...]string{"Request-Id", "Requestid", "Trace-Id", "Traceid", "Log-Id", "Logid", "Reqid"}

// networkIDs are those of content networks, which say something only if no host does.
// Together tells users to quote the first.
var networkIDs = [...]string{"Cf-Ray", "Eo-Log-Uuid"}

// isRequestID reports whether a header, by its canonical name, tells a request's id.
func isRequestID(name string) bool { return rankOf(name) >= 0 }

// rankOf returns the place of a header, by its canonical name, among those that may tell a
// request's id, the best first, or -1 if it does not. All unknown ones share a place.
func rankOf(name string) int {
	for i, known := range requestIDs {
		if name == known {
			return i
		}
	}
	for _, end := range requestIDEnds {
		if strings.HasSuffix(name, end) {
			return len(requestIDs)
		}
	}
	return -1
}

// RequestID returns the host's id of the request that a response answers, or "" if it tells
// none. The id is at most MaxRequestID bytes of visible ASCII, because a host may send
// anything. Of several unknown headers that could be it, the first by name counts. One that
// repeats the client's own id, such as X-Client-Request-Id, does not.
func RequestID(h http.Header) string {
	if id := Visible(First(h, requestIDs[0]), MaxRequestID); id != "" {
		return id
	}
	id, of, best := "", "", math.MaxInt
	for name, values := range h {
		if len(name) == 0 || len(values) == 0 || name[len(name)-1]|0x20 != 'd' { // few headers end in a d
			continue
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		rank := rankOf(name)
		if rank < 0 || rank > best || rank == best && name >= of || strings.Contains(name, "Client-") {
			continue
		}
		if v := Visible(values[0], MaxRequestID); v != "" {
			id, of, best = v, name, rank
		}
	}
	for i := 0; id == "" && i < len(networkIDs); i++ {
		id = Visible(First(h, networkIDs[i]), MaxRequestID)
	}
	return id
}

// Visible returns the first limit bytes of s without all that is not visible ASCII. It
// allocates only if s has more than that: then the rest of s need not be kept.
func Visible(s string, limit int) string {
	visible := func(b byte) bool { return ' ' < b && b < 0x7f }
	clean := len(s) <= limit
	for i := 0; clean && i < len(s); i++ {
		clean = visible(s[i])
	}
	if clean {
		return s
	}
	var out strings.Builder
	for i := range min(len(s), limit) {
		if visible(s[i]) {
			out.WriteByte(s[i])
		}
	}
	return out.String()
}
