package config

import _ "embed"

//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON schema of a configuration file, of draft 2020-12. Editors complete and
// check a file by it: see docs/configuration.md.
func Schema() []byte { return append([]byte(nil), schemaJSON...) }
