package config

import (
	"reflect"
	"slices"

	"github.com/breakwater-go/breakwater"
	yaml "go.yaml.in/yaml/v4"
)

// Policies reads a mapping that has the policies of a configuration and nothing else, such as a
// section of another file: cache, retry, stream and so on, without endpoints and server. file and
// path say where it stands, for mistakes, which are [Errors]. env looks up variables, as for
// [Load].
func Policies(file, path string, n *yaml.Node, env func(string) (string, bool)) ([]breakwater.Option, error) {
	d := newDecoder(file, env, readSecret)
	cfg := new(Config)
	d.section(n, path, policySection(), reflect.ValueOf(cfg).Elem())
	if len(d.errs) > 0 {
		return nil, d.errs.sorted()
	}
	return cfg.Options(), nil
}

// policySection has the keys of Config that are policies.
func policySection() *section {
	whole := sections[reflect.TypeFor[Config]()]
	return &section{types: whole.types, keys: slices.DeleteFunc(slices.Clone(whole.keys), func(k key) bool {
		switch k.field {
		case "Config.Endpoints", "Config.Backups", "Config.Server", "Config.Strict", "Config.Errors":
			return true
		}
		return false
	})}
}
