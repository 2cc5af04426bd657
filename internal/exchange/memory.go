package exchange

import (
	"bytes"
	"io"
)

// A Memory is a body in memory. Reset sets what it reads.
type Memory struct{ bytes.Reader }

func (*Memory) Kind() Kind         { return KindMemory }
func (*Memory) Observe(Completion) {}
func (*Memory) Close() error       { return nil }

// InMemory returns a body that reads data and then ends in the error end.
func InMemory(data []byte, end error) Body {
	if end != io.EOF {
		return &failing{io.MultiReader(bytes.NewReader(data), errorReader{end}), len(data)}
	}
	m := &Memory{}
	m.Reset(data)
	return m
}

// A failing body is in memory and ends in an error other than io.EOF.
type failing struct {
	io.Reader
	size int
}

func (*failing) Kind() Kind         { return KindMemory }
func (*failing) Observe(Completion) {}
func (*failing) Close() error       { return nil }

// SizeInMemory returns how many bytes a body of InMemory has that nobody has read yet; 0: it is
// another body.
func SizeInMemory(body io.Reader) int64 {
	switch b := body.(type) {
	case *Memory:
		return int64(b.Len())
	case *failing:
		return int64(b.size)
	}
	return 0
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }
