package chaos

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// makeRules checks rules that come behind others. The caller holds i.mu.
func (i *Injector) makeRules(rules []Rule, before []*rule) ([]*rule, error) {
	var made []*rule
	var errs []error
	taken := make(map[string]bool)
	for _, r := range before {
		taken[r.Name] = true
	}
	for _, r := range rules {
		if r.Name != "" && taken[r.Name] {
			errs = append(errs, fmt.Errorf("chaos: two rules are named %q", r.Name))
		}
		taken[r.Name] = true
	}
	set := time.Now()
	for at, r := range rules {
		r = r.clone()
		if r.Name == "" {
			r.Name = string(r.Fault)
			for n := 2; taken[r.Name]; n++ {
				r.Name = fmt.Sprintf("%s-%d", r.Fault, n)
			}
			taken[r.Name] = true
		}
		err := r.check()
		if err == nil {
			err = i.checkMatch(r.Match)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("chaos: rule %d (%s): %w", at+1, r.Name, err))
			continue
		}
		made = append(made, &rule{Rule: r, info: r.Fault.info(), set: set, seed: hash(i.config.Seed, r.Name)})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return made, nil
}

func (r Rule) clone() Rule {
	m := &r.Match
	for _, list := range []*[]string{&m.Endpoints, &m.Hosts, &m.Models, &m.Operations, &m.Methods} {
		*list = slices.Clone(*list)
	}
	if m.Stream != nil {
		m.Stream = new(*m.Stream)
	}
	return r
}

// check returns what is wrong with a rule, all of it.
func (r Rule) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	info := r.Fault.info()
	switch {
	case info != nil:
		errs = append(errs, r.checkArgs(info)...)
	case r.Fault == "":
		wrong("fault is missing: it is one of %s", faultNames())
	default:
		wrong("there is no fault %q%s: the faults are %s", r.Fault, meant(string(r.Fault)), faultNames())
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"from", r.From}, {"until", r.Until}, {"on", r.On}, {"off", r.Off},
	} {
		if d.value < 0 {
			wrong("%s is %v: it must not be negative", d.name, d.value)
		}
	}
	if r.Until > 0 && r.Until <= r.From {
		wrong("until (%v) is not behind from (%v): both count from when the rule was set", r.Until, r.From)
	}
	if (r.On > 0) != (r.Off > 0) {
		wrong("on and off belong together: on is %v, off is %v", r.On, r.Off)
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"skip", r.Skip}, {"every", r.Every}, {"times", r.Times},
	} {
		if n.value < 0 {
			wrong("%s is %d: it must not be negative", n.name, n.value)
		}
	}
	for _, p := range []struct {
		name  string
		value float64
	}{
		{"probability", r.Probability}, {"share", r.Share},
	} {
		switch {
		case math.IsNaN(p.value) || p.value < 0:
			wrong("%s is %v: it must be between 0 and 1; leave the rule out if nothing should meet it", p.name, p.value)
		case p.value > 1 && p.value <= 100:
			wrong("%s is %v: it must be between 0 and 1; for %v percent write %v", p.name, p.value, p.value, p.value/100)
		case p.value > 1:
			wrong("%s is %v: it must be between 0 and 1", p.name, p.value)
		}
	}
	return joined(errs)
}

// joined returns all errors in one line.
func joined(errs []error) (all error) {
	for _, err := range errs {
		if all == nil {
			all = err
			continue
		}
		all = fmt.Errorf("%w; %w", all, err)
	}
	return all
}

// checkArgs returns what is wrong with the arguments of the fault.
func (r Rule) checkArgs(info *FaultInfo) (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	set := make(map[string]bool)
	for _, a := range r.args() {
		if !a.set {
			continue
		}
		set[a.name] = true
		switch {
		case !slices.Contains(info.Args, a.name):
			wrong("%s has no argument %s%s", r.Fault, a.name, argsOf(info))
		case a.negative:
			wrong("%s is negative", a.name)
		}
	}
	if len(info.needs) > 0 && !slices.ContainsFunc(info.needs, func(name string) bool { return set[name] }) {
		wrong("%s needs %s", r.Fault, strings.Join(info.needs, " or "))
	}
	if set["keep_alive"] && slices.Contains(info.Args, "queue") && !set["queue"] && r.Fault == Slow {
		wrong("keep_alive is without effect, because there is no queue")
	}
	switch {
	case !set["status"]:
	case r.Fault == Status && (r.Status < 200 || r.Status > 599):
		wrong("status is %d: it must be between 200 and 599", r.Status)
	case r.Fault != Status && (r.Status < 400 || r.Status > 599):
		wrong("status is %d: the status of an error is between 400 and 599", r.Status)
	}
	if strings.ContainsAny(r.ContentType, "\r\n") {
		wrong("content_type has a line break")
	}
	return errs
}

// An arg is an argument of a rule.
type arg struct {
	name          string
	set, negative bool
}

func (r Rule) args() []arg {
	of := func(name string, v int64) arg { return arg{name, v != 0, v < 0} }
	return []arg{
		of("delay", int64(r.Delay)), of("queue", int64(r.Queue)), of("keep_alive", int64(r.KeepAlive)),
		of("first_token", int64(r.FirstToken)), of("per_token", int64(r.PerToken)),
		of("bytes_per_second", int64(r.BytesPerSecond)), of("after", int64(r.After)),
		of("status", int64(r.Status)), of("retry_after", int64(r.RetryAfter)), of("limit", int64(r.Limit)),
		{"body", r.Body != "", false}, {"content_type", r.ContentType != "", false},
	}
}

func argsOf(info *FaultInfo) string {
	if len(info.Args) == 0 {
		return ", and no other"
	}
	return ": it has " + strings.Join(info.Args, ", ")
}

func faultNames() string {
	var names []string
	for _, f := range faults {
		names = append(names, string(f.Fault))
	}
	return strings.Join(names, ", ")
}

// meant returns a hint at the name of a fault that was written in another form.
func meant(name string) string {
	plain := func(s string) string {
		return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s))
	}
	for _, f := range faults {
		if plain(string(f.Fault)) == plain(name) {
			return fmt.Sprintf(" (did you mean %s?)", f.Fault)
		}
	}
	other := map[string]Fault{
		"dns": NoSuchHost, "nxdomain": NoSuchHost, "timeout": DialTimeout, "tls": BadCertificate, "blackhole": BlackHole,
		"slowheaders": Latency, "429": TooManyRequests, "ratelimited": TooManyRequests, "500": ServerError, "503": Busy,
		"529": Overloaded, "401": Unauthorized, "402": Overdue, "404": ModelNotFound, "queue": QueueForever,
		"cut": CutStream, "stall": StallStream, "empty": EmptyInside, "slowbody": Bandwidth, "insufficientbalance": Overdue,
	}
	if f, ok := other[plain(name)]; ok {
		return fmt.Sprintf(" (did you mean %s?)", f)
	}
	return ""
}

// checkMatch returns what is wrong with a match.
func (i *Injector) checkMatch(m Match) error {
	var errs []error
	for _, name := range m.Endpoints {
		at := slices.IndexFunc(i.endpoints, func(e endpoint) bool { return e.name == name })
		if at < 0 {
			errs = append(errs, fmt.Errorf("there is no endpoint %q: %s", name, i.names()))
		} else if host := i.endpoints[at].url.Host; !i.allows(host) {
			errs = append(errs, fmt.Errorf("%w: %s, of the endpoint %q", ErrRealHost, host, name))
		}
	}
	for _, pattern := range m.Hosts {
		if err := checkHost(pattern); err != nil {
			errs = append(errs, err)
		} else if !i.allows(strings.TrimPrefix(pattern, "*.")) && !slices.Contains(i.config.Allow, pattern) {
			errs = append(errs, fmt.Errorf("%w: %s", ErrRealHost, pattern))
		}
	}
	for _, op := range m.Operations {
		if !slices.Contains(operations, op) {
			errs = append(errs, fmt.Errorf("there is no operation %q: the operations are %s", op, strings.Join(operations, ", ")))
		}
	}
	for _, method := range m.Methods {
		if method == "" || method != strings.ToUpper(method) {
			errs = append(errs, fmt.Errorf("the method %q is no HTTP method, such as %s", method, http.MethodPost))
		}
	}
	for _, model := range m.Models {
		if model == "" || strings.Contains(strings.TrimSuffix(model, "*"), "*") {
			errs = append(errs, fmt.Errorf("the model %q is neither a name nor the beginning of one and *", model))
		}
	}
	return joined(errs)
}
