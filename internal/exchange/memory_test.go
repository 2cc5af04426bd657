package exchange_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/exchange"
)

// A body in memory says so, and ends in what it is to end in.
func TestInMemory(t *testing.T) {
	reset := errors.New("reset")
	for _, end := range []error{io.EOF, reset} {
		body := exchange.InMemory([]byte("text"), end)
		body.Observe(nil)
		if got := exchange.KindOf(body); got != exchange.KindMemory {
			t.Errorf("KindOf = %v, want KindMemory", got)
		}
		text, err := exchange.ReadAll(body)
		if err == nil {
			err = io.EOF
		}
		if string(text) != "text" || err != end {
			t.Errorf("read %q, %v, want text and %v", text, err, end)
		}
		if err := body.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if got := exchange.KindOf(strings.NewReader("")); got != exchange.KindOther {
		t.Errorf("KindOf another's body = %v, want KindOther", got)
	}
}
