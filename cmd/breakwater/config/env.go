package config

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/breakwater-go/breakwater"
)

// A Variable is an environment variable with the key of a host.
type Variable struct {
	Name string // such as DEEPSEEK_API_KEY
	Host string // as the key host of a file, such as deepseek
	Also string // another variable without which the first has no effect, with the region; mostly empty
}

// variablesOfKeys are the variables, in the order in which FromEnv takes them: DeepSeek itself,
// then hosts that many have accounts with. Their names are those of the hosts' own documents and
// SDKs, or of their own plugins for other programs.
var variablesOfKeys = []Variable{
	{Name: "DEEPSEEK_API_KEY", Host: "deepseek"},
	{Name: "SILICONFLOW_API_KEY", Host: "siliconflow"},
	{Name: "SILICONFLOW_CN_API_KEY", Host: "siliconflow-cn"},
	{Name: "ARK_API_KEY", Host: "volcengine"},
	{Name: "DASHSCOPE_API_KEY", Host: "bailian"},
	{Name: "TOKENHUB_API_KEY", Host: "tokenhub"},
	{Name: "LKEAP_API_KEY", Host: "tencent"},
	{Name: "QIANFAN_API_KEY", Host: "qianfan"},
	{Name: "OPENROUTER_API_KEY", Host: "openrouter"},
	{Name: "TOGETHER_API_KEY", Host: "together"},
	{Name: "FIREWORKS_API_KEY", Host: "fireworks"},
	{Name: "NOVITA_API_KEY", Host: "novita"},
	{Name: "NVIDIA_API_KEY", Host: "nvidia"},
	{Name: "AWS_BEARER_TOKEN_BEDROCK", Host: "bedrock", Also: "AWS_REGION"},
	{Name: "OLLAMA_API_KEY", Host: "ollama-cloud"},
}

// Variables returns the variables that FromEnv knows, in the order in which it takes them.
func Variables() []Variable { return slices.Clone(variablesOfKeys) }

// KeyOf returns the name of the variable that has the key of a host, such as DEEPSEEK_API_KEY of
// deepseek. It returns "" for a host that has none.
func KeyOf(host string) string {
	for _, v := range variablesOfKeys {
		if v.Host == host {
			return v.Name
		}
	}
	return ""
}

// FromEnv makes a configuration of the keys in the environment. The first variable of
// [Variables] that is set gives the endpoint, the others each a backup, in their order. All else
// has its default.
//
// The error is an [Errors] if no variable is set, or one of them has what cannot be a key.
func FromEnv(env func(string) (string, bool)) (*Config, error) {
	d := newDecoder("", env, nil)
	cfg := &Config{Server: defaultServer(), from: d.from}
	for _, v := range variablesOfKeys {
		key, _ := env(v.Name)
		region := ""
		if v.Also != "" {
			region, _ = env(v.Also)
		}
		if key == "" || v.Also != "" && region == "" {
			continue
		}
		d.from.references[sha256.Sum256([]byte(key))] = "${" + v.Name + "}"
		e := presetOf(v.Host).make(&endpointForm{}, "", region, key)
		for _, err := range flatten(try(breakwater.WithEndpoints(e))) {
			_, why := d.about(&Config{Endpoints: []breakwater.Endpoint{e}}, strings.TrimPrefix(err.Error(), "breakwater: "))
			d.wrong(nil, v.Name, inFileWords(why), "")
		}
		if cfg.Endpoints == nil {
			cfg.Endpoints = []breakwater.Endpoint{e}
			continue
		}
		cfg.Backups = append(cfg.Backups, []breakwater.Endpoint{e})
	}
	if cfg.Endpoints == nil {
		var names []string
		for _, v := range variablesOfKeys {
			names = append(names, v.Name)
		}
		return nil, Errors{{Problem: "no key is in the environment", Want: "set DEEPSEEK_API_KEY, or one of " + strings.Join(names[1:], ", ")}}
	}
	if len(d.errs) > 0 {
		return nil, d.errs
	}
	return cfg, nil
}

// try returns what the library finds wrong with options.
func try(opts ...breakwater.Option) error {
	t, err := breakwater.New(opts...)
	if err == nil {
		t.Close()
	}
	return err
}

func presetOf(host string) *preset {
	for i := range presets {
		if presets[i].host == host {
			return &presets[i]
		}
	}
	return nil
}
