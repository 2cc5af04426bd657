package request

import (
	"strings"

	"github.com/breakwater-go/breakwater/internal/bounded"
)

// Names keeps model names, so that those of calls need not be copied out of
// their bodies each time. It keeps a bounded number, since they come from
// callers.
type Names struct{ all bounded.Map[string, string] }

const maxNames = 1024

// NewNames returns an empty Names.
func NewNames() *Names { return &Names{all: bounded.Map[string, string]{Max: maxNames}} }

// Intern returns a copy of name, the same one each time as long as it is kept.
func (n *Names) Intern(name string) string {
	if known, ok := n.all.Get(name); ok {
		return known
	}
	name = strings.Clone(name)
	return n.all.GetOrAdd(name, func() string { return name })
}
