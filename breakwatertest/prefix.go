package breakwatertest

import "strings"

// This file is chat prefix completion: the client gives the beginning of the answer
// and gets what follows it.
// https://api-docs.deepseek.com/guides/chat_prefix_completion

// isPrefix reports whether the message, as the last one, begins the answer.
func (m message) isPrefix() bool {
	return m.Role == "assistant" && string(m.Prefix) == "true"
}

// acceptPrefix returns the refusal of a prefix, if it is refused. A host that does
// not know of prefixes forgets it.
func (e *exchange) acceptPrefix() (reply, bool) {
	q := e.asks
	switch {
	case !q.prefixed:
		return reply{}, true
	case e.fault.kind == kindPrefixRejected:
		return e.refusal(prefixRejected), false
	case e.s.host.Dialect != DialectDeepSeek || e.fault.kind == kindPrefixIgnored:
		q.prefixed, q.prefix = false, ""
		return reply{}, true
	case !strings.HasSuffix(e.in.Path, "/beta/"+Chat.String()):
		return e.refusal(prefixOutsideBeta), false
	}
	for i := range q.choices {
		if !strings.HasPrefix(Choice(q.prompt, i), q.prefix) {
			return e.refusal(prefixRejected), false
		}
	}
	q.thinking, q.tool = "disabled", "" // what follows a text is text
	return reply{}, true
}

// behind is what is left of pieces that begin with the prefix: the rest of one, and
// those after it.
func behind(pieces []string, prefix string) []string {
	for len(pieces) > 0 && len(prefix) >= len(pieces[0]) {
		prefix, pieces = prefix[len(pieces[0]):], pieces[1:]
	}
	if prefix != "" {
		pieces[0] = pieces[0][len(prefix):]
	}
	return pieces
}
