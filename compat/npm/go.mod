// A module apart: it drives Node, and needs nothing that the other modules do.
module github.com/breakwater-go/breakwater/compat/npm

go 1.26.0

require github.com/breakwater-go/breakwater v0.0.0

require (
	github.com/tidwall/gjson v1.20.1 // indirect
	github.com/tidwall/match v1.1.1 // indirect
	github.com/tidwall/pretty v1.2.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace github.com/breakwater-go/breakwater => ../..
