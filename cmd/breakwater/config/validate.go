package config

import (
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/breakwater-go/breakwater"
)

// validate notes what the library finds wrong with a configuration. If the file has mistakes of
// form, each part without one is tried alone, so that nothing follows from what is missing.
func (d *decoder) validate(c *Config) {
	if len(d.errs) == 0 {
		d.library(c, try(c.Options()...))
		return
	}
	formal := d.errs
	sound := func(path string) bool {
		for _, err := range formal {
			if within(err.Path, path) {
				return false
			}
		}
		return true
	}
	for _, at := range c.places() {
		if sound(d.short(at.path)) {
			d.library(c, try(breakwater.WithEndpoints(*at.endpoint)))
		}
	}
	fleet := []breakwater.Option{
		breakwater.WithEndpoints(breakwater.DeepSeek("key-1"), breakwater.DeepSeek("key-2").Named("deepseek-2")),
		breakwater.WithBackup(breakwater.DeepSeek("key-3").Named("deepseek-3")),
	}
	alone := *c
	alone.Endpoints, alone.Backups, alone.Spend = nil, nil, nil // SpendPolicy names accounts
	for _, section := range sectionsOf {
		if field := reflect.ValueOf(&alone).Elem().FieldByName(fieldOf(section)); field.Kind() == reflect.Pointer && !sound(section) {
			field.SetZero()
		}
	}
	if !sound("server") {
		alone.Server.Clients = nil
	}
	d.library(c, try(append(fleet, alone.Options()...)...))
}

// within reports whether the value at path is at, or below, another path.
func within(path, at string) bool {
	rest, found := strings.CutPrefix(path, at)
	return found && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// sectionsOf has the section of each option of the library.
var sectionsOf = map[string]string{
	"WithEndpoints":   "endpoints",
	"WithBackup":      "backups",
	"WithCache":       "cache",
	"WithIdempotency": "idempotency",
	"WithRateLimit":   "rate_limit",
	"WithBreaker":     "breaker",
	"WithRetry":       "retry",
	"WithStream":      "stream",
	"WithBalance":     "balance",
	"WithProbes":      "probes",
	"WithSpend":       "spend",
	"WithTenants":     "tenants",
	"WithStrict":      "strict",
	"WithErrors":      "errors",
}

// fieldOf returns the field of Config that has a section.
func fieldOf(section string) string {
	k := sections[reflect.TypeFor[Config]()].find(section)
	_, field, _ := strings.Cut(k.field, ".")
	return field
}

// A place is an endpoint and where it stands in the file.
type place struct {
	path     string
	endpoint *breakwater.Endpoint
}

// places returns all endpoints with their paths.
func (c *Config) places() (all []place) {
	for i := range c.Endpoints {
		all = append(all, place{fmt.Sprintf("endpoints[%d]", i), &c.Endpoints[i]})
	}
	for i, tier := range c.Backups {
		for j := range tier {
			all = append(all, place{fmt.Sprintf("backups[%d][%d]", i, j), &c.Backups[i][j]})
		}
	}
	return all
}

// library notes the errors of the library, each at the line that it is about.
func (d *decoder) library(c *Config, err error) {
	for _, err := range flatten(err) {
		text := strings.TrimPrefix(err.Error(), "breakwater: ")
		path, text := d.about(c, text)
		node := d.nodes[path]
		for at := path; node == nil && at != ""; node = d.nodes[at] {
			at = parent(at)
		}
		d.wrong(node, path, inFileWords(text), "")
	}
}

// flatten returns the errors that errors.Join has joined.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err == nil {
			return nil
		}
		return []error{err}
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, flatten(err)...)
	}
	return all
}

// parent returns the path of what holds the value at path.
func parent(path string) string {
	i := strings.LastIndexAny(path, ".[")
	if i < 0 {
		return ""
	}
	return path[:i]
}

var (
	optionFirst  = regexp.MustCompile(`^(With[A-Za-z]+): `)
	endpointName = regexp.MustCompile(`endpoints? ("(?:[^"\\]|\\.)*")( and ("(?:[^"\\]|\\.)*"))?:?`)
	endpointNth  = regexp.MustCompile(`^endpoint ([0-9]+): `)
	fieldFirst   = regexp.MustCompile(`^([A-Z][A-Za-z]+)(?:\[("(?:[^"\\]|\\.)*"|[0-9]+)\])?`)
)

// about returns the path of what an error of the library is about, and the rest of its text.
func (d *decoder) about(c *Config, text string) (path, rest string) {
	rest = text
	of := reflect.TypeFor[breakwater.Endpoint]()
	if m := optionFirst.FindStringSubmatch(rest); m != nil {
		rest = rest[len(m[0]):]
		path = sectionsOf[m[1]]
		if f, ok := reflect.TypeFor[Config]().FieldByName(fieldOf(path)); ok && f.Type.Kind() == reflect.Pointer {
			of = f.Type.Elem()
		}
	}
	if of == reflect.TypeFor[breakwater.Endpoint]() {
		path, rest = d.aboutEndpoint(c, path, rest)
	}
	for { // Limits["x"]: TokensPerMinute …
		m := fieldFirst.FindStringSubmatch(rest)
		if m == nil || sections[of] == nil {
			return path, rest
		}
		key, f := keyOfField(of, m[1])
		if key == "" {
			return path, rest
		}
		path = join(path, key)
		if name, err := strconv.Unquote(m[2]); err == nil {
			path = join(path, quoteKey(name))
		} else if m[2] != "" {
			path += "[" + m[2] + "]"
		}
		after, found := strings.CutPrefix(rest[len(m[0]):], ": ")
		switch {
		case found && f.Type.Kind() == reflect.Map:
			rest, of = after, f.Type.Elem()
		case found && f.Type.Kind() == reflect.Struct:
			rest, of = after, f.Type
		default:
			return path, rest
		}
	}
}

// aboutEndpoint finds the endpoint that an error names.
func (d *decoder) aboutEndpoint(c *Config, path, rest string) (string, string) {
	places := c.places()
	if m := endpointNth.FindStringSubmatch(rest); m != nil {
		n, _ := strconv.Atoi(m[1])
		for _, at := range places {
			if within(at.path, path) && strings.HasSuffix(at.path, fmt.Sprintf("[%d]", n-1)) && at.endpoint.Name == "" {
				return d.short(at.path), rest[len(m[0]):]
			}
		}
		return path, rest
	}
	m := endpointName.FindStringSubmatch(rest)
	if m == nil {
		return path, rest
	}
	quoted := m[1]
	if m[3] != "" { // of two, the later one
		quoted = m[3]
	}
	name, _ := strconv.Unquote(quoted)
	found := path
	for _, at := range places {
		if nameOf(at.endpoint) == name {
			found = d.short(at.path)
			if !strings.Contains(rest, "given twice") { // that is about the second one
				break
			}
		}
	}
	if after, first := strings.CutPrefix(rest, m[0]+" "); first && m[3] == "" && found != path {
		rest = after
	}
	return found, rest
}

// short returns the path of an endpoint as the file has it: a tier of one endpoint need not be a
// list.
func (d *decoder) short(path string) string {
	if one, found := strings.CutSuffix(path, "[0]"); found && d.nodes[path] == nil && d.nodes[one] != nil {
		return one
	}
	return path
}

// nameOf returns the name that the library gives to an endpoint.
func nameOf(e *breakwater.Endpoint) string {
	if e.Name != "" {
		return e.Name
	}
	u, err := url.Parse(e.URL)
	if err != nil {
		return string(e.Host)
	}
	return u.Host
}

// keyOfField returns the key of a field.
func keyOfField(of reflect.Type, field string) (string, reflect.StructField) {
	for _, k := range sections[of].keys {
		if k.field == of.Name()+"."+field {
			f, _ := of.FieldByName(field)
			return k.name, f
		}
	}
	if of == reflect.TypeFor[breakwater.Endpoint]() && field == "Host" {
		f, _ := of.FieldByName(field)
		return "host", f
	}
	return "", reflect.StructField{}
}

// words has the key of each field and the section of each option.
var words = make(map[string]string)

func init() {
	for of, s := range sections {
		for _, k := range s.keys {
			owner, field, _ := strings.Cut(k.field, ".")
			if owner == of.Name() && of.PkgPath() == reflect.TypeFor[breakwater.Endpoint]().PkgPath() {
				words[field] = k.name
			}
		}
	}
	for option, section := range sectionsOf {
		words[option] = section
	}
	delete(words, "Default") // it is a word of English before a default
	words["Off"], words["KeyFunc"], words["APIKey"] = "off", "key_file", "key"
	words["RescueContinue"], words["RescueRestart"], words["RescueOff"] = "continue", "restart", "off"
}

var (
	wordsOfCode = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\b[A-Z][A-Za-z]+\b`)
	renamed     = regexp.MustCompile(`such as \.Named\(("[^"]*")\)`)
)

// inFileWords replaces the names of fields and options by those of the file.
func inFileWords(text string) string {
	text = renamed.ReplaceAllString(text, "such as $1")
	text = strings.TrimSuffix(text, ": use Rewrite to change the request")
	text = strings.ReplaceAll(text, " is -1: ", " is off: ")
	return wordsOfCode.ReplaceAllStringFunc(text, func(word string) string {
		if key, known := words[word]; known {
			return key
		}
		return word
	})
}
