package chaos_test

import (
	"github.com/breakwater-go/breakwater"
	bt "github.com/breakwater-go/breakwater/breakwatertest"
)

// endpointsOf gives a fake host the words of the host that it is like.
func endpointsOf(h bt.Host) []breakwater.Endpoint {
	names := map[string]breakwater.Host{
		"deepseek": breakwater.HostDeepSeek, "siliconflow": breakwater.HostSiliconFlow, "ark": breakwater.HostVolcengine,
		"bailian": breakwater.HostBailian, "tokenhub": breakwater.HostTokenHub, "qianfan": breakwater.HostQianfan,
		"azure": breakwater.HostAzure, "openrouter": breakwater.HostOpenRouter, "together": breakwater.HostTogether,
		"fireworks": breakwater.HostFireworks, "ollama": breakwater.HostOllama, "vllm": breakwater.HostVLLM,
		"sglang": breakwater.HostSGLang, "openai": breakwater.HostOpenAI,
	}
	return []breakwater.Endpoint{{Name: h.Name, URL: "http://" + h.Name + ".localhost" + h.BasePath, Host: names[h.Name]}}
}
