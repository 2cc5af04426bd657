// Package store has what is needed to keep answers: what a caller's Cache-Control asks of
// a cache and what an answer's forbids (Control, Lifetime, Restriction), the Entry that is
// stored, and the Guard around a Store that several processes share. Only Guard has state
// and may be called from any goroutine; an Entry must not be changed once it is stored.
// The cache layer is its user.
package store
