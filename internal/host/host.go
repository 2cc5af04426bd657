// Package host knows how the hosts of models differ: where their operations are, what they
// call a model, which fields they expect, and what their refusals mean.
//
// What is known of a host is a [Profile], a row of the table in table.go. [Paths] and
// [Names] combine it with an endpoint's URL and model names; they are made once per
// endpoint. All of them are read-only once they are made, so any goroutine may use them.
// The package knows no calls and sends nothing.
package host

import (
	"iter"
	"strings"

	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/request"
)

// A Profile is what is known of one host. Zero fields fit a host that behaves like
// OpenAI's API.
type Profile struct {
	Name    string
	Source  string   // the page that most of the facts come from
	Checked string   // the day on which they were last compared with the host's pages: 2006-01-02
	Domains []string // of its servers, including subdomains; a label "*" stands for any one label

	// Roots are what may precede an operation's path on its servers, in addition to the
	// endpoint's base path.
	Roots []string
	// Operations are the roots under which it serves an operation, the preferred one
	// first. It does not serve an operation that is missing here. Without a list it serves
	// everything, under the endpoint's base path.
	Operations map[request.Operation][]string
	PrefixRoot string // the root where the last message may begin the answer; empty: none is known
	// PrefixReasoning says that this message may have its reasoning, too, as reasoning_content.
	PrefixReasoning bool
	KeyHeader       string // the header for the key; empty: Authorization, as a bearer token
	// KeyPrefixes are beginnings of keys that no other host gives out.
	KeyPrefixes []string

	Models   map[string]string // from DeepSeek's names to this host's; presets have it as Models
	Renamed  map[string]string // from retired names to those that replaced them
	Families []Family          // names of others that it takes for its own models; the first that fits counts
	// CanonicalNames says that its models have the names that all Models map from. Without
	// Models, an endpoint of this host does not accept every name.
	CanonicalNames  bool
	ReasoningModels []string // parts of names of models that think without being asked to

	Offers request.Needs // those of request.Special that it honours, as few hosts do; and request.Usage
	Known  []ModelFacts  // of its models; the first that fits a name counts

	ThinkingField request.ThinkingField // how a call says whether to think
	UserField     string                // the field with the caller's own user; empty: user

	// QueuesAfterHeaders says that it answers 200 first and queues then, so that missing
	// headers do not mean that it is thinking.
	QueuesAfterHeaders bool
	UsageInStreams     bool // its streams contain the usage even if it is not requested

	// What is free to ask, by GET, below the root of its servers.
	ModelsPath    string // lists the models; empty: /models below the endpoint's URL
	ModelsNeedKey bool   // nobody gets that list without a key that is right
	BalancePath   string // tells the balance of the account; empty: nothing does
	// StatusPages have what the host says of itself, as a summary of Atlassian Statuspage. The
	// first that answers counts: pages behind the first are its mirrors.
	StatusPages []string

	Limits      []LimitHeaders
	LimitPhrase string      // the text before the number of a limit in a refusal
	Errors      []ErrorRule // its own texts of refusals, which count before the status

	Generic bool // it stands for all unknown hosts: two of them may differ
}

// ModelFacts are what is known of some models at a host. What is not known for sure is left
// out, so that nothing is kept away that might have served.
type ModelFacts struct {
	Part    string        // of their names, in lower case
	Lacks   request.Needs // what they cannot do, or ignore
	Context int           // the most tokens that they take, answer included; 0: not known
}

// FactsOf returns what is known of a model of the host.
func (p *Profile) FactsOf(model string) ModelFacts {
	if len(p.Known) > 0 {
		model = strings.ToLower(model)
	}
	for _, m := range p.Known {
		if strings.Contains(model, m.Part) {
			return m
		}
	}
	return ModelFacts{}
}

// TooLong reports whether a prompt with at least so many tokens certainly does not fit.
// There is some room, because tokens are counted by the words.
func (m ModelFacts) TooLong(leastTokens int32) bool {
	return m.Context > 0 && int(leastTokens) > m.Context+m.Context/8
}

// IsSame reports whether two hosts are known to be of one kind, so that what one of them
// has of its own, the other has, too. Hosts that are not known may differ.
func (p *Profile) IsSame(other *Profile) bool { return p == other && !p.Generic }

// Lookup returns the profile of a host by its name, or the generic one.
func Lookup(name string) *Profile {
	for i := range table {
		if table[i].Name == name {
			return &table[i]
		}
	}
	return generic()
}

// IsAt reports whether a server is one of the host's own.
func (p *Profile) IsAt(domain string) bool { return !p.Generic && OfDomain(domain) == p }

// OfDomain returns the profile of the host that a server belongs to, or the generic one.
func OfDomain(domain string) *Profile {
	domain, ok := origin.ASCIIHost(domain)
	if !ok {
		return generic()
	}
	for i := range table {
		for _, d := range table[i].Domains {
			if isOf(domain, d) {
				return &table[i]
			}
		}
	}
	return generic()
}

// isOf reports whether a server's name belongs to a domain of the table.
func isOf(name, domain string) bool {
	first, rest, wild := strings.Cut(domain, "*")
	if !wild {
		return name == domain || strings.HasSuffix(name, "."+domain)
	}
	label, ok := strings.CutPrefix(name, first)
	if ok {
		label, ok = strings.CutSuffix(label, rest)
	}
	return ok && label != "" && !strings.Contains(label, ".")
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

// Thinks reports whether a model is known to think without being asked.
func (p *Profile) Thinks(model string) bool {
	model = strings.ToLower(model)
	for _, part := range p.ReasoningModels {
		if strings.Contains(model, part) {
			return true
		}
	}
	return false
}

// A Family is names that a host takes for one of its models, on one operation.
type Family struct {
	Operation request.Operation
	Prefix    string // of the names
	Model     string
}

// CurrentName returns the name that replaced a model's name.
func (p *Profile) CurrentName(model string) string {
	if name, ok := p.Renamed[model]; ok {
		return name
	}
	return model
}

// Behind returns the host's own name for what it serves under a name.
func (p *Profile) Behind(op request.Operation, model string) string {
	for _, f := range p.Families {
		if f.Operation == op && strings.HasPrefix(model, f.Prefix) {
			return f.Model
		}
	}
	return p.CurrentName(model)
}

// IsToken reports whether a key is a JSON Web Token, RFC 7519: three parts in base64url, of
// which the first begins with {". Where a host has a header of its own for keys, as Azure
// has, such a token still goes into Authorization.
func IsToken(key string) bool { return strings.HasPrefix(key, "eyJ") && strings.Count(key, ".") == 2 }

// userField returns the field with the caller's own user.
func (p *Profile) userField() string {
	if p.UserField == "" {
		return "user"
	}
	return p.UserField
}
