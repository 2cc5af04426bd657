package request

import "slices"

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
