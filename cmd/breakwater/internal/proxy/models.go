package proxy

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/tidwall/gjson"
)

// Bounds of what an endpoint may list.
const (
	maxListed    = 1000
	maxModelName = 256
	maxList      = 4 << 20
)

// modelsFor is how long the list of an endpoint is good, and modelsAgain how long the proxy waits after it
// could not be had.
const (
	modelsFor   = 5 * time.Minute
	modelsAgain = 10 * time.Second
	modelsTime  = 10 * time.Second // for one endpoint to answer
)

// A catalog knows the names of the models that clients may ask for: those of the endpoints'
// Models, and for an endpoint that takes any name, those that its host lists.
type catalog struct {
	transport http.RoundTripper

	mu     sync.Mutex // guards listed
	listed map[string]*listing
}

// A listing is what the host at a URL has listed.
type listing struct {
	mu    sync.Mutex // held while the host is asked, so that it is asked once
	names []string
	until time.Time
	ok    bool // it has listed something once
}

// names returns the names of models at endpoints, in order. ok is false if there are none because no
// host could be asked.
func (c *catalog) names(ctx context.Context, endpoints []breakwater.Endpoint) (names []string, ok bool) {
	all := make(map[string]bool)
	var wait sync.WaitGroup
	lists := make([][]string, len(endpoints))
	known := make([]bool, len(endpoints))
	for i, e := range endpoints {
		if len(e.Models) > 0 {
			known[i] = true
			for name := range e.Models {
				all[name] = true
			}
			continue
		}
		wait.Go(func() { lists[i], known[i] = c.list(ctx, e) })
	}
	wait.Wait()
	for _, list := range lists {
		for _, name := range list {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all)), len(all) > 0 || slices.Contains(known, true)
}

// list returns what the host of an endpoint lists.
func (c *catalog) list(ctx context.Context, e breakwater.Endpoint) ([]string, bool) {
	at := modelsURL(e)
	c.mu.Lock()
	l := c.listed[at]
	if l == nil {
		if len(c.listed) >= maxListed { // endpoints come and go by Update
			clear(c.listed)
		}
		l = new(listing)
		c.listed[at] = l
	}
	c.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		return l.names, l.ok
	}
	// The client that asks first must not end it for the others.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), modelsTime)
	defer cancel()
	if names, ok := c.ask(ctx, at); ok {
		l.names, l.ok, l.until = names, true, time.Now().Add(modelsFor)
	} else {
		l.until = time.Now().Add(modelsAgain) // an old list is better than none
	}
	return l.names, l.ok
}

// modelsURL returns the URL of an endpoint's list of models.
func modelsURL(e breakwater.Endpoint) string {
	u, err := url.Parse(e.URL)
	if err != nil {
		return ""
	}
	return u.JoinPath("models").String()
}

// ask asks a host for its models.
func (c *catalog) ask(ctx context.Context, at string) (names []string, ok bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, false
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, false
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxList))
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err != nil || json.Unmarshal(text, &list) != nil {
		return nil, false
	}
	for _, m := range list.Data {
		if m.ID != "" && len(m.ID) <= maxModelName && len(names) < maxListed {
			names = append(names, m.ID)
		}
	}
	return names, true
}

// serveModels answers a request for the list of models, or for one of them.
func (s *Server) serveModels(x *exchange) {
	names, ok := x.settings.config.Models, true
	if len(names) == 0 {
		names, ok = s.catalog.names(x.r.Context(), x.client.allowed(x.settings.config.Endpoints))
	}
	if !ok {
		x.refuse(refusal{http.StatusServiceUnavailable, "no_models", "no host could be asked for its models", 10})
		return
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !x.client.mayAsk(name) })
	if x.route.kind == model {
		if !slices.Contains(names, x.model) {
			x.refuse(refusal{http.StatusNotFound, "model_not_found", "there is no such model: GET /v1/models lists those that there are", 0})
			return
		}
		x.json(entryOf(x.model, x.route.wire))
		return
	}
	entries := make([]any, 0, len(names))
	for _, name := range names {
		entries = append(entries, entryOf(name, x.route.wire))
	}
	if x.route.wire != anthropic {
		x.json(map[string]any{"object": "list", "data": entries})
		return
	}
	page := map[string]any{"data": entries, "has_more": false, "first_id": nil, "last_id": nil}
	if len(names) > 0 {
		page["first_id"], page["last_id"] = names[0], names[len(names)-1]
	}
	x.json(page)
}

// entryOf returns a model as the API of a wire lists it. Who owns it and since when it is there, the proxy does
// not know; SDKs want both fields.
func entryOf(name string, as wire) any {
	if as == anthropic {
		return map[string]any{"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
	}
	return map[string]any{"object": "model", "id": name, "created": 0, "owned_by": "breakwater"}
}

// allowed returns those of the endpoints that the client's calls may go to.
func (c *Client) allowed(endpoints []breakwater.Endpoint) []breakwater.Endpoint {
	if c.Endpoints == nil {
		return endpoints
	}
	var all []breakwater.Endpoint
	for _, e := range endpoints {
		has := func(word string) bool {
			return word != "" && (word == e.Name || word == e.Region || slices.Contains(e.Tags, word))
		}
		if slices.ContainsFunc(c.Endpoints, has) {
			all = append(all, e)
		}
	}
	return all
}

// mayAsk reports whether the client may ask for a model.
func (c *Client) mayAsk(model string) bool {
	return c.Models == nil || slices.Contains(c.Models, model)
}

// askedModel returns the model that a request asks for, or why it cannot be told: then a host might
// read another one there.
func askedModel(body []byte) (model string, no *refusal) {
	if !json.Valid(body) { // gjson has no bound for the depth: the stack could grow until the process ends
		return "", &refusal{http.StatusBadRequest, "bad_json", "the body of the request is no JSON", 0}
	}
	found, more := 0, false
	gjson.ParseBytes(body).ForEach(func(key, value gjson.Result) bool {
		switch name := key.String(); {
		case strings.EqualFold(name, "model"):
			found++
			if name == "model" && value.Type == gjson.String {
				model = value.String()
			}
		case strings.EqualFold(name, "models"): // OpenRouter asks them if the model fails
			more = true
		}
		return true
	})
	if found != 1 || model == "" || more {
		return "", &refusal{http.StatusBadRequest, "model", "the request must have one model", 0}
	}
	return model, nil
}

// modelOf returns the id of a model at the end of a path.
func modelOf(path string) (id string, as wire, ok bool) {
	for _, root := range modelRoots {
		if id, ok := strings.CutPrefix(path, root.prefix); ok && id != "" && len(id) <= maxModelName {
			return id, root.wire, true
		}
	}
	return "", 0, false
}
