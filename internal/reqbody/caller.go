package reqbody

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"sync"
)

// A onceCloser is a body that is closed only once.
type onceCloser struct {
	io.ReadCloser
	once sync.Once
	err  error
}

func (c *onceCloser) Close() error {
	c.once.Do(func() { c.err = c.ReadCloser.Close() })
	return c.err
}

// closeLater closes a body that may block, without waiting.
func closeLater(body io.Closer) {
	go func() {
		defer func() { _ = recover() }()
		body.Close()
	}()
}

// InMemory reports whether a body is read from memory, so that it never blocks: one of
// those that http.NewRequest knows, or io.NopCloser of one.
func InMemory(body io.Reader) bool {
	switch body.(type) {
	case *bytes.Reader, *bytes.Buffer, *strings.Reader:
		return true
	}
	if t := reflect.TypeOf(body); t != noCloser && t != noCloserWriterTo {
		return false
	}
	inner, _ := reflect.ValueOf(body).Field(0).Interface().(io.Reader)
	return inner != nil && InMemory(inner)
}

// The types of what io.NopCloser returns.
var (
	noCloser         = reflect.TypeOf(io.NopCloser(nil))
	noCloserWriterTo = reflect.TypeOf(io.NopCloser(new(bytes.Reader)))
)
