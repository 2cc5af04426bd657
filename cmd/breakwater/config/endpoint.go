package config

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/breakwater-go/breakwater"
	yaml "go.yaml.in/yaml/v4"
)

// An endpointForm has the keys of an endpoint that are no fields of breakwater.Endpoint.
type endpointForm struct {
	// Host is the host of the endpoint. It gives the endpoint its url, its name, and the names
	// that the models have there. With a url of your own, it says whose API that has.
	Host string

	// KeyFile is a file with the key. It is read when the key is needed, and again when the file
	// has changed or the host has rejected the key: see breakwater.KeyFile.
	KeyFile string

	// Workspace is the workspace of an endpoint of bailian, which needs a region, too.
	Workspace string

	// Resource is the first part of the host name of an endpoint of azure.
	Resource string

	// Project is the project of an endpoint of vertex.
	Project string
}

// A preset makes an endpoint of a form. The region is the field of the endpoint.
type preset struct {
	host  string
	needs []string // keys of the form, or url
	make  func(f *endpointForm, url, region, key string) breakwater.Endpoint
}

func keyed(host string, make func(key string) breakwater.Endpoint) preset {
	return preset{host, nil, func(_ *endpointForm, _, _, key string) breakwater.Endpoint { return make(key) }}
}

// presets are the hosts, in the order of the library.
var presets = []preset{
	keyed("deepseek", breakwater.DeepSeek),
	keyed("volcengine", breakwater.VolcengineArk),
	keyed("siliconflow", breakwater.SiliconFlow),
	keyed("siliconflow-cn", breakwater.SiliconFlowCN),
	{"bailian", nil, func(f *endpointForm, _, region, key string) breakwater.Endpoint {
		if f.Workspace != "" {
			return breakwater.BailianWorkspace(f.Workspace, region, key)
		}
		return breakwater.Bailian(key)
	}},
	keyed("bailian-intl", breakwater.BailianIntl),
	keyed("tencent", breakwater.TencentLKEAP),
	keyed("tokenhub", breakwater.TencentTokenHub),
	keyed("qianfan", breakwater.BaiduQianfan),
	{"azure", []string{"resource"}, func(f *endpointForm, _, _, key string) breakwater.Endpoint {
		return breakwater.AzureFoundry(f.Resource, key)
	}},
	keyed("openrouter", breakwater.OpenRouter),
	keyed("together", breakwater.Together),
	keyed("fireworks", breakwater.Fireworks),
	{"bedrock", []string{"region"}, func(_ *endpointForm, _, region, key string) breakwater.Endpoint {
		return breakwater.Bedrock(region, key)
	}},
	{"vertex", []string{"project", "region"}, func(f *endpointForm, _, region, key string) breakwater.Endpoint {
		e := breakwater.Vertex(f.Project, region, func(context.Context) (string, error) { return key, nil })
		e.KeyFunc, e.APIKey = nil, key
		return e
	}},
	keyed("nvidia", breakwater.NVIDIA),
	keyed("novita", breakwater.Novita),
	keyed("ollama-cloud", breakwater.OllamaCloud),
	{"ollama", nil, func(*endpointForm, string, string, string) breakwater.Endpoint { return breakwater.Ollama() }},
	{"vllm", []string{"url"}, func(_ *endpointForm, url, _, key string) breakwater.Endpoint { return breakwater.VLLM(url, key) }},
	{"sglang", []string{"url"}, func(_ *endpointForm, url, _, key string) breakwater.Endpoint { return breakwater.SGLang(url, key) }},
	{"openai", []string{"url"}, func(_ *endpointForm, url, _, key string) breakwater.Endpoint {
		return breakwater.Endpoint{URL: url, APIKey: key, Host: breakwater.HostOpenAI}
	}},
}

func hostNames() (names []string) {
	for _, p := range presets {
		names = append(names, p.host)
	}
	return names
}

// hostName is the name of a preset.
type hostName struct{}

func (hostName) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	if i := d.choose(n, path, hostNames()); i >= 0 {
		v.SetString(presets[i].host)
	}
}

// endpoints is a tier.
type endpoints struct{}

func (endpoints) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	v.Set(reflect.ValueOf(d.tier(n, path)))
}

func (d *decoder) tier(n nodeRef, path string) (tier []breakwater.Endpoint) {
	items := d.items(n, path, "want a list of endpoints, each after a dash")
	for i, item := range items {
		tier = append(tier, d.endpoint(item, fmt.Sprintf("%s[%d]", path, i)))
	}
	if items != nil && len(items) == 0 {
		d.wrong(n, path, "the list is empty", "want an endpoint")
	}
	return tier
}

// backups are tiers: each an endpoint, or a list of endpoints.
type backups struct{}

func (backups) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	var tiers [][]breakwater.Endpoint
	for i, item := range d.items(n, path, "want a list of endpoints, each after a dash") {
		at := fmt.Sprintf("%s[%d]", path, i)
		if resolve(item).Kind == yaml.SequenceNode {
			tiers = append(tiers, d.tier(item, at))
			continue
		}
		tiers = append(tiers, []breakwater.Endpoint{d.endpoint(item, at)})
	}
	v.Set(reflect.ValueOf(tiers))
}

// endpoint reads one endpoint: a preset, over which the keys that are given are laid.
func (d *decoder) endpoint(n nodeRef, path string) breakwater.Endpoint {
	var form endpointForm
	var own breakwater.Endpoint
	s := sections[reflect.TypeFor[breakwater.Endpoint]()]
	given := d.section(n, path, s, reflect.ValueOf(&form).Elem(), reflect.ValueOf(&own).Elem())
	if given == nil {
		return own
	}
	e, ok := d.base(n, path, &form, &own, given)
	if !ok {
		return own
	}
	models := maps.Clone(e.Models)
	for _, k := range s.keys {
		if k.of == 1 && given[k.name] {
			reflect.ValueOf(&e).Elem().FieldByIndex(k.index).Set(reflect.ValueOf(&own).Elem().FieldByIndex(k.index))
		}
	}
	if form.KeyFile != "" {
		e.KeyFunc, e.Keyless = breakwater.KeyFile(form.KeyFile), own.Keyless
		d.from.keyFiles[nameOf(&e)] = form.KeyFile
	}
	if given["key"] {
		e.Keyless = own.Keyless
	}
	if given["models"] {
		e.Models = withModels(models, own.Models)
	}
	return e
}

// withModels adds names of models to those of a preset. off takes one out.
func withModels(preset, own map[string]string) map[string]string {
	all := make(map[string]string)
	maps.Copy(all, preset)
	for from, to := range own {
		if to == "off" {
			delete(all, from)
			continue
		}
		all[from] = to
	}
	return all
}

// base returns the endpoint that the host of a form stands for.
func (d *decoder) base(n nodeRef, path string, form *endpointForm, own *breakwater.Endpoint, given map[string]bool) (breakwater.Endpoint, bool) {
	at := func(key string) nodeRef {
		if node := d.nodes[join(path, key)]; node != nil {
			return node
		}
		return n
	}
	if !given["host"] && !given["url"] {
		d.wrong(n, path, "has neither host nor url", "want host: deepseek, for example, or the url of another host")
		return breakwater.Endpoint{}, false
	}
	if !given["host"] {
		return breakwater.Endpoint{}, true
	}
	if form.Host == "" { // it is none, which is said
		return breakwater.Endpoint{}, false
	}
	p := presetOf(form.Host)
	byURL := slices.Contains(p.needs, "url")
	if given["url"] && !byURL { // a gateway, or another region
		return breakwater.Endpoint{Host: p.make(&endpointForm{}, "", "", "").Host}, true
	}
	ok := true
	needs := p.needs
	if form.Workspace != "" && p.host == "bailian" {
		needs = []string{"region"}
	}
	for _, key := range needs {
		if !given[key] {
			d.wrong(at("host"), path, fmt.Sprintf("host %s needs %s, which is not there", p.host, key), fmt.Sprintf("add %s", key))
			ok = false
		}
	}
	for _, key := range []string{"workspace", "resource", "project"} {
		if used := slices.Contains(p.needs, key) || key == "workspace" && p.host == "bailian"; given[key] && !used {
			d.wrong(at(key), join(path, key), fmt.Sprintf("has no effect with host %s", p.host), "leave it out")
			ok = false
		}
	}
	return p.make(form, own.URL, own.Region, own.APIKey), ok
}
