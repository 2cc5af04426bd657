// Package compat has tests only: what users of an SDK see when breakwater is
// the transport below it. One table of behaviours runs under every SDK, over
// loopback TCP.
package compat
