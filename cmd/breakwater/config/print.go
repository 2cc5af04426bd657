package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	yaml "go.yaml.in/yaml/v4"
)

// redacted stands for a secret whose place in the environment or in a file is not known.
const redacted = "(redacted)"

// A provenance says where the secrets of a configuration came from, so that they can be printed
// as the file has them.
type provenance struct {
	references map[[sha256.Size]byte]string // of a secret to its ${NAME} or file:/path
	hashes     map[[sha256.Size]byte]bool   // digests of tokens that were given as such
	keyFiles   map[string]string            // of the names of endpoints
}

func newProvenance() *provenance {
	return &provenance{make(map[[sha256.Size]byte]string), make(map[[sha256.Size]byte]bool), make(map[string]string)}
}

// YAML returns the configuration that is in effect, with all defaults, as a file that Load
// takes. A secret appears as the reference that Load found in its place, such as ${NAME} or
// file:/path, or else as (redacted), which Load refuses. The values of headers count as secrets.
func (c Config) YAML() ([]byte, error) {
	return yaml.Dump(c.node(), yaml.WithLineWidth(100))
}

// MarshalYAML returns what YAML prints.
func (c Config) MarshalYAML() (any, error) { return c.node(), nil }

// String returns the names of the endpoints, tier by tier.
func (c Config) String() string {
	var tiers []string
	for _, tier := range c.Tiers() {
		var names []string
		for i := range tier {
			names = append(names, nameOf(&tier[i]))
		}
		tiers = append(tiers, strings.Join(names, ", "))
	}
	return strings.Join(tiers, "; ")
}

// GoString returns String in the form of a Go value.
func (c Config) GoString() string { return fmt.Sprintf("config.Config{%s}", c.String()) }

// Format prints GoString for %#v, and String for every other verb.
func (c Config) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		fmt.Fprint(f, c.GoString())
		return
	}
	fmt.Fprint(f, c.String())
}

// LogValue returns String, so that logs show no key.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON encodes String, so that dumps show no key.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// node returns the configuration as a mapping.
func (c Config) node() *yaml.Node {
	p := printer{from: c.from}
	if p.from == nil {
		p.from = newProvenance()
	}
	for _, always := range []struct{ policy, zero any }{
		{&c.RateLimit, &breakwater.RatePolicy{}},
		{&c.Breaker, &breakwater.BreakerPolicy{}},
		{&c.Retry, &breakwater.RetryPolicy{}},
		{&c.Stream, &breakwater.StreamPolicy{}},
		{&c.Balance, &breakwater.BalancePolicy{}},
	} {
		if v := reflect.ValueOf(always.policy).Elem(); v.IsNil() {
			v.Set(reflect.ValueOf(always.zero))
		}
	}
	return p.section(sections[reflect.TypeFor[Config]()], true, reflect.ValueOf(c))
}

// A printer makes nodes of values.
type printer struct{ from *provenance }

// section returns a mapping of the fields. fill adds the defaults of those that are zero.
func (p printer) section(s *section, fill bool, of ...reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range s.keys {
		value := p.value(k.kind, of[k.of].FieldByIndex(k.index), fill)
		if value == nil && fill {
			if text := defaultOf(k.field, of[k.of]); text != "" {
				value = scalar("", text)
			}
		}
		if value != nil {
			n.Content = append(n.Content, scalar("", k.name), value)
		}
	}
	return n
}

// scalar returns a node of a single value. With the tag !!str, it gets quotes where it needs
// them.
func scalar(tag, text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text}
}

// str returns a node of a text, in which ${ stays what it is.
func str(s string) *yaml.Node { return scalar("!!str", strings.ReplaceAll(s, "${", "$${")) }

// value returns the node of a value, or nil if it is zero.
func (p printer) value(k kind, v reflect.Value, fill bool) *yaml.Node {
	if v.IsZero() && reflect.TypeOf(k) != reflect.TypeFor[mapping]() && reflect.TypeOf(k) != reflect.TypeFor[choice]() {
		return nil
	}
	switch k := k.(type) {
	case text:
		if k.secret {
			return p.secret(v.String())
		}
		return str(v.String())
	case filePath, hostName:
		return str(v.String())
	case boolean:
		return scalar("", strconv.FormatBool(v.Bool()))
	case schemaCheck:
		return scalar("", "true")
	case number:
		return scalar("", formatNumber(v))
	case duration:
		return scalar("", formatDuration(time.Duration(v.Int())))
	case size:
		return scalar("", formatSize(v.Int()))
	case choice:
		for _, c := range k {
			if c.value == v.Int() {
				return scalar("", c.word)
			}
		}
	case zone:
		return str(v.Interface().(*time.Location).String())
	case scope:
		return p.scope(v)
	}
	return p.values(k, v, fill)
}

// values returns the node of a kind that has several values.
func (p printer) values(k kind, v reflect.Value, fill bool) *yaml.Node {
	switch k := k.(type) {
	case headers:
		return p.headers(v.Interface().(http.Header))
	case list:
		return p.list(k.of, v)
	case oneOrMore:
		return p.list(k.of, v)
	case table:
		return p.table(k, v, fill)
	case mapping:
		return p.mapping(k, v, fill)
	case endpoints:
		return p.tier(v.Interface().([]breakwater.Endpoint))
	case backups:
		return p.backups(v.Interface().([][]breakwater.Endpoint))
	case clients:
		return p.clients(v.Interface().([]Client))
	}
	return nil
}

func formatNumber(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Float64 && v.Float() == breakwater.Off, v.Kind() != reflect.Float64 && v.Int() == breakwater.Off:
		return "off"
	case v.Kind() == reflect.Float64:
		return formatFloat(v.Float())
	}
	return strconv.FormatInt(v.Int(), 10)
}

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// formatDuration returns 5m, where a Duration's String is 5m0s.
func formatDuration(d time.Duration) string {
	if d == breakwater.Off {
		return "off"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func formatSize(n int64) string {
	if n == breakwater.Off {
		return "off"
	}
	for _, unit := range []string{"GiB", "MiB", "KiB"} {
		if n%units[unit] == 0 {
			return strconv.FormatInt(n/units[unit], 10) + unit
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// secret returns the reference to a secret.
func (p printer) secret(s string) *yaml.Node {
	return scalar("!!str", cmp.Or(p.from.references[sha256.Sum256([]byte(s))], redacted))
}

func (p printer) scope(v reflect.Value) *yaml.Node {
	f := v.Interface().(func(*http.Request) string)
	switch {
	case isScope(f, scopeTenant):
		return scalar("", "tenant")
	case isScope(f, scopeShared):
		return scalar("", "shared")
	}
	return nil // the program's own
}

func (p printer) headers(h http.Header) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		values := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, value := range h[name] {
			values.Content = append(values.Content, p.secret(value))
		}
		if len(values.Content) == 1 {
			values = values.Content[0]
		}
		n.Content = append(n.Content, scalar("!!str", name), values)
	}
	return n
}

func (p printer) list(of kind, v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for i := range v.Len() {
		element := p.value(of, v.Index(i), false)
		if element == nil {
			element = str("")
		}
		n.Content = append(n.Content, element)
	}
	return n
}

func (p printer) table(k table, v reflect.Value, fill bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	if v.Len() == 0 {
		n.Style = yaml.FlowStyle
	}
	names := v.MapKeys()
	slices.SortFunc(names, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	for _, name := range names {
		if value := p.value(k.of, v.MapIndex(name), fill && v.Type().Elem() != reflect.TypeFor[breakwater.TenantLimits]()); value != nil {
			n.Content = append(n.Content, scalar("!!str", name.String()), value)
		}
	}
	return n
}

// mapping returns a section. One that is nil is off.
func (p printer) mapping(k mapping, v reflect.Value, fill bool) *yaml.Node {
	if k.optional {
		if v.IsNil() {
			if k.off {
				return scalar("", "off")
			}
			return nil
		}
		v = v.Elem()
	}
	n := p.section(sections[k.of], fill, v)
	if len(n.Content) == 0 {
		if !k.optional {
			return nil
		}
		n.Style = yaml.FlowStyle
	}
	return n
}

func (p printer) tier(tier []breakwater.Endpoint) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, e := range tier {
		n.Content = append(n.Content, p.endpoint(e))
	}
	return n
}

func (p printer) backups(tiers [][]breakwater.Endpoint) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, tier := range tiers {
		if len(tier) == 1 {
			n.Content = append(n.Content, p.endpoint(tier[0]))
			continue
		}
		n.Content = append(n.Content, p.tier(tier))
	}
	return n
}

func (p printer) endpoint(e breakwater.Endpoint) *yaml.Node {
	name := nameOf(&e)
	form := endpointForm{Host: string(e.Host)}
	if e.KeyFunc != nil {
		form.KeyFile = cmp.Or(p.from.keyFiles[name], redacted)
	}
	e.Name = name
	if known := breakwater.DeepSeek(""); e.URL == known.URL && reflect.DeepEqual(e.Price, known.Price) {
		e.Price = nil // it is the default there
	}
	return p.section(sections[reflect.TypeFor[breakwater.Endpoint]()], true, reflect.ValueOf(form), reflect.ValueOf(e))
}

func (p printer) clients(all []Client) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	s := sections[reflect.TypeFor[Client]()]
	for _, c := range all {
		client := p.section(s, true, reflect.ValueOf(clientForm{}), reflect.ValueOf(c))
		tokens, hashes := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}, &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, digest := range c.Digests {
			if p.from.hashes[digest] {
				hashes.Content = append(hashes.Content, scalar("!!str", hex.EncodeToString(digest[:])))
				continue
			}
			tokens.Content = append(tokens.Content, scalar("!!str", cmp.Or(p.from.references[digest], redacted)))
		}
		for i, list := range []*yaml.Node{tokens, hashes} {
			if len(list.Content) == 1 {
				list = list.Content[0]
			}
			if list.Kind == yaml.ScalarNode || len(list.Content) > 0 {
				client.Content = append(client.Content, scalar("", []string{"token", "token_hash"}[i]), list)
			}
		}
		n.Content = append(n.Content, client)
	}
	return n
}
