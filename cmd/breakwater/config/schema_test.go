package config

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/constant"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"go/types"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater"
	"github.com/santhosh-tekuri/jsonschema/v6"
	yaml "go.yaml.in/yaml/v4"
)

//go:generate env UPDATE_GOLDEN=1 go test -run TestSchema_IsUpToDate .

// The schema that is checked in is the one that the fields, their comments and their defaults
// make.
func TestSchema_IsUpToDate(t *testing.T) {
	want := newSchemaWriter(t).write()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile("schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(Schema(), want) {
		t.Error("schema.json is not up to date: run go generate in this folder")
	}
}

// object is an object of JSON whose keys keep their order.
type object []member

type member struct {
	key   string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, _ := json.Marshal(m.key)
		b.Write(key)
		b.WriteByte(':')
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// A schemaWriter makes the schema of the sections.
type schemaWriter struct {
	t    *testing.T
	docs map[string]string // of Type and Type.Field
	defs map[string]object
}

func newSchemaWriter(t *testing.T) *schemaWriter {
	w := &schemaWriter{t: t, docs: make(map[string]string), defs: make(map[string]object)}
	for _, file := range []string{"../../../policy.go", "../../../endpoint.go", "config.go", "server.go", "client.go", "endpoint.go"} {
		w.readDocs(file)
	}
	return w
}

// readDocs reads the comments of the types of a file, and of their fields.
func (w *schemaWriter) readDocs(file string) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, decl := range f.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, spec := range g.Specs {
			of := spec.(*ast.TypeSpec)
			w.docs[of.Name.Name], _, _ = strings.Cut(plain(g.Doc.Text()), "\n\n")
			if s, ok := of.Type.(*ast.StructType); ok {
				last := ""
				for _, field := range s.Fields.List {
					if field.Doc != nil {
						last = plain(field.Doc.Text())
					}
					for _, name := range field.Names {
						w.docs[of.Name.Name+"."+name.Name] = last // a comment is also that of the fields directly below
					}
				}
			}
		}
	}
}

var (
	ofPolicy  = regexp.MustCompile(`\b(Retry|Balance|Probe|Rate|Spend|Tenant|Stream|Breaker|Cache|Idempotency)Policy\.([A-Z]\w*)`)
	docLinks  = regexp.MustCompile(`\[(\*?[A-Z][\w.]*)\]`)
	seeItself = regexp.MustCompile(`: see With[A-Za-z]+( and Endpoint\.Limits)?`)
	ofOthers  = regexp.MustCompile(`\b(Call|Attempt|Event|Transport|Status|CallOf|breakwater)\.[A-Z]\w*`)
)

// plain returns a comment as text in the words of the file, without examples.
func plain(doc string) string {
	var paragraphs []string
	doc = seeItself.ReplaceAllString(docLinks.ReplaceAllString(doc, "$1"), "")
	for _, block := range new(comment.Parser).Parse(doc).Content {
		p, ok := block.(*comment.Paragraph)
		if !ok {
			if i := len(paragraphs) - 1; i >= 0 { // it announces an example
				paragraphs[i] = strings.TrimSuffix(paragraphs[i], ":")
				if !strings.HasSuffix(paragraphs[i], ".") {
					paragraphs[i] += "."
				}
			}
			continue
		}
		var b strings.Builder
		for _, part := range p.Text {
			switch part := part.(type) {
			case comment.Plain:
				b.WriteString(string(part))
			case comment.Italic:
				b.WriteString(string(part))
			case *comment.Link:
				for _, of := range part.Text {
					b.WriteString(string(of.(comment.Plain)))
				}
			}
		}
		paragraphs = append(paragraphs, strings.Join(strings.Fields(b.String()), " "))
	}
	text := strings.Join(paragraphs, "\n\n")
	sectionOfPolicy := map[string]string{"Retry": "retry", "Balance": "balance", "Probe": "probes", "Rate": "rate_limit", "Spend": "spend", "Tenant": "tenants", "Stream": "stream", "Breaker": "breaker", "Cache": "cache", "Idempotency": "idempotency"}
	text = ofPolicy.ReplaceAllStringFunc(text, func(s string) string {
		m := ofPolicy.FindStringSubmatch(s)
		return sectionOfPolicy[m[1]] + "." + snake(m[2])
	})
	text = strings.ReplaceAll(text, "Endpoint.", "endpoint.")
	kept := ofOthers.FindAllString(text, -1)
	text = inFileWords(ofOthers.ReplaceAllString(text, "\x00"))
	for _, word := range kept {
		text = strings.Replace(text, "\x00", word, 1)
	}
	return text
}

const (
	unitsOfTime = `(ns|us|µs|μs|ms|s|m|h)`
	aVariable   = `\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}`
)

func (w *schemaWriter) write() []byte {
	root := object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"$id", "https://raw.githubusercontent.com/breakwater-go/breakwater/main/cmd/breakwater/config/schema.json"},
		{"title", "Configuration of breakwater"},
	}
	root = append(root, w.section(reflect.TypeFor[Config]())...)
	root = append(root, member{"required", []string{"endpoints"}})
	w.defs["variable"] = object{{"description", "A value with a variable of the environment, such as ${NAME} or ${NAME:-default}"}, {"type", "string"}, {"pattern", aVariable}}
	w.defs["duration"] = object{
		{"type", "string"},
		{"anyOf", []any{
			object{
				{"pattern", `^(([0-9]+(\.[0-9]*)?|\.[0-9]+)` + unitsOfTime + `)+$`},
				{"not", object{{"pattern", `^((0+(\.0*)?|\.0+)` + unitsOfTime + `)+$`}}},
			},
			ref("variable"),
		}},
	}
	w.defs["size"] = object{
		{"type", "string"},
		{"anyOf", []any{object{{"pattern", `^0*[1-9][0-9]*(B|KiB|MiB|GiB|kB|KB|MB|GB)$`}}, ref("variable")}},
	}
	var defs object
	for _, name := range slices.Sorted(keysOf(w.defs)) {
		defs = append(defs, member{name, w.defs[name]})
	}
	root = append(root, member{"$defs", defs})
	text, err := json.Marshal(root)
	if err != nil {
		w.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		w.t.Fatal(err)
	}
	b.WriteByte('\n')
	return unescape(b.Bytes())
}

// unescape makes < and & of what json.Marshal has made of them.
func unescape(text []byte) []byte {
	for from, to := range map[string]string{`\u003c`: "<", `\u003e`: ">", `\u0026`: "&"} {
		text = bytes.ReplaceAll(text, []byte(from), []byte(to))
	}
	return text
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func ref(name string) object { return object{{"$ref", "#/$defs/" + name}} }

// anyOf joins alternatives.
func anyOf(of ...any) object { return object{{"anyOf", of}} }

// section returns the schema of a mapping.
func (w *schemaWriter) section(of reflect.Type) object {
	s := sections[of]
	var properties object
	for _, k := range s.keys {
		var value object
		if doc := w.doc(k); doc != "" {
			value = append(value, member{"description", doc})
		} else {
			w.t.Errorf("%s has no comment", k.field)
		}
		if text := defaults[k.field]; text != "" {
			value = append(value, member{"default", jsonValue(text)})
		}
		properties = append(properties, member{k.name, append(value, w.kind(k.kind)...)})
	}
	return object{{"type", "object"}, {"additionalProperties", false}, {"properties", properties}}
}

// ownWords describe the keys whose values are not those of their fields in Go.
var ownWords = map[string]string{
	"Endpoint.APIKey": "key is the key of the endpoint: ${NAME} of the environment, or file:/path of a file that is read with this one. No client's key is ever sent in its place.",
	"Endpoint.Models": "models are the names that the models have at the endpoint, by the names that callers use. They are added to those that host brings; off takes one out. " +
		"With models, the endpoint gets only calls for these. A url without host and models gets every call, with the caller's names.",
	"Endpoint.Region":      "region says where the endpoint's servers are, such as eu. The hosts bedrock and vertex, and bailian with a workspace, need the name of one of theirs. It is also a word for the endpoints of a client.",
	"CachePolicy.Scope":    "scope says which clients of the proxy share kept answers: those of one tenant, all (shared), or nobody (caller). scope of a client goes before it. Default: tenant, and without clients caller.",
	"StreamPolicy.Schema":  "schema adds to require_format: if a call asks for JSON of a schema, an answer that is not of it is flawed.",
	"Client.Priority":      "priority is the urgency of its calls while a limit is short: batch goes behind all others, interactive first.",
	"TenantPolicy.Default": "default has the limits of each tenant that limits does not name.",
	"TenantPolicy.Limits":  "limits has those of single tenants, by name. A key that is left out has the value of default, off means none.",
	"Config.Tenants": "Limits what tenants may ask for: customers or teams, as the clients of the proxy name them. A call over a limit gets a 429 with a Retry-After. " +
		"Counts are those of this process. They begin anew when it does; a changed file keeps them.",
}

// doc returns the comment of a key. That of a policy is the comment of its type.
func (w *schemaWriter) doc(k key) string {
	text := ownWords[k.field]
	if text == "" {
		text = w.comment(k)
	}
	_, field, _ := strings.Cut(k.field, ".")
	if rest, first := strings.CutPrefix(text, field+" "); first {
		text = k.name + " " + rest
	}
	return strings.NewReplacer("Default 0 or off", "Default off", "0 or off", "off", "Default nil:", "Default:").Replace(text)
}

func (w *schemaWriter) comment(k key) string {
	m, ok := k.kind.(mapping)
	if !ok || !strings.HasPrefix(k.field, "Config.") || k.name == "server" {
		return w.docs[k.field]
	}
	doc := strings.TrimPrefix(w.docs[m.of.Name()], m.of.Name()+" ")
	return strings.ToUpper(doc[:1]) + doc[1:]
}

func jsonValue(text string) any {
	if text == "true" || text == "false" {
		return text == "true"
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return f
	}
	return text
}

// def returns a reference to the schema of a section.
func (w *schemaWriter) def(of reflect.Type) object {
	name := snake(of.Name())
	if _, known := w.defs[name]; !known {
		w.defs[name] = nil // for sections within themselves
		w.defs[name] = w.section(of)
	}
	return ref(name)
}

func (w *schemaWriter) kind(k kind) object {
	off := func(has bool, of ...any) object {
		if has {
			of = append(of, object{{"const", "off"}})
		}
		if len(of) == 1 {
			return of[0].(object)
		}
		return anyOf(of...)
	}
	switch k := k.(type) {
	case text, filePath, zone:
		return object{{"type", "string"}}
	case boolean, schemaCheck:
		return anyOf(object{{"type", "boolean"}}, ref("variable"))
	case number:
		value := object{{"type", "number"}, {"exclusiveMinimum", 0}}
		if k.whole {
			value = object{{"type", "integer"}, {"minimum", 1}}
		}
		return off(k.off, value, ref("variable"))
	case duration:
		return off(k.off, ref("duration"))
	case size:
		return off(k.off, ref("size"))
	case choice:
		return anyOf(object{{"enum", k.words()}}, ref("variable"))
	case hostName:
		return anyOf(object{{"enum", hostNames()}}, ref("variable"))
	case scope:
		return anyOf(object{{"enum", scopes}}, ref("variable"))
	case headers:
		return object{{"type", "object"}, {"additionalProperties", anyOf(object{{"type", "string"}}, object{{"type", "array"}, {"items", object{{"type", "string"}}}})}}
	case list:
		return object{{"type", "array"}, {"items", w.kind(k.of)}}
	case oneOrMore:
		return anyOf(w.kind(k.of), object{{"type", "array"}, {"items", w.kind(k.of)}})
	case table:
		return object{{"type", "object"}, {"additionalProperties", w.kind(k.of)}}
	case mapping:
		return off(k.off, w.def(k.of))
	case endpoints:
		return w.tier()
	case backups:
		return object{{"type", "array"}, {"items", anyOf(w.endpoint(), w.tier())}}
	case clients:
		client := w.def(reflect.TypeFor[Client]())
		w.defs["client"] = appendOnce(w.defs["client"], member{"required", []string{"name"}},
			member{"anyOf", []any{object{{"required", []string{"token"}}}, object{{"required", []string{"token_hash"}}}}})
		return object{{"type", "array"}, {"items", client}}
	}
	w.t.Errorf("no schema for %T", k)
	return nil
}

func (w *schemaWriter) tier() object {
	return object{{"type", "array"}, {"minItems", 1}, {"items", w.endpoint()}}
}

// endpoint returns the schema of an endpoint: with a host and what that needs, or with a url.
func (w *schemaWriter) endpoint() object {
	endpoint := w.def(reflect.TypeFor[breakwater.Endpoint]())
	var rules []any
	for _, p := range presets {
		if p.needs == nil {
			continue
		}
		then := object{{"required", p.needs}}
		if !slices.Contains(p.needs, "url") {
			then = anyOf(then, object{{"required", []string{"url"}}})
		}
		rules = append(rules, object{
			{"if", object{{"properties", object{{"host", object{{"const", p.host}}}}}, {"required", []string{"host"}}}},
			{"then", then},
		})
	}
	w.defs["endpoint"] = appendOnce(w.defs["endpoint"],
		member{"anyOf", []any{object{{"required", []string{"host"}}}, object{{"required", []string{"url"}}}}},
		member{"allOf", rules})
	return endpoint
}

func appendOnce(o object, members ...member) object {
	for _, m := range members {
		if !slices.ContainsFunc(o, func(has member) bool { return has.key == m.key }) {
			o = append(o, m)
		}
	}
	return o
}

// The defaults of the library's policies are those of its source.
func TestDefaults_AreThoseOfTheLibrary(t *testing.T) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "../../../policy.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, decl := range f.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Name.Name != "resolve" || fn.Recv == nil {
			continue
		}
		of, ok := fn.Recv.List[0].Type.(*ast.Ident)
		if !ok {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 4 {
				return true
			}
			if name, ok := call.Fun.(*ast.Ident); !ok || name.Name != "resolveField" {
				return true
			}
			field, _ := strconv.Unquote(call.Args[1].(*ast.BasicLit).Value)
			id := of.Name + "." + field
			if dependent[id] != nil && id != "StreamPolicy.MinRateWindow" && id != "RatePolicy.MaxWait" {
				return true
			}
			value := constantOf(t, call.Args[3])
			found++
			checkDefault(t, id, value)
			return true
		})
	}
	if found < 40 {
		t.Errorf("found %d defaults in the source", found)
	}
}

// constantOf returns the value of a constant expression with times.
func constantOf(t *testing.T, e ast.Expr) float64 {
	t.Helper()
	text := types.ExprString(e)
	for unit, ns := range map[string]string{"time.Second": "1e9", "time.Minute": "60e9", "time.Hour": "3600e9", "time.Millisecond": "1e6"} {
		text = strings.ReplaceAll(text, unit, ns)
	}
	v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	f, _ := constant.Float64Val(constant.ToFloat(v.Value))
	return f
}

// checkDefault compares a default with that of the library, where 0 is off.
func checkDefault(t *testing.T, id string, want float64) {
	t.Helper()
	owner, _, _ := strings.Cut(id, ".")
	for of, s := range sections {
		if of.Name() != owner {
			continue
		}
		for _, k := range s.keys {
			if k.field != id {
				continue
			}
			v := reflect.New(of).Elem()
			d := newDecoder("", env(), nil)
			k.kind.decode(d, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: defaults[id]}, "x", v.FieldByIndex(k.index))
			if len(d.errs) > 0 {
				t.Errorf("%s: the default %q: %v", id, defaults[id], d.errs)
				return
			}
			got := 0.0
			switch f := v.FieldByIndex(k.index); f.Kind() {
			case reflect.Float64:
				got = f.Float()
			default:
				got = float64(f.Int())
			}
			if got == breakwater.Off {
				got = 0
			}
			if got != want {
				t.Errorf("%s: the default is %v, in the library %v", id, got, want)
			}
		}
	}
}

// compiled returns the schema, ready for use.
func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON returns what a YAML 1.2 processor, such as an editor's, makes of a file.
func asJSON(n *yaml.Node) any { return asJSONTo(n, 30) }

func asJSONTo(n *yaml.Node, depth int) any {
	n = resolve(n)
	if depth == 0 { // a value that contains itself
		return nil
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return asJSONTo(n.Content[0], depth-1)
	case yaml.MappingNode:
		m := make(map[string]any)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k, v := n.Content[i], asJSONTo(n.Content[i+1], depth-1); k.ShortTag() == "!!merge" {
				several, ok := v.([]any)
				if !ok {
					several = []any{v}
				}
				for _, one := range several {
					for name, value := range one.(map[string]any) {
						if _, own := m[name]; !own {
							m[name] = value
						}
					}
				}
			} else {
				m[k.Value] = v
			}
		}
		return m
	case yaml.SequenceNode:
		all := make([]any, len(n.Content))
		for i, item := range n.Content {
			all[i] = asJSONTo(item, depth-1)
		}
		return all
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || strings.Contains(n.Value, "_") {
			return n.Value
		}
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
	case "!!bool":
		return n.Value == "true"
	case "!!null":
		return nil
	}
	return n.Value
}

var expectation = regexp.MustCompile(`(?m)^# (error|schema): (.*)$`)

// Files of testdata: those of good load, those of bad have the mistakes that their comments
// name, and no others. The schema refuses them, too, unless a comment says that it cannot.
func TestLoad_Corpus(t *testing.T) {
	vars := env("DEEPSEEK_API_KEY", "sk-not-a-real-key", "SILICONFLOW_API_KEY", "sk-not-a-real-key-2", "EMPTY", "", "PORT", "9000", "STALL", "45s", "SECRET", "sk-verysecret0123456789", "TOKEN", "0123456789abcdef-token")
	schema := compiled(t)
	files, _ := filepath.Glob("testdata/*/*.yaml")
	files = append(files, example)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want, got []string
			byLoader := false // only the loader finds it
			for _, m := range expectation.FindAllStringSubmatch(string(text), -1) {
				if m[1] == "schema" {
					byLoader = true
				} else {
					want = append(want, m[2])
				}
			}
			cfg, err := Parse(file, text, vars)
			if errs, ok := err.(Errors); ok {
				for _, err := range errs {
					got = append(got, strings.TrimPrefix(err.Error(), file+":"))
				}
			}
			if strings.Contains(file, "/bad/") != (err != nil) {
				t.Errorf("Parse = %v", err)
			}
			if os.Getenv("UPDATE_GOLDEN") != "" && strings.Contains(file, "/bad/") {
				setExpectations(t, file, string(text), got)
				return
			}
			if !slices.Equal(got, want) {
				t.Errorf("mistakes:\n# error: %s\nwant:\n# error: %s", strings.Join(got, "\n# error: "), strings.Join(want, "\n# error: "))
			}
			var doc yaml.Node
			if err := yaml.Load(text, &doc); err != nil || len(doc.Content) == 0 {
				return // no YAML: the editor says so
			}
			bad := schema.Validate(asJSON(&doc))
			if (bad == nil) != (len(want) == 0 || byLoader) {
				t.Errorf("the schema says %v", bad)
			}
			if cfg != nil {
				printsWhatItLoads(t, cfg, vars)
			}
		})
	}
}

// setExpectations writes the mistakes of a file into its comments. Read the diff.
func setExpectations(t *testing.T, file, text string, mistakes []string) {
	t.Helper()
	for _, line := range regexp.MustCompile(`(?m)^# error: .*\n`).FindAllString(text, -1) {
		text = strings.Replace(text, line, "", 1)
	}
	for _, m := range mistakes {
		text += "# error: " + m + "\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// example is the example with all keys.
const example = "../../../deploy/breakwater.yaml"

var commented = regexp.MustCompile(`(?m)^( *)#([^ \n]|  )`)

// The example has each key of each section, and loads as it is and with all keys that are in
// comments.
func TestLoad_ExampleIsComplete(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	vars := func(name string) (string, bool) { return "not-a-real-key-" + strings.ToLower(name), true }
	if _, err := Parse(example, text, vars); err != nil {
		t.Error(err)
	}
	text = commented.ReplaceAll(text, []byte("$1$2"))
	d := newDecoder(example, vars, func(string) (string, error) { return "not-a-real-key-of-a-file", nil })
	d.validate(d.config(text))
	if len(d.errs) > 0 {
		t.Fatalf("with all keys: %v\n%s", d.errs, text)
	}
	var doc yaml.Node
	if err := yaml.Load(text, &doc); err != nil {
		t.Fatal(err)
	}
	if err := compiled(t).Validate(asJSON(&doc)); err != nil {
		t.Error(err)
	}
	for of, s := range sections {
		for _, k := range s.keys {
			if !regexp.MustCompile(`\b` + k.name + `:`).Match(text) {
				t.Errorf("the example lacks %s, a key of %s", k.name, of.Name())
			}
		}
	}
}

// printsWhatItLoads checks that the printed form of a configuration loads, unless it has
// secrets, as the same, and is of the schema.
func printsWhatItLoads(t *testing.T, cfg *Config, vars func(string) (string, bool)) {
	t.Helper()
	text, err := cfg.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("not-a-real-key")) {
		t.Errorf("a key is printed:\n%s", text)
	}
	if bytes.Contains(text, []byte(redacted)) {
		return
	}
	again, err := Parse("printed.yaml", text, vars)
	if err != nil {
		t.Fatalf("the printed form does not load: %v\n%s", err, text)
	}
	if second, err := again.YAML(); err != nil || !bytes.Equal(second, text) {
		t.Errorf("printed again:\n%s\nbefore:\n%s", second, text)
	}
	var doc yaml.Node
	if err := yaml.Load(text, &doc); err != nil {
		t.Fatal(err)
	}
	if err := compiled(t).Validate(asJSON(&doc)); err != nil {
		t.Errorf("the printed form is not of the schema: %v\n%s", err, text)
	}
}
