package request

import "slices"

// An Edit puts text in the place of a span. An empty span is a place to insert
// at.
type Edit struct {
	At   Span
	Text string
}

// Splice appends body to dst with the edits made. Every other byte stays as it
// was, which is what prefix caches of hosts depend on. Spans may not overlap;
// edits are sorted in place.
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
