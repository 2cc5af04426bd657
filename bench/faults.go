package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/bench/internal/results"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

const patience = 4 * time.Second // of each call's caller

// question asks as a careful client does: it looks at the status, and reads to
// the end or to [DONE]; what reads without an error it takes for an answer.
func question(rt http.RoundTripper, url, prompt string, stream bool) results.Outcome {
	got, _ := askChat(rt, url, prompt, stream, patience)
	return got
}

// askChat is question by a caller with that much patience, and says whether a cache gave a stale answer since no host
// could (RFC 9211).
func askChat(rt http.RoundTripper, url, prompt string, stream bool, patience time.Duration) (got results.Outcome, stale bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := kit.ChatRequest(ctx, url, "sk-1", "deepseek-flash", prompt, stream)
	if err != nil {
		return results.Failed, false
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return results.Failed, false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return results.Failed, false
	}
	text, err := textOf(resp.Body, stream)
	switch {
	case err != nil:
		return results.Failed, false
	case text != kit.Answer(prompt):
		return results.Wrong, false
	}
	return results.Right, strings.Contains(resp.Header.Get("Cache-Status"), "stale-if-error")
}

type message struct {
	Choices []struct {
		Message, Delta struct{ Content string }
	}
}

func textOf(body io.Reader, stream bool) (text string, err error) {
	var m message
	if !stream {
		if err := json.NewDecoder(body).Decode(&m); err != nil {
			return "", err
		}
		for _, c := range m.Choices {
			text += c.Message.Content
		}
		return text, nil
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		data = strings.TrimSpace(data)
		if !ok || data == "" {
			continue
		}
		if data == "[DONE]" {
			return text, nil
		}
		m = message{}
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			return "", err
		}
		for _, c := range m.Choices {
			text += c.Delta.Content
		}
	}
	return text, lines.Err()
}

// A sea is a primary and a backup.
type sea struct {
	fleet *kit.Fleet
	base  *http.Transport
}

func newSea() *sea {
	fleet, err := kit.NewFleet(kit.DeepSeek("primary"), kit.DeepSeek("backup"))
	if err != nil {
		panic(err)
	}
	return &sea{fleet, fleet.Transport()}
}

func (s *sea) close() {
	s.base.CloseIdleConnections()
	s.fleet.Close()
}

func (s *sea) url() string { return s.fleet.Server("primary").URL() }

func (s *sea) endpoint(name string) breakwater.Endpoint {
	return breakwater.Endpoint{Name: name, URL: s.fleet.Server(name).URL(), APIKey: "sk-1", Host: breakwater.HostDeepSeek}
}

// A fleetClient is a client in a sea. Peers know of the primary only: a second
// host is not what they are for.
type fleetClient struct {
	name string
	over func(*sea) http.RoundTripper
}

var fleetClients = []fleetClient{
	{"bare", func(s *sea) http.RoundTripper { return s.base }},
	{"go-retryablehttp", func(s *sea) http.RoundTripper { return peerNamed("go-retryablehttp").over(s.base) }},
	{"failsafe-go", func(s *sea) http.RoundTripper { return peerNamed("failsafe-go").over(s.base) }},
	{"breakwater", func(s *sea) http.RoundTripper {
		return newBreakwater(breakwater.WithBase(s.base), breakwater.WithEndpoints(s.endpoint("primary")))
	}},
	{"breakwater and a backup", func(s *sea) http.RoundTripper {
		return newBreakwater(breakwater.WithBase(s.base), breakwater.WithEndpoints(s.endpoint("primary")), breakwater.WithBackup(s.endpoint("backup")))
	}},
}

// faults is what becomes of a call, as JSON and as a stream, for each fault of
// the primary: one that passes, and one that lasts.
func faults() any {
	measured := results.Faults{Source: results.Now("go run . faults"), Patience: patience.String()}
	for _, c := range fleetClients {
		measured.Clients = append(measured.Clients, c.name)
	}
	once, lasting := outcomes(true), outcomes(false)
	for i, f := range kit.Faults() {
		name, _, _ := strings.Cut(f.String(), "(")
		measured.Rows = append(measured.Rows, results.FaultRow{Fault: name, Once: once[i], Lasting: lasting[i]})
	}

	fmt.Printf("What a client gets within %v, JSON and stream: %s the right answer, %s an error, %s half an answer, or none, without an error.\n",
		patience, results.Right, results.Failed, results.Wrong)
	printFaults("The primary fails in this way once, and is well then", measured,
		func(row results.FaultRow) [][2]results.Outcome { return row.Once })
	printFaults("The primary fails in this way, and goes on to", measured,
		func(row results.FaultRow) [][2]results.Outcome { return row.Lasting })
	return measured
}

// printFaults prints a table in which faults of which the same came share a row.
func printFaults(title string, measured results.Faults, of func(results.FaultRow) [][2]results.Outcome) {
	fmt.Printf("\n%s.\n\n| fault | %s |\n|---|%s\n", title, strings.Join(measured.Clients, " | "), strings.Repeat(":-:|", len(measured.Clients)))
	var order []string
	named := make(map[string][]string) // faults by what came of them
	for _, row := range measured.Rows {
		var cells []string
		for _, got := range of(row) {
			cells = append(cells, fmt.Sprintf("%s %s", got[0], got[1]))
		}
		key := strings.Join(cells, " | ")
		if named[key] == nil {
			order = append(order, key)
		}
		named[key] = append(named[key], row.Fault)
	}
	for _, key := range order {
		fmt.Printf("| %s | %s |\n", strings.Join(named[key], ", "), key)
	}
}

// outcomes are the cells of one table, by fault and client.
func outcomes(once bool) [][][2]results.Outcome {
	all := kit.Faults()
	cells := make([][][2]results.Outcome, len(all))
	slots := make(chan struct{}, 16)
	var tasks sync.WaitGroup
	for i, f := range all {
		cells[i] = make([][2]results.Outcome, len(fleetClients))
		for j, c := range fleetClients {
			tasks.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				for k, stream := range []bool{false, true} {
					s := newSea()
					if primary := s.fleet.Server("primary"); once {
						primary.BreakNext(1, f)
					} else {
						primary.Break(f)
					}
					cells[i][j][k] = question(c.over(s), s.url(), "what is a breakwater?", stream)
					s.close()
				}
			})
		}
	}
	tasks.Wait()
	return cells
}

// recovery is what a call gets, and when, whose host fails.
func recovery() any {
	fmt.Printf("One call, JSON, while the primary fails: %s the right answer or %s an error, and after how long. Callers give up after %v.\n\n", results.Right, results.Failed, patience)
	fmt.Print("| the primary |")
	for _, c := range fleetClients {
		fmt.Printf(" %s |", c.name)
	}
	fmt.Printf("\n|---|%s\n", strings.Repeat("---|", len(fleetClients)))
	for _, f := range []kit.Fault{kit.Refused(), kit.Busy(), kit.Silence(), kit.TooManyRequests("1")} {
		fmt.Printf("| %s |", f)
		for _, c := range fleetClients {
			s := newSea()
			s.fleet.Server("primary").Break(f)
			start := time.Now()
			got := question(c.over(s), s.url(), "what is a mole?", false)
			fmt.Printf(" %s %v |", got, time.Since(start).Round(10*time.Millisecond))
			s.close()
		}
		fmt.Println()
	}
	failFast()
	return nil
}
