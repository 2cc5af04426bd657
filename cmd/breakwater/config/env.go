package config

import (
	"strings"

	"github.com/breakwater-go/breakwater"
)

// A Variable is an environment variable with the key of a host.
type Variable struct {
	Name string // such as DEEPSEEK_API_KEY
	Host string // as the key host of a file, such as deepseek
}

// variablesOfKeys are the variables, in the order in which FromEnv takes them. Their names are
// those of the hosts' own documents and SDKs.
var variablesOfKeys = []Variable{
	{"DEEPSEEK_API_KEY", "deepseek"},
	{"SILICONFLOW_API_KEY", "siliconflow"},
	{"ARK_API_KEY", "volcengine"},
	{"DASHSCOPE_API_KEY", "bailian"},
	{"QIANFAN_API_KEY", "qianfan"},
	{"OPENROUTER_API_KEY", "openrouter"},
	{"TOGETHER_API_KEY", "together"},
	{"FIREWORKS_API_KEY", "fireworks"},
	{"NOVITA_API_KEY", "novita"},
	{"NVIDIA_API_KEY", "nvidia"},
}

// Variables returns the variables that FromEnv knows, in the order in which it takes them.
func Variables() []Variable { return append([]Variable(nil), variablesOfKeys...) }

// KeyOf returns the name of the variable that has the key of a host, or "" if there is none.
func KeyOf(host string) string {
	for _, v := range variablesOfKeys {
		if v.Host == host {
			return v.Name
		}
	}
	return ""
}

// FromEnv makes a configuration of the keys in the environment. The first variable of
// [Variables] that is set gives the endpoint, the others each a backup, in their order.
func FromEnv(env func(string) (string, bool)) (*Config, error) {
	cfg := &Config{Server: defaultServer()}
	for _, v := range variablesOfKeys {
		key, _ := env(v.Name)
		if key == "" {
			continue
		}
		e := presetOf(v.Host).make(&endpointForm{}, "", "", key)
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
	return cfg, nil
}

func presetOf(host string) *preset {
	for i := range presets {
		if presets[i].host == host {
			return &presets[i]
		}
	}
	return nil
}
