package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealthcheck(t *testing.T) {
	ready := true
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/livez", r.URL.Path == "/readyz" && ready:
			fmt.Fprintln(w, "ok")
		default:
			http.Error(w, "draining", http.StatusServiceUnavailable)
		}
	}))
	defer proxy.Close()
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "\x1b]0;a\a\u202eok") }))
	defer stranger.Close()
	gone := httptest.NewServer(nil)
	gone.Close()

	for _, tt := range []struct {
		name  string
		ready bool
		args  []string
		want  int
		says  string
	}{
		{"ready", true, []string{proxy.URL}, statusOK, "ok"},
		{"not ready", false, []string{proxy.URL}, statusDown, "503 Service Unavailable: draining"},
		{"not ready, and live", false, []string{"--live", proxy.URL + "/"}, statusOK, "ok"},
		{"a stranger there", true, []string{stranger.URL}, statusOK, " ]0;a  ok"},
		{"nobody there", true, []string{gone.URL}, statusDown, "refused"},
		{"no URL", true, []string{"127.0.0.1:8787"}, statusUsage, "want one such as http://127.0.0.1:8787"},
		{"two", true, []string{proxy.URL, proxy.URL}, statusUsage, "at most 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ready = tt.ready
			status, stdout, stderr := runs(t, append([]string{"healthcheck"}, tt.args...)...)
			if status != tt.want || !strings.Contains(stdout+stderr, tt.says) {
				t.Errorf("status %d, %q, %q: want %d and %q", status, stdout, stderr, tt.want, tt.says)
			}
		})
	}
}
