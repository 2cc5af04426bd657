package diagnose

import (
	"maps"
	"slices"
	"strings"

	"github.com/breakwater-go/breakwater/internal/health"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/request"
)

// usual is the model that most programs ask for, by the name that all Models map from.
const usual = "deepseek-flash"

// ownName returns the endpoint's name for a model that a program asks for, as breakwater finds it.
func (d *diagnosis) ownName(model string) (name string, ok bool) {
	names := host.NamesOf(d.profile, d.endpoint.Models)
	if d.endpoint.Models == nil {
		names = host.NamesByURL(d.profile, d.target.Hostname())
	}
	return names.Serve(d.operation(), model, &names)
}

// askedModel returns the endpoint's name for the model that is looked for; empty: there is none to
// look for.
func (d *diagnosis) askedModel(listed *health.Models) string {
	if d.model != "" {
		if name, ok := d.ownName(d.model); ok {
			return name
		}
		return d.model
	}
	if d.endpoint.Models[usual] != "" || d.profile.CanonicalNames || d.endpoint.Models == nil && d.profile.IsAt(d.target.Hostname()) {
		if name, ok := d.ownName(usual); ok {
			return name
		}
	}
	for _, from := range slices.Sorted(maps.Keys(d.endpoint.Models)) {
		return d.endpoint.Models[from]
	}
	if listed != nil {
		return firstOf(listed, d.operation())
	}
	return ""
}

// firstOf returns the first listed model by name that is for an operation, as far as names tell.
func firstOf(m *health.Models, op request.Operation) string {
	names := slices.Sorted(maps.Keys(m.Names))
	for _, name := range names {
		if strings.Contains(strings.ToLower(name), "embed") == (op == request.Embeddings) {
			return name
		}
	}
	if len(names) > 0 {
		return names[0]
	}
	return ""
}

// successor returns the name that replaced a retired one; empty: it was not retired.
func (d *diagnosis) successor(model string) string {
	if now := d.profile.CurrentName(model); now != model {
		return now
	}
	return ""
}

// successorOf returns the name that replaced a retired one, and the host that says so.
func (d *diagnosis) successorOf(model string) (successor, of string) {
	if now := d.successor(model); now != "" {
		return now, d.profile.Name
	}
	for p := range host.All() {
		if now := p.CurrentName(model); now != model {
			return now, p.Name
		}
	}
	return "", d.profile.Name
}

// retiredIn returns the retired name that was asked for, if a host's message says so.
func retiredIn(message string) string {
	for p := range host.All() {
		for old := range p.Renamed {
			if strings.Contains(message, "you passed "+old) {
				return old
			}
		}
	}
	return ""
}

// examineModels looks whether the host lists the models that the endpoint is to serve. It reports
// false if there is nothing to say.
func (d *diagnosis) examineModels(s *stage, listed *health.Models) bool {
	asked := d.askedModel(listed)
	m := &Models{Asked: clean(asked), Missing: []string{}, Renamed: make(map[string]string)}
	var old []string
	for _, name := range append(slices.Collect(maps.Values(d.endpoint.Models)), d.model) {
		if now := d.successor(name); now != "" {
			m.Renamed[clean(name)] = now
			old = append(old, name)
		}
	}
	slices.Sort(old)
	for _, name := range slices.Compact(old) {
		s.find(ModelRenamed, args{"model": clean(name), "successor": d.successor(name)}, nil)
	}
	if listed == nil || len(listed.Names) == 0 {
		if len(old) > 0 {
			d.report.Models = m
		}
		return false
	}
	m.Listed = len(listed.Names)
	wanted := slices.Collect(maps.Values(d.endpoint.Models))
	if asked != "" {
		wanted = append(wanted, asked)
	}
	slices.Sort(wanted)
	for _, name := range slices.Compact(wanted) {
		if now := d.successor(name); now != "" {
			name = now
		}
		if !listed.Names[name] && !listed.Partial && !slices.Contains(m.Missing, clean(name)) {
			m.Missing = append(m.Missing, clean(name))
		}
	}
	d.report.Models = m
	if len(m.Missing) > 0 {
		s.find(ModelNotListed, args{"models": m.Missing, "listed": d.some(listed)}, nil)
		s.say("not listed", args{"models": m.Missing})
		return true
	}
	if asked == "" {
		s.say("models listed", args{"n": m.Listed})
	} else {
		s.say("model found", args{"model": m.Asked})
	}
	return true
}

// some returns some of the names that a host lists: those of DeepSeek's models first.
func (d *diagnosis) some(listed *health.Models) []string {
	names := slices.Sorted(maps.Keys(listed.Names))
	slices.SortStableFunc(names, func(a, b string) int {
		return deepSeekFirst(b) - deepSeekFirst(a)
	})
	if len(names) == 0 {
		return []string{d.language.say("nowhere", nil)}
	}
	for i := range names {
		names[i] = clean(names[i])
	}
	return names
}

func deepSeekFirst(name string) int {
	if strings.Contains(strings.ToLower(name), "deepseek") {
		return 1
	}
	return 0
}
