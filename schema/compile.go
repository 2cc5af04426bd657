package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	maxPattern  = 1 << 10 // bytes of a regular expression
	maxNumber   = 64      // bytes of a number
	maxExponent = 400     // of a number; more than any float has
)

// decode decodes a text within the bounds. Numbers are bounded, too, because the exact value of
// 1e999999999 would fill the memory.
func decode(text []byte) (any, error) {
	if deeper(text, MaxDepth) {
		return nil, fmt.Errorf("%w: more than %d levels", ErrTooComplex, MaxDepth)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: more than one value", ErrMismatch)
	}
	if !boundedNumbers(doc) {
		return nil, fmt.Errorf("%w: a number of many digits", ErrTooComplex)
	}
	return doc, nil
}

// deeper reports whether brackets nest deeper than most.
func deeper(text []byte, most int) bool {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case inString && b == '\\':
			i++
		case b == '"':
			inString = !inString
		case inString:
		case b == '{', b == '[':
			if depth++; depth > most {
				return true
			}
		case b == '}', b == ']':
			depth--
		}
	}
	return false
}

func boundedNumbers(doc any) bool {
	switch v := doc.(type) {
	case map[string]any:
		for _, member := range v {
			if !boundedNumbers(member) {
				return false
			}
		}
	case []any:
		for _, item := range v {
			if !boundedNumbers(item) {
				return false
			}
		}
	case json.Number:
		_, exponent, _ := strings.Cut(strings.ToLower(string(v)), "e")
		n, err := strconv.Atoi(strings.TrimPrefix(exponent, "+"))
		return len(v) <= maxNumber && (exponent == "" || err == nil && n >= -maxExponent && n <= maxExponent)
	}
	return true
}

// parts returns how many objects and lists a document has.
func parts(doc any) (n int) {
	switch v := doc.(type) {
	case map[string]any:
		n = 1
		for _, member := range v {
			n += parts(member)
		}
	case []any:
		n = 1
		for _, item := range v {
			n += parts(item)
		}
	}
	return n
}

// A compiled schema serves one check at a time.
type compiled struct {
	schema *jsonschema.Schema
	steps  float64 // what is left
	looked float64 // what was left when it last looked at the clock
	ends   time.Time
}

// exceeded is what a check panics with at its bounds: the library has no other way out.
type exceeded struct{}

// noLoader loads nothing.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, errors.New("the schema refers to another document")
}

// compile compiles a schema, within the bounds of a check.
func compile(text []byte) (c *compiled, err error) {
	doc, err := decode(text)
	if errors.Is(err, ErrMismatch) {
		return nil, fmt.Errorf("%w: it is no JSON", ErrUnusable)
	}
	if err != nil {
		return nil, err
	}
	if n := parts(doc); n > MaxParts { // to compile takes the square of the time
		return nil, fmt.Errorf("%w: %d parts", ErrTooComplex, n)
	}
	c = &compiled{}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoader{})
	compiler.UseRegexpEngine(c.regexp)
	const name = "mem:///schema"
	if err := compiler.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	if c.schema, err = compiler.Compile(name); err != nil {
		if errors.Is(err, ErrTooComplex) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	c.count(c.schema, make(map[*jsonschema.Schema]bool))
	return c, nil
}

// validate checks a document.
func (c *compiled) validate(doc any) (err error) {
	c.steps, c.looked, c.ends = MaxSteps, MaxSteps, time.Now().Add(MaxTime)
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case exceeded:
			err = ErrTooComplex
		default:
			panic(r)
		}
	}()
	if err := c.schema.Validate(doc); err != nil {
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	return nil
}

// spend takes steps.
func (c *compiled) spend(n float64) {
	c.steps -= n
	if c.steps < 0 {
		panic(exceeded{})
	}
	if c.looked-c.steps > MaxSteps/1000 {
		if c.looked = c.steps; time.Now().After(c.ends) {
			panic(exceeded{})
		}
	}
}

// A pattern is a regular expression that takes steps: so many per byte as it has states.
type pattern struct {
	*regexp.Regexp
	states float64
	c      *compiled
}

func (c *compiled) regexp(text string) (jsonschema.Regexp, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("%w: a pattern of %d bytes", ErrTooComplex, len(text))
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	return pattern{re, float64(len(program.Inst)), c}, nil
}

func (p pattern) MatchString(s string) bool {
	p.c.spend(1 + float64(len(s))*p.states/20)
	return p.Regexp.MatchString(s)
}

// count makes each part of a schema take steps when it is compared with a part of a document. A
// part compares its own format before it goes on to others, so that is where it is counted.
func (c *compiled) count(s *jsonschema.Schema, seen map[*jsonschema.Schema]bool) {
	if s == nil || seen[s] {
		return
	}
	seen[s] = true
	own, per := 1.0, 0.0
	for _, child := range inPlace(s) {
		own += leaf(child)
		c.count(child, seen)
	}
	for _, child := range inside(s) {
		per = max(per, leaf(child))
		c.count(child, seen)
	}
	per *= 1 + float64(len(s.PatternProperties)) // each of them may fit a name
	was := s.Format
	f := &jsonschema.Format{Name: "counted"}
	if was != nil {
		f.Name = was.Name
	}
	unique := s.UniqueItems
	f.Validate = func(v any) error {
		n := own
		switch v := v.(type) {
		case map[string]any:
			n += float64(len(v)) * (1 + per)
		case []any:
			items := float64(len(v))
			n += items * (1 + per)
			if unique {
				n += items * math.Log2(items+2) * 8
			}
		case string:
			n += float64(len(v)) / 100
		}
		c.spend(n)
		if was == nil {
			return nil
		}
		return was.Validate(v)
	}
	s.Format = f
}

// leaf returns the steps that a part takes before it is counted: to compare with its constants.
func leaf(s *jsonschema.Schema) float64 {
	n := 1.0
	if s.Enum != nil {
		for _, v := range s.Enum.Values {
			n += size(v)
		}
	}
	if s.Const != nil {
		n += size(*s.Const)
	}
	return n
}

// size returns how many parts a value has.
func size(v any) (n float64) {
	n = 1
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			n += size(member)
		}
	case []any:
		for _, item := range v {
			n += size(item)
		}
	case string:
		n += float64(len(v)) / 100
	}
	return n
}

// inPlace returns the parts of a schema that are compared with the same part of a document.
func inPlace(s *jsonschema.Schema) (parts []*jsonschema.Schema) {
	parts = append(parts, s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else)
	if s.DynamicRef != nil {
		parts = append(parts, s.DynamicRef.Ref)
	}
	parts = append(append(append(parts, s.AllOf...), s.AnyOf...), s.OneOf...)
	for _, part := range s.DependentSchemas {
		parts = append(parts, part)
	}
	for _, part := range s.Dependencies {
		if part, ok := part.(*jsonschema.Schema); ok {
			parts = append(parts, part)
		}
	}
	return notNil(parts)
}

// inside returns the parts of a schema that are compared with parts of a part of a document.
func inside(s *jsonschema.Schema) (parts []*jsonschema.Schema) {
	parts = append(parts, s.PropertyNames, s.UnevaluatedProperties, s.Contains, s.Items2020, s.UnevaluatedItems, s.ContentSchema)
	parts = append(parts, s.PrefixItems...)
	for _, part := range s.Properties {
		parts = append(parts, part)
	}
	for _, part := range s.PatternProperties {
		parts = append(parts, part)
	}
	for _, part := range []any{s.AdditionalProperties, s.Items, s.AdditionalItems} {
		switch part := part.(type) {
		case *jsonschema.Schema:
			parts = append(parts, part)
		case []*jsonschema.Schema:
			parts = append(parts, part...)
		}
	}
	return notNil(parts)
}

func notNil(parts []*jsonschema.Schema) (some []*jsonschema.Schema) {
	for _, part := range parts {
		if part != nil {
			some = append(some, part)
		}
	}
	return some
}
