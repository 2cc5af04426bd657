package request

import (
	"strings"

	"github.com/breakwater-go/breakwater/internal/bounded"
)

// Names interns model names, so that they need not be copied out of each body. It keeps a
// bounded number, because they come from callers. It is safe for concurrent use.
type Names struct{ all bounded.Map[string, string] }

const maxNames = 1024

// NewNames returns an empty Names.
func NewNames() *Names { return &Names{all: bounded.Map[string, string]{Max: maxNames}} }

// Intern returns a copy of name, always the same one while it is kept.
func (n *Names) Intern(name string) string {
	if known, ok := n.all.Get(name); ok {
		return known
	}
	name = strings.Clone(name)
	return n.all.GetOrAdd(name, func() string { return name })
}
