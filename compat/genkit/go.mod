// A module of its own: genkit and anthropic-sdk-go cannot share one.
module github.com/breakwater-go/breakwater/compat/genkit

go 1.26.0

require github.com/breakwater-go/breakwater v0.0.0

require github.com/firebase/genkit/go v1.4.0 // indirect

replace github.com/breakwater-go/breakwater => ../..
