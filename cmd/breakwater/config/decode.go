package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	yaml "go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	maxDepth = 24     // levels of a file; the deepest key has 6
	maxNodes = 20_000 // values that are read, an alias counted as what it stands for
	maxTold  = 50     // mistakes that are reported
)

// A decoder turns the nodes of one file into values, and collects what is wrong.
type decoder struct {
	file string
	env  func(string) (string, bool)
	read func(path string) (string, error) // a file with a secret

	errs  Errors
	nodes map[string]*yaml.Node // where the value of each path is
	seen  int                   // nodes that were read
	from  *provenance
}

func newDecoder(file string, env func(string) (string, bool), read func(string) (string, error)) *decoder {
	return &decoder{file: file, env: env, read: read, nodes: make(map[string]*yaml.Node), from: newProvenance()}
}

// wrong notes a mistake at a node.
func (d *decoder) wrong(n *yaml.Node, path, problem, want string) {
	if len(d.errs) >= maxTold {
		return
	}
	err := &Error{File: d.file, Path: path, Problem: problem, Want: want}
	if n != nil {
		err.Line, err.Column = n.Line, n.Column
	}
	d.errs = append(d.errs, err)
}

// config reads a file.
func (d *decoder) config(data []byte) *Config {
	cfg := &Config{Server: defaultServer(), from: d.from}
	root := d.document(data)
	if root == nil {
		return cfg
	}
	d.section(root, "", sections[reflect.TypeFor[Config]()], reflect.ValueOf(cfg).Elem())
	d.finish(cfg)
	return cfg
}

// document returns the root of the only document of a file, or nil if there is none.
func (d *decoder) document(data []byte) *yaml.Node {
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		d.wrong(nil, "", "cannot be read: "+err.Error(), "")
		return nil
	}
	var doc, next yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || isNull(doc.Content[0])):
		d.wrong(nil, "", "the file is empty", "want endpoints at least")
		return nil
	case err != nil:
		d.syntax(err)
		return nil
	}
	switch err := loader.Load(&next); {
	case err == nil:
		d.wrong(&next, "", "the file has a second document", "want one: remove the line --- or ... above it")
	case !errors.Is(err, io.EOF):
		d.syntax(err)
	}
	return doc.Content[0]
}

// syntax notes an error of the YAML parser.
func (d *decoder) syntax(err error) {
	bad, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		d.wrong(nil, "", "is not YAML: "+err.Error(), "")
		return
	}
	message, want := bad.Message, ""
	switch {
	case strings.Contains(message, "unknown anchor"): // the parser quotes its name, which may be a password that begins with *
		message, want = "a value begins with *, which YAML takes for the name of an anchor, and there is none", "put it in quotes if it is text"
	case strings.Contains(message, "cannot start any token"):
		want = "indent with blanks, not with tabs, and put text that begins with @ or ` in quotes"
	case strings.Contains(message, "mapping values are not allowed"):
		want = "put text that has a colon and a blank in quotes, or look for a line that is indented too far"
	case strings.Contains(message, "exceeded max depth"):
		message = fmt.Sprintf("is nested more than %d levels deep", maxDepth)
	}
	at := &yaml.Node{Line: bad.Mark.Line, Column: bad.Mark.Column}
	d.wrong(at, "", "is not YAML: "+message, want)
}

// resolve returns the node that an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// enter returns the node that n stands for. It returns nil if the node cannot be used, which is
// noted then.
func (d *decoder) enter(n *yaml.Node, path string) *yaml.Node {
	if d.seen++; d.seen > maxNodes {
		if d.seen == maxNodes+1 {
			d.wrong(n, path, fmt.Sprintf("the file has more than %d values", maxNodes), "want fewer, or fewer aliases")
		}
		return nil
	}
	at := n
	n = resolve(n)
	switch {
	case strings.Count(path, ".")+strings.Count(path, "[") > maxDepth:
		d.wrong(at, "", "an alias stands for a value that contains it", "want the value itself")
		return nil
	case n.Style&yaml.TaggedStyle != 0:
		d.wrong(at, path, "has a tag", "want the value without the word that begins with !")
		return nil
	case isNull(n):
		d.wrong(at, path, "has no value", "want one, or leave the key out for the default")
		return nil
	}
	if _, known := d.nodes[path]; !known {
		d.nodes[path] = at
	}
	return n
}

// A pair is a key of a mapping with its value.
type pair struct{ key, value *yaml.Node }

// pairs returns the entries of a mapping, with those that merge keys bring. It returns nil if n
// is no mapping.
func (d *decoder) pairs(n *yaml.Node, path, want string) []pair {
	n = d.enter(n, path)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.wrong(d.nodes[path], path, "is "+kindName(n), want)
		return nil
	}
	own, merged := []pair{}, []pair(nil)
	lines := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.ShortTag() == "!!merge":
			merged = append(merged, d.merge(v, path)...)
		case k.Kind != yaml.ScalarNode:
			d.wrong(k, path, "a key is "+kindName(k), "want a word")
		case lines[k.Value] > 0:
			d.wrong(k, join(path, k.Value), fmt.Sprintf("the key is given twice, first in line %d", lines[k.Value]), "want it once")
		default:
			lines[k.Value] = k.Line
			own = append(own, pair{k, v})
		}
	}
	for _, p := range merged {
		if lines[p.key.Value] == 0 {
			lines[p.key.Value] = p.key.Line
			own = append(own, p)
		}
	}
	return own
}

// merge returns the entries that a merge key brings: of one mapping, or of several, of which the
// earlier ones count first.
func (d *decoder) merge(n *yaml.Node, path string) (all []pair) {
	at := join(path, "<<")
	if resolve(n).Kind != yaml.SequenceNode {
		return d.pairs(n, at, "want a mapping")
	}
	for i, item := range d.items(n, at, "") {
		all = append(all, d.pairs(item, fmt.Sprintf("%s[%d]", at, i), "want a mapping")...)
	}
	return all
}

// items returns the elements of a list. It returns nil if n is no list.
func (d *decoder) items(n *yaml.Node, path, want string) []*yaml.Node {
	n = d.enter(n, path)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		d.wrong(d.nodes[path], path, "is "+kindName(n), want)
		return nil
	}
	return append([]*yaml.Node{}, n.Content...)
}

// section reads a mapping whose keys are those of a section. to are values of the section's
// types. It returns the keys that were given, or nil if n is no mapping.
func (d *decoder) section(n *yaml.Node, path string, s *section, to ...reflect.Value) map[string]bool {
	pairs := d.pairs(n, path, "want keys and values, such as "+s.keys[0].name)
	if pairs == nil {
		return nil
	}
	given := make(map[string]bool)
	for _, p := range pairs {
		name := p.key.Value
		k := s.find(name)
		if k == nil {
			shown := quoteKey(name)
			if looksSecret(name) {
				shown = "…"
			}
			d.wrong(p.key, join(path, shown), "there is no such key", s.meant(name))
			continue
		}
		given[name] = true
		k.kind.decode(d, p.value, join(path, name), to[k.of].FieldByIndex(k.index))
	}
	return given
}

// join returns the path of a key.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// kindName returns what a node is, for errors.
func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return "a single value"
	}
	return "something else"
}
