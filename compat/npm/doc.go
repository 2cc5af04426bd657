// Package npm tests the proxy of cmd/breakwater with clients from npm, which only have another
// base URL.
package npm
