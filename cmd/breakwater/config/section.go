package config

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/breakwater-go/breakwater"
)

// A section is a mapping of the file. Its keys are the fields of one or more structs.
type section struct {
	types []reflect.Type
	keys  []key
}

// A key is a field of a section.
type key struct {
	name  string
	of    int // which of the section's types has the field
	field string
	index []int
	kind  kind
}

// A kind is what a value may be.
type kind interface {
	// decode reads n into v. What is wrong, it notes in d, and leaves v as it is.
	decode(d *decoder, n nodeRef, path string, v reflect.Value)
}

// absent are the fields of the library's types that a file cannot have, and why.
var absent = map[string]string{
	"Endpoint.KeyFunc":        "key_file stands for it",
	"Endpoint.Rewrite":        "it is code",
	"CachePolicy.Store":       "it is code",
	"IdempotencyPolicy.Store": "it is code",
	"IdempotencyPolicy.Scope": "scope of cache and of clients stands for it",
	"TenantPolicy.Of":         "the token of a client says whose call it is",
	"Client.Digests":          "token and token_hash stand for them",
}

// named are the fields whose key is not their name in snake_case.
var named = map[string]string{"Endpoint.APIKey": "key"}

// special are the fields whose kind does not follow from their type.
var special = map[string]kind{
	"Endpoint.APIKey":         text{secret: true},
	"BalancePolicy.Affinity":  size{off: true},
	"StreamPolicy.Repetition": size{off: true},
	"StreamPolicy.MinRate":    size{off: true},
	"StreamPolicy.Schema":     schemaCheck{},
	"CachePolicy.Scope":       scope{},
	"Config.Endpoints":        endpoints{},
	"Config.Backups":          backups{},
	"Server.Clients":          clients{},
	"endpointForm.Host":       hostName{},
	"endpointForm.KeyFile":    filePath{},
	"TLS.Cert":                filePath{},
	"TLS.Key":                 filePath{},
	"clientForm.Token":        oneOrMore{text{secret: true}},
	"clientForm.TokenHash":    oneOrMore{text{}},
}

// switched are the policies that may be off as a whole. Without the others, there are still their
// defaults.
var switched = map[reflect.Type]bool{
	reflect.TypeFor[breakwater.CachePolicy]():       true,
	reflect.TypeFor[breakwater.IdempotencyPolicy](): true,
	reflect.TypeFor[breakwater.ProbePolicy]():       true,
	reflect.TypeFor[breakwater.SpendPolicy]():       true,
	reflect.TypeFor[breakwater.TenantPolicy]():      true,
}

// sections has a section for each struct type of a file.
var sections map[reflect.Type]*section

func init() {
	sections = make(map[reflect.Type]*section)
	for _, types := range [][]reflect.Type{
		{reflect.TypeFor[breakwater.RatePolicy]()},
		{reflect.TypeFor[breakwater.Price]()},
		{reflect.TypeFor[breakwater.TenantLimits]()},
		{reflect.TypeFor[endpointForm](), reflect.TypeFor[breakwater.Endpoint]()},
		{reflect.TypeFor[breakwater.CachePolicy]()},
		{reflect.TypeFor[breakwater.IdempotencyPolicy]()},
		{reflect.TypeFor[breakwater.BreakerPolicy]()},
		{reflect.TypeFor[breakwater.RetryPolicy]()},
		{reflect.TypeFor[breakwater.StreamPolicy]()},
		{reflect.TypeFor[breakwater.BalancePolicy]()},
		{reflect.TypeFor[breakwater.ProbePolicy]()},
		{reflect.TypeFor[breakwater.SpendPolicy]()},
		{reflect.TypeFor[breakwater.TenantPolicy]()},
		{reflect.TypeFor[TLS]()},
		{reflect.TypeFor[Limits]()},
		{reflect.TypeFor[clientForm](), reflect.TypeFor[Client]()},
		{reflect.TypeFor[Server]()},
		{reflect.TypeFor[Config]()},
	} {
		sections[types[len(types)-1]] = newSection(types...)
	}
}

func newSection(types ...reflect.Type) *section {
	s := &section{types: types}
	for of, t := range types {
		for i := range t.NumField() {
			f := t.Field(i)
			id := t.Name() + "." + f.Name
			if !f.IsExported() || absent[id] != "" || id == "Endpoint.Host" { // the form has it
				continue
			}
			name := named[id]
			if name == "" {
				name = snake(f.Name)
			}
			k := special[id]
			if k == nil {
				k = kindOf(t, f.Type)
			}
			s.keys = append(s.keys, key{name: name, of: of, field: id, index: f.Index, kind: k})
		}
	}
	return s
}

// kindOf returns the kind of the values of a field. It returns nil for a type that nobody has
// thought of, which a test finds.
func kindOf(owner, t reflect.Type) kind {
	off := owner != reflect.TypeFor[Server]() && owner != reflect.TypeFor[Limits]()
	switch t {
	case reflect.TypeFor[time.Duration]():
		return duration{off}
	case reflect.TypeFor[*time.Location]():
		return zone{}
	case reflect.TypeFor[breakwater.Rescue]():
		return choice{{"continue", int64(breakwater.RescueContinue)}, {"restart", int64(breakwater.RescueRestart)}, {"off", int64(breakwater.RescueOff)}}
	case reflect.TypeFor[breakwater.Priority]():
		return choice{{"batch", int64(breakwater.PriorityBatch)}, {"default", int64(breakwater.PriorityDefault)}, {"interactive", int64(breakwater.PriorityInteractive)}}
	case reflect.TypeFor[http.Header]():
		return headers{}
	case reflect.TypeFor[[]breakwater.Feature]():
		return list{text{}}
	}
	switch t.Kind() {
	case reflect.Bool:
		return boolean{}
	case reflect.Int64:
		return size{off}
	case reflect.Int, reflect.Float64:
		return number{whole: t.Kind() == reflect.Int, off: off}
	case reflect.String:
		return text{}
	case reflect.Struct:
		return mapping{of: t}
	case reflect.Pointer:
		return mapping{of: t.Elem(), optional: true, off: switched[t.Elem()]}
	case reflect.Slice:
		return list{kindOf(owner, t.Elem())}
	case reflect.Map:
		return table{kindOf(owner, t.Elem())}
	}
	return nil
}

// snake returns the key of a field: max_retry_after of MaxRetryAfter, allow_plain_http of
// AllowPlainHTTP.
func snake(name string) string {
	var b strings.Builder
	letters := []rune(name)
	for i, r := range letters {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func (s *section) find(name string) *key {
	for i := range s.keys {
		if s.keys[i].name == name {
			return &s.keys[i]
		}
	}
	return nil
}

// names returns the keys of the section.
func (s *section) names() []string {
	names := make([]string, len(s.keys))
	for i, k := range s.keys {
		names[i] = k.name
	}
	return names
}

// meant returns the key that was probably meant by name, or all that there are.
func (s *section) meant(name string) string {
	if near := nearest(name, s.names()); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	names := s.names()
	slices.Sort(names)
	return "want one of " + strings.Join(names, ", ")
}

// nearest returns the word that name is a misspelling of, or "" if it is none of any.
func nearest(name string, words []string) string {
	plain := strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(name))
	if len(plain) > 64 {
		return ""
	}
	best, least := "", 1+max(1, len(plain)/4)
	for _, w := range words {
		if n := distance(plain, strings.ReplaceAll(w, "_", "")); n < least {
			best, least = w, n
		}
	}
	return best
}

// distance returns how many letters must be added, removed, replaced, or exchanged with their
// neighbour to make b of a.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
