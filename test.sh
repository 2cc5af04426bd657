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
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# raced tests packages with the race detector. Its own runtime crashes now and
# then under many goroutines in virtual time (a kin of golang/go#78156): what
# was crashed so, and failed in no other way, is tested once more.
raced() {
	for _ in 1 2 3; do
		go test $race "$@" 2>&1 | tee "$log" && return
		if grep -qE '^ *--- FAIL|DATA RACE|^panic: ' "$log" ||
			! grep -qE 'unexpected return pc for runtime.sigpanic|ThreadSanitizer' "$log"; then
			return 1
		fi
		echo "the race detector crashed: once more"
	done
	return 1
}

# The simulation has more goroutines than the detector bears, and counts, it
# does not share.
raced $(go list ./... | grep -v /internal/sim$)
go test ./internal/sim
for module in examples/sdk compat compat/genkit bench; do
	(cd "$module" && go vet ./... && go test ./...)
done
