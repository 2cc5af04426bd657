// A module apart: who uses the library needs no libraries for a command line.
module github.com/breakwater-go/breakwater/cmd/breakwater

go 1.26.0

require (
	github.com/breakwater-go/breakwater v0.1.0
	github.com/breakwater-go/breakwater/prombreakwater v0.1.0
	github.com/breakwater-go/breakwater/schema v0.1.0
)

require (
	github.com/fsnotify/fsnotify v1.10.1 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/prometheus/client_golang v1.25.0 // indirect
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	go.yaml.in/yaml/v4 v4.0.0 // indirect
	golang.org/x/mod v0.43.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/term v0.48.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)
