package proxy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/breakwater-go/breakwater"
)

// A wire is the form in which an API says errors.
type wire int

const (
	openAI    wire = iota
	responses      // OpenAI's, whose streams have events with names
	anthropic
)

// A route is what a path of the proxy stands for.
type route struct {
	kind      kind
	wire      wire
	operation string // kind is call: as in breakwater.Event
}

type kind int

const (
	unknown kind = iota
	call         // an inference call
	models       // the list of models
	model        // one of them
	livez
	readyz
	metrics
	status
)

// name returns the word for the route in the log and in metrics.
func (r route) name() string {
	switch r.kind {
	case call:
		return r.operation
	case models, model:
		return "models"
	case livez:
		return "livez"
	case readyz:
		return "readyz"
	case metrics:
		return "metrics"
	case status:
		return "status"
	}
	return "none"
}

// isAdmin reports whether the route tells of the proxy itself.
func (r route) isAdmin() bool { return r.kind == metrics || r.kind == status }

// isProbe reports whether the route is for who watches the process, such as Kubernetes.
func (r route) isProbe() bool { return r.kind == livez || r.kind == readyz }

// paths has all paths that the proxy serves, as they stand in a request: with no escapes. Whatever is
// not in it is refused, so no path leads a request anywhere else.
var paths = func() map[string]route {
	all := map[string]route{
		"/livez":  {kind: livez},
		"/readyz": {kind: readyz}, "/metrics": {kind: metrics}, "/status": {kind: status},
		"/beta/completions":      {call, openAI, "completions"},
		"/beta/chat/completions": {call, openAI, "beta/chat/completions"},
		"/beta/models":           {models, openAI, ""},
	}
	for _, root := range []string{"", "/v1"} { // as api.deepseek.com has it
		all[root+"/chat/completions"] = route{call, openAI, "chat/completions"}
		all[root+"/completions"] = route{call, openAI, "completions"}
		all[root+"/responses"] = route{call, responses, "responses"}
		all[root+"/embeddings"] = route{call, openAI, "embeddings"}
		all[root+"/models"] = route{models, openAI, ""}
	}
	all["/v1/messages"] = route{call, anthropic, "messages"}
	all["/anthropic/v1/messages"] = route{call, anthropic, "messages"}
	all["/anthropic/v1/models"] = route{models, anthropic, ""}
	return all
}()

// modelRoots precede the id of a model in the path of a request for it.
var modelRoots = []struct {
	prefix string
	wire   wire
}{{"/v1/models/", openAI}, {"/models/", openAI}, {"/anthropic/v1/models/", anthropic}}

// A target is where calls of one operation are sent to: the URL at which an endpoint has it. The
// Transport takes such a call for one of its own, and any endpoint may answer it.
type target struct {
	url    string
	models map[string]bool // names of models that lead to the endpoint; nil: any
}

// A table has the targets of all operations, the best endpoint first.
type table map[string][]target

// tableOf returns the targets at endpoints.
func tableOf(endpoints []breakwater.Endpoint) (table, error) {
	t := make(table)
	operations := make(map[string]bool)
	for _, r := range paths {
		if r.kind == call {
			operations[r.operation] = true
		}
	}
	for _, operation := range slices.Sorted(maps.Keys(operations)) {
		for _, e := range endpoints {
			u, ok := e.URLOf(operation)
			if !ok {
				continue
			}
			at := target{url: u}
			if len(e.Models) > 0 {
				at.models = make(map[string]bool)
				for from, to := range e.Models {
					at.models[from], at.models[to] = true, true
				}
			}
			t[operation] = append(t[operation], at)
		}
	}
	if len(t) == 0 {
		return nil, fmt.Errorf("none of the %d endpoints has a URL that can be used", len(endpoints))
	}
	return t, nil
}

// isPlain reports whether the first target of an operation serves all models, so that nobody has to
// look for the model of a call.
func (t table) isPlain(operation string) bool {
	all := t[operation]
	return len(all) < 2 || all[0].models == nil
}

// target returns where a call is sent to. model is empty if it is not known.
func (t table) target(operation, model string) (string, bool) {
	all := t[operation]
	if len(all) == 0 {
		return "", false
	}
	for _, at := range all {
		if at.models == nil || at.models[model] {
			return at.url, true
		}
	}
	return all[0].url, true // its host says that there is no such model
}
