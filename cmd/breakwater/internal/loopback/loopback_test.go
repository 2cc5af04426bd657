package loopback

import "testing"

func TestIsAddress(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:8787": true, "127.8.9.1:0": true, "[::1]:80": true, "[::ffff:127.0.0.1]:80": true,
		"localhost:80": true, "LOCALHOST.:80": true, "app.localhost:80": true,
		":80": false, "0.0.0.0:80": false, "[::]:80": false, "10.0.0.7:80": false,
		"127.example.com:80": false, "localhost.example.com:80": false, "notlocalhost:80": false, "localhost": false,
	} {
		if got := IsAddress(address); got != want {
			t.Errorf("IsAddress(%q) is %v", address, got)
		}
	}
}
