// Package tools has no code: its module pins the developers' tools, apart so
// that the root's requirements stay few.
package tools
