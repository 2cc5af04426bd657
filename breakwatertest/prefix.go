package breakwatertest

import (
	"strings"

	"github.com/breakwater-go/breakwater/internal/dialect"
)

// This file implements chat prefix completion: the client sends the beginning of the
// answer and gets the rest.
// https://api-docs.deepseek.com/guides/chat_prefix_completion

// isPrefix reports whether the message is the beginning of the answer, if it is the
// last one.
func (m message) isPrefix() bool {
	return m.Role == "assistant" && string(m.Prefix) == "true"
}

// acceptPrefix returns the refusal of a prefix, if it is refused. A host without
// prefix completion ignores the prefix.
func (e *exchange) acceptPrefix() (reply, bool) {
	q := e.asks
	switch {
	case !q.prefixed:
		return reply{}, true
	case e.fault.kind == kindPrefixRejected:
		return e.refusal(dialect.PrefixRejected), false
	case e.s.host.Dialect != DialectDeepSeek || e.fault.kind == kindPrefixIgnored:
		q.prefixed, q.prefix = false, ""
		return reply{}, true
	case !strings.HasSuffix(e.in.Path, "/beta/"+Chat.String()):
		return e.refusal(dialect.PrefixOutsideBeta), false
	}
	for i := range q.choices {
		if !strings.HasPrefix(Choice(q.prompt, i), q.prefix) {
			return e.refusal(dialect.PrefixRejected), false
		}
	}
	q.thinking, q.tool = "disabled", "" // the rest of a text is text
	return reply{}, true
}

// behind removes the prefix from the beginning of the pieces. The first piece that
// it returns may be the rest of one.
func behind(pieces []string, prefix string) []string {
	for len(pieces) > 0 && len(prefix) >= len(pieces[0]) {
		prefix, pieces = prefix[len(pieces[0]):], pieces[1:]
	}
	if prefix != "" {
		pieces[0] = pieces[0][len(prefix):]
	}
	return pieces
}
