package request

import (
	"bytes"
	"slices"

	"github.com/tidwall/gjson"
)

// An Edit replaces a span by a text. With an empty span it inserts the text.
type Edit struct {
	At   Span
	Text string
}

// Splice appends body with the edits made to dst. Every other byte stays, because the
// prefix caches of hosts depend on it. Spans must not overlap; edits is sorted in place.
func Splice(dst, body []byte, edits []Edit) []byte {
	slices.SortStableFunc(edits, func(a, b Edit) int { return a.At.From - b.At.From })
	size, done := len(body), 0
	for _, e := range edits {
		size += len(e.Text)
	}
	dst = slices.Grow(dst, size)
	for _, e := range edits {
		dst = append(append(dst, body[done:e.At.From]...), e.Text...)
		done = e.At.To
	}
	return append(dst, body[done:]...)
}

// AskForUsage returns the edit with which a chat's stream ends in its usage, and whether there is
// one: not for a request that hosts may understand differently, nor for one that asks already.
func AskForUsage(p *Params, body []byte) (Edit, bool) {
	const asks = `{"include_usage":true}`
	if !p.Stream || p.IncludeUsage || p.Ambiguous {
		return Edit{}, false
	}
	if p.Options { // empty, null, or a no
		old := gjson.GetBytes(body, "stream_options")
		return Edit{At: Span{old.Index, old.Index + len(old.Raw)}, Text: asks}, old.Index > 0
	}
	at := bytes.IndexByte(body, '{') + 1
	return Edit{At: Span{at, at}, Text: `"stream_options":` + asks + `,`}, at > 0
}
