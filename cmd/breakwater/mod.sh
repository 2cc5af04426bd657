#!/usr/bin/env bash
# ./mod.sh            go mod tidy for this module
# ./mod.sh go get …   changes its requirements
# Both commands know no go.work, so the modules beside this one are named to them for as long as
# they run. go.mod must not keep that: go install takes no module that replaces others.
set -euo pipefail
cd "$(dirname "$0")"
root=github.com/breakwater-go/breakwater
go mod edit -replace $root=../.. -replace $root/prombreakwater=../../prombreakwater -replace $root/schema=../../schema
trap 'go mod edit -dropreplace $root -dropreplace $root/prombreakwater -dropreplace $root/schema' EXIT
export GOWORK=off
if [ $# = 0 ]; then go mod tidy; else "$@"; fi
