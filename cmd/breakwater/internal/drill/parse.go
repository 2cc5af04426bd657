package drill

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/chaos"
	"github.com/breakwater-go/breakwater/cmd/breakwater/config"
)

// Bounds of a script. A drill that exceeds them would measure this machine.
const (
	longest     = 4 * time.Hour
	mostCalls   = 1_000_000
	mostAtOnce  = 5000
	leastRate   = 0.01 // calls a second
	mostRate    = 1000
	mostHosts   = 16
	mostActs    = 1000
	mostPrompt  = 1 << 20
	mostPerCall = 1e6 // ratios
)

// Parse reads a script. file is its name in mistakes. It returns all mistakes that it finds, joined:
// each is a *ScriptError, but for those of the section breakwater, which are of package config.
func Parse(file string, text []byte) (*Script, error) {
	r := &reader{file: file}
	s := &Script{
		Name: strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".yaml"), ".yml"),
		Load: Load{Streams: 0.5, Model: "deepseek-flash", Prompt: Span{200, 200}, Deadline: 20 * time.Second, MaxTokens: 64},
	}
	root := r.load(text)
	if root == nil {
		return nil, errors.Join(r.errs...)
	}
	var places []*yaml.Node // of acts
	r.object(root, map[string]func(*yaml.Node){
		"title":      r.text(&s.Title),
		"shows":      r.text(&s.Shows),
		"duration":   r.duration(&s.Duration, time.Second, longest),
		"hosts":      func(n *yaml.Node) { r.list(n, func(n *yaml.Node) { r.host(n, s) }) },
		"load":       func(n *yaml.Node) { r.readLoad(n, &s.Load) },
		"breakwater": func(n *yaml.Node) { r.policies(n, s) },
		"timeline": func(n *yaml.Node) {
			r.list(n, func(n *yaml.Node) { places = append(places, n); r.act(n, s) })
		},
		"objectives": func(n *yaml.Node) { r.objectives(n, &s.Objectives) },
	})
	if len(r.errs) == 0 {
		r.check(root, s, places)
	}
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	slices.SortStableFunc(s.Timeline, func(a, b Act) int { return cmp.Compare(a.At, b.At) })
	return s, nil
}

// policies reads the section breakwater: the policies of the configuration file, by the same keys.
func (r *reader) policies(n *yaml.Node, s *Script) {
	opts, err := config.Policies(r.file, "breakwater", n, os.LookupEnv)
	if err != nil {
		r.errs = append(r.errs, err)
		return
	}
	s.Policies = opts
}

func (r *reader) host(n *yaml.Node, s *Script) {
	h := Host{Persona: "deepseek"}
	const most = time.Hour
	r.object(n, map[string]func(*yaml.Node){
		"name":        r.text(&h.Name),
		"persona":     r.oneOf(&h.Persona, Personas()),
		"backup":      r.yes(&h.Backup),
		"concurrency": r.integer(&h.Concurrency, 0, 1_000_000),
		"http2":       r.yes(&h.HTTP2),
		"queue":       r.duration(&h.Pace.Queue, 0, most),
		"first_token": r.duration(&h.Pace.FirstToken, 0, most),
		"per_token":   r.duration(&h.Pace.PerToken, 0, most),
		"tokens":      r.integer(&h.Pace.Tokens, 1, 100),
	})
	switch {
	case h.Name == "":
		r.fail(n, "the host has no name")
	case strings.Trim(h.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		r.fail(n, "the name %q: want lower-case letters, digits and hyphens", h.Name)
	case slices.ContainsFunc(s.Hosts, func(o Host) bool { return o.Name == h.Name }):
		r.fail(n, "two hosts are named %q", h.Name)
	case h.Backup && len(s.Hosts) == 0:
		r.fail(n, "the first host cannot be a backup")
	case len(s.Hosts) == mostHosts:
		r.fail(n, "there are more than %d hosts", mostHosts)
	}
	s.Hosts = append(s.Hosts, h)
}

func (r *reader) readLoad(n *yaml.Node, l *Load) {
	names := make(map[string]kit.Wire)
	var words []string
	for _, w := range kit.Wires() {
		word := strings.ReplaceAll(w.String(), "/", "_")
		if w == kit.Chat {
			word = "chat"
		}
		names[word] = w
		words = append(words, word)
	}
	r.object(n, map[string]func(*yaml.Node){
		"calls_per_second": r.number(&l.PerSecond, leastRate, mostRate),
		"callers":          r.integer(&l.Callers, 1, mostAtOnce),
		"pause":            r.duration(&l.Pause, 0, time.Hour),
		"streams":          r.share(&l.Streams),
		"model":            r.text(&l.Model),
		"repeat":           r.share(&l.Repeat),
		"deadline":         r.duration(&l.Deadline, 10*time.Millisecond, time.Hour),
		"max_tokens":       r.integer(&l.MaxTokens, 1, 1_000_000),
		"prompt_characters": func(n *yaml.Node) {
			if resolved(n).Kind != yaml.SequenceNode {
				r.integer(&l.Prompt.Least, 1, mostPrompt)(n)
				l.Prompt.Most = l.Prompt.Least
				return
			}
			var ends []int
			r.list(n, func(n *yaml.Node) { var v int; r.integer(&v, 1, mostPrompt)(n); ends = append(ends, v) })
			if len(ends) != 2 || ends[0] > ends[1] {
				r.fail(n, "want one number, or the least and the most such as [100, 4000]")
				return
			}
			l.Prompt = Span{ends[0], ends[1]}
		},
		"wires": func(n *yaml.Node) {
			r.list(n, func(n *yaml.Node) {
				var word string
				r.oneOf(&word, words)(n)
				l.Wires = append(l.Wires, names[word])
			})
		},
	})
	if l.PerSecond == 0 && l.Callers == 0 || l.PerSecond > 0 && l.Callers > 0 {
		r.fail(n, "want either calls_per_second or callers")
	}
	if len(l.Wires) == 0 {
		l.Wires = []kit.Wire{kit.Chat}
	}
}

func (r *reader) act(n *yaml.Node, s *Script) {
	a := Act{Rule: chaos.Rule{Probability: 1}}
	rule := &a.Rule
	var names []string
	for _, f := range chaos.Faults() {
		names = append(names, string(f.Fault))
	}
	const most = time.Hour
	args := map[string]func(*yaml.Node){
		"delay":            r.duration(&rule.Delay, time.Millisecond, most),
		"queue":            r.duration(&rule.Queue, 0, most),
		"keep_alive":       r.duration(&rule.KeepAlive, time.Millisecond, most),
		"first_token":      r.duration(&rule.FirstToken, 0, most),
		"per_token":        r.duration(&rule.PerToken, 0, most),
		"bytes_per_second": r.integer(&rule.BytesPerSecond, 1, 1<<30),
		"after":            r.integer(&rule.After, 0, 1000),
		"status":           r.integer(&rule.Status, 300, 599),
		"retry_after":      r.duration(&rule.RetryAfter, time.Second, 24*time.Hour),
		"limit":            r.integer(&rule.Limit, 1, 1_000_000),
		"body":             r.text(&rule.Body),
		"content_type":     r.text(&rule.ContentType),
	}
	var fault string
	keys := map[string]func(*yaml.Node){
		"at":          r.duration(&a.At, 0, longest),
		"for":         r.duration(&a.For, 100*time.Millisecond, longest),
		"host":        r.text(&a.Host),
		"fault":       r.oneOf(&fault, names),
		"probability": r.share(&rule.Probability),
		"models":      func(n *yaml.Node) { r.list(n, r.append(&rule.Match.Models)) },
		"operations":  func(n *yaml.Node) { r.list(n, r.append(&rule.Match.Operations)) },
		"streams":     func(n *yaml.Node) { rule.Match.Stream = new(bool); r.yes(rule.Match.Stream)(n) },
	}
	given := make(map[string]*yaml.Node)
	for key, read := range args {
		keys[key] = func(n *yaml.Node) { given[key] = n; read(n) }
	}
	before := len(r.errs)
	r.object(n, keys)
	rule.Fault = chaos.Fault(fault)
	if a.For == 0 {
		r.fail(n, "the act has no for: how long the fault lasts")
	}
	if rule.Probability == 0 {
		r.fail(n, "with a probability of 0 nothing happens")
	}
	if len(r.errs) == before {
		r.checkFault(n, a, given)
	}
	s.Timeline = append(s.Timeline, a)
}

// append reads one text of a list.
func (r *reader) append(to *[]string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var one string
		r.text(&one)(n)
		*to = append(*to, one)
	}
}

// checkFault looks whether a fault has the arguments that were given, and all that it needs.
func (r *reader) checkFault(n *yaml.Node, a Act, given map[string]*yaml.Node) {
	f, known := faultNamed(string(a.Rule.Fault))
	if !known {
		r.fail(n, "the act has no fault")
		return
	}
	before := len(r.errs)
	for key, at := range given {
		switch {
		case slices.Contains(f.Args, key):
		case len(f.Args) == 0:
			r.fail(at, "%s has no %s: it has no arguments", f.Fault, key)
		default:
			r.fail(at, "%s has no %s: it has %s", f.Fault, key, strings.Join(f.Args, ", "))
		}
	}
	if len(r.errs) > before {
		return
	}
	if _, err := chaos.New(chaos.Config{Rules: []chaos.Rule{a.Rule}}); err != nil {
		r.fail(n, "%s", strings.TrimPrefix(err.Error(), "chaos: "))
	}
}

func (r *reader) objectives(n *yaml.Node, o *Objectives) {
	share := func(to **float64) func(*yaml.Node) {
		return func(n *yaml.Node) { *to = new(float64); r.share(*to)(n) }
	}
	ratio := func(to **float64) func(*yaml.Node) {
		return func(n *yaml.Node) { *to = new(float64); r.number(*to, 0, mostPerCall)(n) }
	}
	lapse := func(to **time.Duration) func(*yaml.Node) {
		return func(n *yaml.Node) { *to = new(time.Duration); r.duration(*to, 0, longest)(n) }
	}
	r.object(n, map[string]func(*yaml.Node){
		"availability":      share(&o.Availability),
		"errors":            share(&o.Errors),
		"wrong":             share(&o.Wrong),
		"first_token_p99":   lapse(&o.FirstToken),
		"detect":            lapse(&o.Detect),
		"recover":           lapse(&o.Recover),
		"attempts_per_call": ratio(&o.AttemptsPerCall),
		"amplification":     ratio(&o.Amplification),
	})
}

// check looks at what depends on several keys.
func (r *reader) check(root *yaml.Node, s *Script, places []*yaml.Node) {
	if s.Title == "" {
		s.Title = s.Name
	}
	if s.Duration == 0 {
		r.fail(root, "the script has no duration")
		return
	}
	if s.Load.PerSecond == 0 && s.Load.Callers == 0 {
		r.fail(root, "the script has no load")
	}
	if err := s.tooMuch(); err != nil {
		r.fail(root, "%v", err)
	}
	if s.Objectives == (Objectives{}) {
		r.fail(root, "the script has no objectives")
	}
	if s.Objectives.Wrong == nil {
		s.Objectives.Wrong = new(float64) // half an answer taken for a whole one is never right
	}
	if len(s.Timeline) > mostActs {
		r.fail(root, "the timeline has %d faults; want at most %d", len(s.Timeline), mostActs)
		return
	}
	for i, a := range s.Timeline {
		r.within(fmt.Sprintf("timeline[%d]", i), func() { r.checkAct(places[i], s, i, a) })
	}
}

func (r *reader) checkAct(at *yaml.Node, s *Script, i int, a Act) {
	if a.End() > s.Duration {
		r.fail(at, "the fault ends at %v, behind the drill, which takes %v", a.End(), s.Duration)
	}
	if len(s.Hosts) > 0 && !slices.ContainsFunc(s.Hosts, func(h Host) bool { return h.Name == a.Host }) {
		var names []string
		for _, h := range s.Hosts {
			names = append(names, h.Name)
		}
		r.fail(at, "there is no host %q%s", a.Host, hint(a.Host, names))
	}
	for _, other := range s.Timeline[:i] {
		if other.Host == a.Host && other.At < a.End() && a.At < other.End() {
			r.fail(at, "the host %s has %s until %v already: a host has one fault at a time", a.Host, other.Rule.Fault, other.End())
		}
	}
}
