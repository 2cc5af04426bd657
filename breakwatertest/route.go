package breakwatertest

import (
	"slices"
	"strings"
)

// An operation is what a request asks a host to do.
type operation int

const (
	opUnknown operation = iota
	opAnswer            // on one of the wires
	opModels
	opBalance
)

// route returns the operation of a request, and its wire.
func (s *Server) route(method, path string) (operation, Wire) {
	for _, w := range Wires() {
		if slices.Contains(s.paths(w), path) {
			if method == "POST" {
				return opAnswer, w
			}
			return opUnknown, w
		}
	}
	for _, root := range s.roots() {
		switch method + " " + strings.TrimPrefix(path, root) {
		case "GET /models":
			return opModels, Chat
		case "GET /user/balance":
			return opBalance, Chat
		}
	}
	return opUnknown, Chat
}

// roots returns the paths that may precede an operation.
func (s *Server) roots() []string {
	if base := trimSlash(s.host.BasePath); base != "" {
		return []string{base}
	}
	return []string{"", "/v1", "/beta"}
}

// paths returns the paths at which the host serves a wire.
func (s *Server) paths(w Wire) []string {
	roots, ownRoot := s.roots(), trimSlash(s.host.BasePath) == s.host.Dialect.row().BasePath
	switch {
	case w == Completions && ownRoot && s.host.Dialect == DialectDeepSeek:
		roots = []string{"/beta"} // only here, so the user of an SDK must set this base URL
	case w == Messages && ownRoot && s.host.Dialect.row().Messages != nil:
		return s.host.Dialect.row().Messages
	}
	var paths []string
	for _, root := range roots {
		paths = append(paths, root+"/"+w.String())
		if w == Messages {
			paths = append(paths, root+"/v1/messages")
		}
	}
	return paths
}

// WireURL returns the base URL for requests of a wire, as [Wire.Request] needs it.
// It is [Server.URL], except on DeepSeek for Completions (…/beta) and Messages
// (…/anthropic), and on Bailian for Messages (…/apps/anthropic).
func (s *Server) WireURL(w Wire) string {
	path := s.paths(w)[0]
	path = strings.TrimSuffix(path, "/"+w.String())
	if w == Messages && path != trimSlash(s.host.BasePath) {
		path = strings.TrimSuffix(path, "/v1")
	}
	return s.origin + path
}

func trimSlash(path string) string { return strings.TrimRight(path, "/") }
