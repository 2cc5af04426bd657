package drill

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// A ScriptError is a mistake in a script: where it is and what was meant. Parse returns all
// mistakes that it finds, joined.
type ScriptError struct {
	File         string
	Line, Column int    // from 1; 0: not known
	Path         string // such as timeline[2].fault
	What         string
}

func (e *ScriptError) Error() string {
	where := e.File
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
	}
	if e.Path != "" {
		where += ": " + e.Path
	}
	return where + ": " + e.What
}

// A reader reads the nodes of a YAML document and gathers mistakes.
type reader struct {
	file string
	path []string
	errs []error
}

// mostMistakes is how many mistakes are told.
const mostMistakes = 50

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	if len(r.errs) >= mostMistakes {
		return
	}
	e := &ScriptError{File: r.file, Path: strings.TrimPrefix(strings.Join(r.path, ""), "."), What: fmt.Sprintf(format, args...)}
	if n != nil {
		e.Line, e.Column = n.Line, n.Column
	}
	r.errs = append(r.errs, e)
}

// MaxScript bounds the size of a script in bytes.
const MaxScript = 1 << 20

// maxDepth bounds how deep values are nested. The deepest key has four levels.
const maxDepth = 24

// load reads the one document of a file.
func (r *reader) load(text []byte) *yaml.Node {
	if len(text) > MaxScript {
		r.fail(nil, "the script has %d bytes; want at most %d", len(text), MaxScript)
		return nil
	}
	var doc yaml.Node
	err := yaml.Load(text, &doc, yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		at, what := &yaml.Node{}, strings.ReplaceAll(err.Error(), "yaml: ", "")
		var one *yaml.LoadError
		switch {
		case strings.Contains(what, "no documents"):
			r.fail(nil, "the script is empty")
			return nil
		case strings.Contains(what, "multiple"):
			what = "it has a second document: remove the line --- or ... above it"
		case errors.As(err, &one):
			at.Line, at.Column, what = one.Mark.Line, one.Mark.Column, one.Message
		}
		r.fail(at, "this is no YAML: %s", what)
		return nil
	}
	if len(doc.Content) != 1 {
		r.fail(nil, "the script is empty")
		return nil
	}
	return doc.Content[0]
}

func (r *reader) within(step string, f func()) {
	r.path = append(r.path, step)
	f()
	r.path = r.path[:len(r.path)-1]
}

// resolved returns the node that an alias stands for.
func resolved(n *yaml.Node) *yaml.Node {
	for i := 0; n.Kind == yaml.AliasNode && i < 8; i++ {
		n = n.Alias
	}
	return n
}

// object reads a mapping. Keys that are unknown or come twice are mistakes.
func (r *reader) object(n *yaml.Node, keys map[string]func(*yaml.Node)) {
	n = resolved(n)
	if n.Kind != yaml.MappingNode {
		r.fail(n, "want keys with values, such as %s: …", slices.Sorted(maps.Keys(keys))[0])
		return
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, known := keys[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !known:
			r.fail(key, "there is no key %q%s", key.Value, hint(key.Value, slices.Sorted(maps.Keys(keys))))
		case seen[key.Value]:
			r.fail(key, "the key %q comes twice", key.Value)
		default:
			seen[key.Value] = true
			r.within("."+key.Value, func() { read(value) })
		}
	}
}

func (r *reader) list(n *yaml.Node, read func(*yaml.Node)) {
	n = resolved(n)
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "want a list")
		return
	}
	for i, one := range n.Content {
		r.within(fmt.Sprintf("[%d]", i), func() { read(one) })
	}
}

// scalar returns the text of a single value.
func (r *reader) scalar(n *yaml.Node, want string) (string, bool) {
	n = resolved(n)
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		r.fail(n, "want %s", want)
		return "", false
	}
	return strings.TrimSpace(n.Value), true
}

func (r *reader) text(to *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if s, ok := r.scalar(n, "a text"); ok {
			*to = s
		}
	}
}

// oneOf reads one of several words.
func (r *reader) oneOf(to *string, words []string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		s, ok := r.scalar(n, "one of "+strings.Join(words, ", "))
		switch {
		case !ok:
		case !slices.Contains(words, s):
			r.fail(n, "there is no %q%s", s, hint(s, words))
		default:
			*to = s
		}
	}
}

func (r *reader) yes(to *bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		switch s, ok := r.scalar(n, "true or false"); {
		case !ok:
		case s == "true" || s == "false":
			*to = s == "true"
		default:
			r.fail(n, "want true or false, not %q", s)
		}
	}
}

func (r *reader) duration(to *time.Duration, least, most time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		s, ok := r.scalar(n, "a duration such as 30s")
		if !ok {
			return
		}
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			r.fail(n, "%q is no duration; write it with its unit, such as 30s, 200ms or 1m30s", s)
		case d < least || d > most:
			r.fail(n, "%s is out of range; want %v to %v", s, least, most)
		default:
			*to = d
		}
	}
}

func (r *reader) integer(to *int, least, most int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		s, ok := r.scalar(n, "a whole number")
		if !ok {
			return
		}
		v, err := strconv.Atoi(s)
		switch {
		case err != nil:
			r.fail(n, "%q is no whole number", s)
		case v < least || v > most:
			r.fail(n, "%d is out of range; want %d to %d", v, least, most)
		default:
			*to = v
		}
	}
}

func (r *reader) number(to *float64, least, most float64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		s, ok := r.scalar(n, "a number")
		if !ok {
			return
		}
		v, err := strconv.ParseFloat(s, 64)
		switch {
		case err != nil || math.IsNaN(v):
			r.fail(n, "%q is no number", s)
		case v < least || v > most:
			r.fail(n, "%s is out of range; want %v to %v", s, least, most)
		default:
			*to = v
		}
	}
}

// share reads a part of a whole: 0.5 or 50%.
func (r *reader) share(to *float64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		s, ok := r.scalar(n, "a share such as 50%")
		if !ok {
			return
		}
		digits, percent := strings.CutSuffix(s, "%")
		v, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if percent {
			v /= 100
		}
		switch {
		case err != nil || math.IsNaN(v):
			r.fail(n, "%q is no share; write 0.5 or 50%%", s)
		case v > 1 && !percent && v <= 100:
			r.fail(n, "%s is more than the whole; did you mean %s%%?", s, s)
		case v < 0 || v > 1:
			r.fail(n, "%s is out of range; want 0%% to 100%%", s)
		default:
			*to = v
		}
	}
}

// hint names the word that may have been meant, or all of them.
func hint(word string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		if d := distance(strings.ToLower(word), w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %s?", best)
	}
	return "; want one of " + strings.Join(words, ", ")
}

// distance is how many letters have to be changed, added or removed (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, before+1, row[j]+1)
		}
	}
	return row[len(b)]
}
