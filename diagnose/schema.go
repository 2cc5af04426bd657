package diagnose

import (
	_ "embed"
	"slices"
)

//go:embed report.schema.json
var schema []byte

// Schema returns the JSON schema (draft 2020-12) of a Report. The file is report.schema.json in
// the folder of this package.
func Schema() []byte { return slices.Clone(schema) }
