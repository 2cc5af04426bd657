package progress

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// A source returns nothing, without an error, so many times before each of its reads.
type source struct {
	io.Reader
	empty, left int
	reads       int
}

func (s *source) Read(p []byte) (int, error) {
	s.reads++
	if s.left > 0 {
		s.left--
		return 0, nil
	}
	s.left = s.empty
	return s.Reader.Read(p)
}

func TestProgress_EndsWithoutAny(t *testing.T) {
	for _, tt := range []struct {
		name  string
		empty int
		want  error
	}{
		{"a source that is never idle", 0, nil},
		{"a source that is idle now and then", MaxEmptyReads, nil},
		{"a source that is idle for good", MaxEmptyReads + 1, io.ErrNoProgress},
	} {
		s := &source{Reader: strings.NewReader("text"), empty: tt.empty, left: tt.empty}
		text, err := io.ReadAll(&Reader{Reader: s})
		if !errors.Is(err, tt.want) || err == nil && string(text) != "text" {
			t.Errorf("%s: ReadAll = %q, %v, want an end in %v", tt.name, text, err, tt.want)
		}
		if err != nil && s.reads != MaxEmptyReads+1 {
			t.Errorf("%s was read %d times, want %d", tt.name, s.reads, MaxEmptyReads+1)
		}
	}
}

// To ask for no bytes and get none says nothing.
func TestProgress_EmptyBuffer(t *testing.T) {
	r := &Reader{Reader: strings.NewReader("text")}
	for range 2 * MaxEmptyReads {
		if n, err := r.Read(nil); n != 0 || err != nil {
			t.Fatalf("Read(nil) = %d, %v, want 0, nil", n, err)
		}
	}
}
