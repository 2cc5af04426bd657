#!/usr/bin/env bash
# All tests of all modules. Needs Go and nothing else.
set -euo pipefail
cd "$(dirname "$0")"
export GOWORK=off

go test -race ./...
for module in examples/sdk compat; do
	(cd "$module" && go vet ./... && go test ./...)
done
