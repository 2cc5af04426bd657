//go:build !linux

package diagnose_test

import "testing"

// fullListener returns an address that drops each SYN. Only Linux has one on loopback; elsewhere
// it is an address for documentation, RFC 5737.
func fullListener(t *testing.T) string { t.Skip("needs the backlog of Linux"); return "" }
