// Package host knows how the hosts of models differ: where their operations
// are, what they call a model, in which fields they want to be told things, and
// what they mean by a refusal.
//
// What is known of a host is a [Profile], a row of the table in table.go. What an
// endpoint makes of its host's roots and names is in [Paths] and [Names], made
// once for it. All of it is read only once it is made, so that anybody may use
// it at any time. It knows of no call and sends nothing.
package host

import (
	"iter"
	"strings"

	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/request"
)

// A Profile is what is known of one host. Its zero fields are right for a host
// that is like OpenAI's API.
type Profile struct {
	Name    string
	Domains []string // of its servers, subdomains included

	// Roots are what may precede an operation's path on its servers, beside the
	// endpoint's base path.
	Roots []string
	// Operations are the roots under which it serves an operation, the one to
	// prefer first. It does not serve an operation that is not listed. Without a
	// list it serves everything, under the endpoint's base path.
	Operations map[request.Operation][]string
	PrefixRoot string // the root where the last message may be the beginning of the answer; empty: none is known
	KeyHeader  string // the header that takes the key; empty: Authorization, as a bearer token

	Models  map[string]string // DeepSeek's names to this host's; what presets have as Models
	Renamed map[string]string // names no longer served to those that took their place
	// CanonicalNames says that its models go by the names that all Models map
	// from. Without Models an endpoint of it does not take any name as it is.
	CanonicalNames  bool
	ReasoningModels []string // parts of names of models that think without being asked to

	ThinkingField request.ThinkingField // how a call says whether to think
	UserField     string                // the field that names the caller's own user; empty: user

	// QueuesAfterHeaders says that it answers 200 first and queues then, so that a
	// lack of headers means something other than thinking.
	QueuesAfterHeaders bool
	UsageInStreams     bool // its streams say what they took, whether or not that is asked for

	Limits      []LimitHeaders
	LimitPhrase string      // in a refusal, what the number of a limit follows
	Errors      []ErrorRule // its own words for a refusal, which go before the status

	Generic bool // it stands for all hosts that are not known: two of them may be two hosts
}

// Lookup returns the profile of the host of that name, the generic one if there
// is none.
func Lookup(name string) *Profile {
	for i := range table {
		if table[i].Name == name {
			return &table[i]
		}
	}
	return generic()
}

// OfDomain returns the profile of the host that a server of that name belongs
// to, the generic one if it is nobody's that is known.
func OfDomain(domain string) *Profile {
	domain, ok := origin.ASCIIHost(domain)
	if !ok {
		return generic()
	}
	for i := range table {
		for _, d := range table[i].Domains {
			if domain == d || strings.HasSuffix(domain, "."+d) {
				return &table[i]
			}
		}
	}
	return generic()
}

// All returns all profiles.
func All() iter.Seq[*Profile] {
	return func(yield func(*Profile) bool) {
		for i := range table {
			if !yield(&table[i]) {
				return
			}
		}
	}
}

func generic() *Profile { return &table[len(table)-1] }

// Thinks reports whether a model is known by its name to think unasked.
func (p *Profile) Thinks(model string) bool {
	model = strings.ToLower(model)
	for _, part := range p.ReasoningModels {
		if strings.Contains(model, part) {
			return true
		}
	}
	return false
}

// CurrentName returns the name that took the place of a model's name.
func (p *Profile) CurrentName(model string) string {
	if name, ok := p.Renamed[model]; ok {
		return name
	}
	return model
}

// userField returns the field that names the caller's own user.
func (p *Profile) userField() string {
	if p.UserField == "" {
		return "user"
	}
	return p.UserField
}
