// A module apart: it drives Node, and needs nothing that the other modules do.
module github.com/breakwater-go/breakwater/compat/npm

go 1.26.0

require github.com/breakwater-go/breakwater v0.0.0

replace github.com/breakwater-go/breakwater => ../..
