package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// An Error is one mistake in a configuration. Its text has the form
//
//	breakwater.yaml:12:3: retry.max_delay: is 30, a number without a unit: want a duration such as 30s
//
// It never has the value of a key, a token, a header or a variable.
type Error struct {
	File         string // as it was given to Load; empty: the environment
	Line, Column int    // from 1; 0: not known
	Path         string // of the value, such as backups[0].url; empty: the file as a whole
	Problem      string // what is wrong
	Want         string // what was probably meant, or what would be right

	err error // why the file could not be read
}

// Unwrap returns why a file could not be read, such as fs.ErrNotExist, or nil.
func (e *Error) Unwrap() error { return e.err }

func (e *Error) Error() string {
	var parts []string
	switch {
	case e.File != "" && e.Line > 0:
		parts = append(parts, fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column))
	case e.File != "":
		parts = append(parts, e.File)
	}
	for _, part := range []string{e.Path, e.Problem, e.Want} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Errors are all mistakes of a configuration, in the order of its lines. There is at least one.
type Errors []*Error

// Error returns a line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the mistakes, for errors.As.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}

// sorted returns the mistakes in the order of their lines, without repetitions.
func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(e, func(a, b *Error) bool { return *a == *b })
}
