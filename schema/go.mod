// A module apart: who checks no schemas needs no library for them.
module github.com/breakwater-go/breakwater/schema

go 1.26

require github.com/santhosh-tekuri/jsonschema/v6 v6.0.3

require golang.org/x/text v0.14.0 // indirect
