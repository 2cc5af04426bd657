package diagnose

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// The schema has the fields of the types, and the constants of the code.
func TestSchema(t *testing.T) {
	want, err := json.MarshalIndent(schemaOf(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile("report.schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(Schema(), want) {
		t.Error("report.schema.json is not that of the types: UPDATE_GOLDEN=1 go test -run TestSchema ./diagnose, then read the diff")
	}
}

// schemaOf makes the JSON schema (draft 2020-12) of a Report.
func schemaOf() map[string]any {
	defs := make(map[string]any)
	top := schemaOfStruct(reflect.TypeFor[Report](), defs)
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["$id"] = "https://github.com/breakwater-go/breakwater/diagnose/report.schema.json"
	top["title"] = "What breakwater's diagnosis found out about one endpoint"
	top["$defs"] = defs
	return top
}

func schemaOfStruct(t reflect.Type, defs map[string]any) map[string]any {
	properties, required := make(map[string]any), []string{}
	for f := range t.Fields() {
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		properties[name] = schemaOfType(f.Type, defs)
		if option != "omitempty" {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required}
}

// enums has the values of types that have few.
var enums = map[reflect.Type]any{
	reflect.TypeFor[Verdict]():   []Verdict{Well, Degraded, Down},
	reflect.TypeFor[Layer]():     []Layer{Connection, Protocol, Application},
	reflect.TypeFor[Severity]():  []Severity{Error, Warning, Note},
	reflect.TypeFor[State]():     []State{Passed, Doubtful, Failed, Skipped},
	reflect.TypeFor[Language]():  []Language{English, Chinese},
	reflect.TypeFor[Wire]():      []Wire{Chat, FIM, Responses, Messages, Embeddings},
	reflect.TypeFor[StageName](): StageNames,
}

func schemaOfType(t reflect.Type, defs map[string]any) map[string]any {
	if values, ok := enums[t]; ok {
		return map[string]any{"type": "string", "enum": values}
	}
	switch t.String() {
	case "diagnose.Code":
		known := []Code{}
		for _, r := range rules {
			known = append(known, r.code)
		}
		return map[string]any{"type": "string", "pattern": "^[a-z0-9-]+$", "examples": known, "description": "New codes may come without a new version."}
	case "diagnose.Millis":
		return map[string]any{"type": "number", "description": "milliseconds"}
	case "time.Time":
		return map[string]any{"type": "string", "format": "date-time"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOfType(t.Elem(), defs)
	case reflect.Struct:
		if _, ok := defs[t.Name()]; !ok {
			defs[t.Name()] = nil // for a type that has itself within it
			defs[t.Name()] = schemaOfStruct(t, defs)
		}
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOfType(t.Elem(), defs)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOfType(t.Elem(), defs)}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	}
	return map[string]any{"type": "string"}
}
