// Package store keeps answers: what a caller's Cache-Control asks of a cache and
// an answer's says against it (Control, Lifetime, Restriction), the Entry that an
// answer is kept as, and the Guard around a Store that several processes share.
// The cache layer is its one caller.
package store
