// Package genkit has tests only: what users of genkit see when breakwater is
// the transport below it.
package genkit
