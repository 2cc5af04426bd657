package store

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/breakwater-go/breakwater/internal/header"
)

// notKept are the headers of an answer that describe how it was transferred, in
// lower case.
var notKept = []string{
	"content-length", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "trailer", "te", "upgrade", "proxy-authorization", "age", "cache-status", "openai-processing-ms",
	strings.ToLower(header.Attempts),
}

// ofFirstCaller are parts of the names of headers that describe the first caller: its
// account, and what was left of its limits.
var ofFirstCaller = []string{
	"cookie", "authenticat", "retry", "limit", "quota", "credit", "balance", "budget", "spend", "billing",
	"organization", "project", "account", "tenant", "customer",
}

// KeptHeader returns the part of an answer's header that callers other than the first see.
// In a scope of one credential that is everything except what describes the first call. In
// a shared scope it is only what may pass from another origin: a list of what to remove
// would miss headers that do not exist yet.
func KeptHeader(h http.Header, shared bool) http.Header {
	own := RestrictionOf(h, shared).Fields
	for _, line := range h["Connection"] {
		own = append(own, list(line)...) // RFC 9110, section 7.6.1
	}
	kept := make(http.Header, len(h))
	for name, values := range h {
		lower := strings.ToLower(name)
		isPart := func(part string) bool { return strings.Contains(lower, part) }
		if slices.Contains(notKept, lower) || slices.Contains(own, lower) || slices.ContainsFunc(ofFirstCaller, isPart) {
			continue
		}
		if !shared || header.IsSafelisted(name) || textproto.CanonicalMIMEHeaderKey(name) == header.Endpoint {
			kept[name] = slices.Clone(values)
		}
	}
	return kept
}

// SetFormat changes a header to the type of a stream or of JSON. It removes what describes
// the exact bytes of the original answer.
func SetFormat(h http.Header, stream bool) {
	for _, name := range [...]string{"Content-Length", "Content-Encoding", "Etag", "Content-Md5", "Content-Digest", "Repr-Digest", "Digest"} {
		delete(h, name)
	}
	if stream {
		h["Content-Type"] = []string{"text/event-stream"}
	} else {
		h["Content-Type"] = []string{"application/json"}
	}
}
