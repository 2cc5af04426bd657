#!/usr/bin/env bash
# All tests of all modules. Needs Go; with a C compiler it looks for races, too.
set -euo pipefail
cd "$(dirname "$0")"
export GOWORK=off

race=-race
if [ "$(go env CGO_ENABLED)" != 1 ]; then
	echo "no C compiler: tests run without the race detector"
	race=
fi
# The simulation counts, it does not share: the race detector's own runtime has
# crashed under its tens of thousands of goroutines in virtual time (a kin of
# golang/go#78156), and finds nothing there that it does not find elsewhere.
go test $race $(go list ./... | grep -v /internal/sim$)
go test ./internal/sim
for module in examples/sdk compat compat/genkit bench; do
	(cd "$module" && go vet ./... && go test ./...)
done
