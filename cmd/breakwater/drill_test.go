package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater/breakwatertest"
)

// moment is a drill of half a second.
const moment = `
title: A moment
duration: 1s
hosts: [{name: primary}, {name: backup, backup: true}]
load: {calls_per_second: 40, deadline: 4s}
timeline: [{at: 300ms, for: 400ms, host: primary, fault: busy}]
breakwater: {retry: {patience: off}}
objectives: {availability: 99.95%, amplification: 1.5}
`

// written writes a file, and returns its name.
func written(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestDrill_Statuses: 0 if the objectives were held, 1 if one was missed, 2 if the drill was ended.
func TestDrill_Statuses(t *testing.T) {
	script := written(t, "moment.yaml", moment)
	dir := filepath.Join(t.TempDir(), "out")
	status, stdout, stderr := runs(t, "drill", script, "--report", dir)
	if status != statusOK || stderr != "" || !strings.Contains(stdout, "Held: 40 of 40 calls answered.") || !strings.Contains(stdout, "primary: busy") {
		t.Errorf("status %d, stdout %s, stderr %s", status, stdout, stderr)
	}
	for _, name := range []string{"report.md", "report.json", "timeline.svg"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if md, _ := os.ReadFile(filepath.Join(dir, "report.md")); !strings.Contains(string(md), "](timeline.svg)") {
		t.Errorf("the Markdown does not show the picture: %s", md)
	}

	status, stdout, stderr = runs(t, "drill", script, "--bare", "--json", "-")
	var report struct {
		Held    bool
		Clients []struct{ Client string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || report.Held || report.Clients[0].Client != "bare" {
		t.Errorf("--json - writes %v, %s", err, stdout)
	}
	if status != statusDegraded || !strings.Contains(stderr, "Missed: ") {
		t.Errorf("--bare: status %d, stderr %s", status, stderr)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	var out, errs bytes.Buffer
	if status := run(ctx, []string{"drill", script}, &out, &errs); status != statusDown || !strings.Contains(out.String(), "Ended after") {
		t.Errorf("ended in the middle: status %d, stdout %s, stderr %s", status, &out, &errs)
	}
}

func TestDrill_Says(t *testing.T) {
	script := written(t, "moment.yaml", moment)
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"drill", "--list"}, []string{"primary-down", "dns-gone", "slow", "overloaded", "keys-and-money"}},
		{[]string{"drill", "--check"}, []string{"The primary is down", "00:15 to 00:35  primary: refused", "≥ 99.95 %"}},
		{[]string{"drill", "--check", "--quick", "--rate", "7"}, []string{"For 30s: 7 calls a second", "00:07 to 00:17"}},
		{[]string{"drill", "slow", "--print"}, []string{"# The primary is slow.", "timeline:"}},
		{[]string{"drill", "--schema"}, []string{"breakwater.drill/1"}},
		{[]string{"drill", script, "--check"}, []string{"A moment", "busy"}},
	} {
		status, stdout, stderr := runs(t, tt.args...)
		if status != statusOK || stderr != "" {
			t.Errorf("%q: status %d, stderr %q", tt.args, status, stderr)
		}
		for _, want := range tt.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%q says %q, want %q in it", tt.args, stdout, want)
			}
		}
	}
	_, help, _ := runs(t, "drill", "--help")
	for line := range strings.Lines(help) {
		if len(line) > 80 {
			t.Errorf("the help has a line of %d columns: %s", len(line)-1, line)
		}
	}
}

// TestDrill_Mistakes: none of them begins a drill.
func TestDrill_Mistakes(t *testing.T) {
	script := written(t, "moment.yaml", moment)
	bad := written(t, "bad.yaml", strings.Replace(moment, "busy", "bussy", 1))
	noHosts := written(t, "nohosts.yaml", strings.Replace(moment, "hosts: [{name: primary}, {name: backup, backup: true}]", "", 1))
	callers := written(t, "callers.yaml", strings.Replace(moment, "calls_per_second: 40", "callers: 3", 1))
	real := written(t, "real.yaml", "endpoints: [{host: deepseek, key: sk-0123456789abcdef0123456789abcdef}]\n")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"drill", "no-such"}, `there is no script "no-such"; want one of primary-down, dns-gone`},
		{[]string{"drill", "no-such.yaml"}, "reading the script"},
		{[]string{"drill", bad}, "bad.yaml:6:58: timeline[0].fault: there is no \"bussy\"; did you mean busy?"},
		{[]string{"drill", noHosts}, "the script has no hosts: give endpoints with --config"},
		{[]string{"drill", script, "--bare", "--compare"}, "give one of --bare and --compare"},
		{[]string{"drill", script, "--rate", "1e9"}, "--rate: 1e+09 calls a second are out of range; want 0.01 to 1000"},
		{[]string{"drill", script, script}, "accepts at most 1 arg"},
		{[]string{"drill", script, "--svg", filepath.Join(script, "x.svg")}, "the report cannot be written"},
		{[]string{"drill", script, "--config", script}, "breakwater drill:\n" + script + ":2:1: title: there is no such key"},
		{[]string{"drill", callers, "--config", real}, "a load needs calls_per_second"},
		{[]string{"drill", script, "--config", real}, "these are real hosts, and calls cost money: add --yes if you mean it"},
	} {
		status, stdout, stderr := runs(t, tt.args...)
		if status != statusUsage || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: status %d, stdout %q, stderr %q, want %q", tt.args, status, stdout, stderr, tt.want)
		}
		if strings.Contains(stderr, "0123456789abcdef") {
			t.Errorf("%q shows the key: %s", tt.args, stderr)
		}
	}
	_, _, stderr := runs(t, "drill", script, "--config", real)
	for _, want := range []string{"40 calls in 1s", "deepseek: at most 0.00", "USD", "Real hosts: api.deepseek.com"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("before real hosts it says %q, want %q in it", stderr, want)
		}
	}
}

// TestDrill_Config plays before hosts that a configuration names: of this machine, so that no
// --yes is needed.
func TestDrill_Config(t *testing.T) {
	fleet, err := breakwatertest.NewFleet(breakwatertest.DeepSeek("a"), breakwatertest.DeepSeek("b"))
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	cfg := written(t, "breakwater.yaml", fmt.Sprintf(`
endpoints: [{name: a, host: deepseek, url: "%s", key: key-a}]
backups: [{name: b, host: deepseek, url: "%s", key: key-b}]
retry: {patience: off}
`, fleet.Server("a").URL(), fleet.Server("b").URL()))
	status, stdout, stderr := runs(t, "drill", written(t, "moment.yaml", moment), "--config", cfg, "--compare", "--json", "-")
	var report struct {
		Place   string
		Clients []struct {
			Client          string
			Calls, Answered int
			AnsweredBy      map[string]int `json:"answered_by"`
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || status != statusOK {
		t.Fatalf("status %d, %v, %s", status, err, stderr)
	}
	ours, bare := report.Clients[0], report.Clients[1]
	if report.Place != "endpoints of breakwater.yaml" || ours.Answered != 40 || ours.AnsweredBy["b"] == 0 || bare.Answered >= 40 || bare.Answered == 0 || bare.AnsweredBy["b"] != 0 {
		t.Errorf("%+v", report)
	}
	if !strings.Contains(stderr, "80 calls in 1s") || strings.Contains(stderr, "Real hosts") {
		t.Errorf("stderr %s", stderr)
	}
}
