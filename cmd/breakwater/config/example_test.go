package config_test

import (
	"fmt"
	"os"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/cmd/breakwater/config"
)

// A program has the same file as the command.
func Example() {
	cfg, err := config.Parse("breakwater.yaml", []byte(`
endpoints:
  - host: deepseek
    key: ${DEEPSEEK_API_KEY:-sk-of-an-example}
backups:
  - host: vllm
    url: http://127.0.0.1:8000/v1
    name: gpu
`), os.LookupEnv)
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := breakwater.NewClient(cfg.Options()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	fmt.Println(cfg)
	// Output: deepseek; gpu
}

// All mistakes are reported at once.
func ExampleErrors() {
	_, err := config.Parse("breakwater.yaml", []byte(`
endpoints:
  - host: deepsek
    key: sk-of-an-example
retry:
  patience: 30
`), os.LookupEnv)
	for _, mistake := range err.(config.Errors) {
		fmt.Println(mistake.Line, mistake.Path, mistake.Want)
	}
	// Output:
	// 3 endpoints[0].host did you mean deepseek?
	// 6 retry.patience want a duration such as 30s
}
