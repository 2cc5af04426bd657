package config

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	yaml "go.yaml.in/yaml/v4"
)

// An origin says where the text of a value comes from.
type origin struct {
	node     *yaml.Node
	variable bool // the text has the value of a variable
}

// plain reports whether the text is no YAML string: it has no quotes, or is from a variable, which
// has no types.
func (o origin) plain() bool {
	return o.variable || o.node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// quote returns the value as the file has it, so that the values of variables stay unknown.
func (o origin) quote() string {
	value := withoutDefaults(o.node.Value)
	if looksSecret(variables.ReplaceAllString(value, "")) {
		return "not shown, as it may be a key"
	}
	return fmt.Sprintf("%q", value)
}

// quoteKey returns a key for an error.
func quoteKey(k string) string {
	switch {
	case strings.HasPrefix(k, "sk-"), len(k) > 128:
		return "…"
	case k == "" || strings.ContainsFunc(k, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`.:[]"`, r) }):
		return fmt.Sprintf("%q", k)
	}
	return k
}

var word = regexp.MustCompile(`^[a-z_ -]{0,32}$`)

// looksSecret reports whether a text may be a key in the wrong place: it is longer than the
// values of most keys, and no words.
func looksSecret(s string) bool {
	return len(s) > 16 && !word.MatchString(s) || strings.HasPrefix(s, "sk-")
}

// scalar returns the text of a single value, with the values of its variables.
func (d *decoder) scalar(n *yaml.Node, path string) (string, origin, bool) {
	of := d.enter(n, path)
	if of == nil {
		return "", origin{}, false
	}
	if of.Kind != yaml.ScalarNode {
		d.wrong(n, path, "is "+kindName(of), "want a single value")
		return "", origin{}, false
	}
	s, variable, ok := d.expand(n, path, of.Value)
	return s, origin{of, variable}, ok
}

// text returns the text of a value that must be text. A secret may be in a file.
func (d *decoder) text(n *yaml.Node, path string, secret bool) (string, bool) {
	s, from, ok := d.scalar(n, path)
	if !ok {
		return "", false
	}
	if tag := from.node.ShortTag(); !from.variable && tag != "!!str" && tag != "!!timestamp" {
		d.wrong(n, path, "is not text", "put it in quotes")
		return "", false
	}
	if !secret {
		return s, true
	}
	if s == redacted {
		d.wrong(n, path, "is what config print shows in the place of a secret", "want the secret, ${NAME} or file:/path")
		return "", false
	}
	reference := referenceOf(from.node.Value)
	if file, found := strings.CutPrefix(s, "file:"); found {
		if s, ok = d.secretFile(n, path, file); !from.variable {
			reference = "file:" + below(d.file, file)
		}
	}
	if ok && reference != "" {
		d.from.references[sha256.Sum256([]byte(s))] = reference
	}
	return s, ok
}

// referenceOf returns a value of the file without what may be secret in it, or "" if nothing
// is left. A default such as that of ${NAME:-text} may be secret.
func referenceOf(value string) string {
	value = withoutDefaults(value)
	switch variables.ReplaceAllString(value, "") {
	case "", "Bearer ", "file:":
		return value
	}
	return ""
}

// withoutDefaults returns a value with ${NAME} in the place of ${NAME:-text}.
func withoutDefaults(value string) string {
	return variables.ReplaceAllStringFunc(value, func(ref string) string {
		if m := variable.FindStringSubmatch(ref); m != nil {
			return "${" + m[1] + "}"
		}
		return ref
	})
}

// secretFile returns the contents of a file without the line break at their end.
func (d *decoder) secretFile(n *yaml.Node, path, file string) (string, bool) {
	s, err := d.read(below(d.file, file))
	if err != nil {
		d.wrong(n, path, fmt.Sprintf("the file %s cannot be read: %s", file, reason(err)), "want a file with nothing but the secret")
		return "", false
	}
	s = strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
	if s == "" {
		d.wrong(n, path, fmt.Sprintf("the file %s is empty", file), "want a file with nothing but the secret")
		return "", false
	}
	return s, true
}

var variables = regexp.MustCompile(`\$\$|\$\{[^}]*\}?`)
var variable = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}$`)

// expand replaces ${NAME} by the value of a variable, ${NAME:-text} by text if the variable is
// empty or not set, and $${ by ${.
func (d *decoder) expand(n *yaml.Node, path, s string) (expanded string, found, ok bool) {
	ok = true
	if !strings.Contains(s, "${") {
		return s, false, true
	}
	expanded = strings.ReplaceAll(s, "$${", "\x00")
	expanded = variables.ReplaceAllStringFunc(expanded, func(ref string) string {
		m := variable.FindStringSubmatch(ref)
		switch {
		case ref == "$$":
			return ref
		case m == nil:
			d.wrong(n, path, "has ${ without a name and }", "want ${NAME} or ${NAME:-default}, or $${ for the two characters")
			ok = false
			return ""
		}
		found = true
		value, set := d.env(m[1])
		switch {
		case value != "":
			return value
		case m[2] != "":
			return m[3]
		case set:
			d.wrong(n, path, fmt.Sprintf("the variable %s is empty", m[1]), fmt.Sprintf("set it, or write ${%s:-default}", m[1]))
		default:
			d.wrong(n, path, fmt.Sprintf("the variable %s is not set", m[1]), fmt.Sprintf("set it, or write ${%s:-default}", m[1]))
		}
		ok = false
		return ""
	})
	return strings.ReplaceAll(expanded, "\x00", "${"), found, ok
}
