#!/usr/bin/env bash
# ./test.sh        all tests of all modules
# ./test.sh short  the tests that a change most probably breaks, in two minutes
# Needs Go; with a C compiler it looks for races, too. What fails ends nothing:
# the rest runs all the same, and the end says what it was.
set -uo pipefail
cd "$(dirname "$0")" || exit
export GOWORK=off

limit="-timeout 20m" # of one test binary: for those that hang, not for those that are slow
log=$(mktemp) said=$(mktemp)
trap 'rm -f "$log" "$said"' EXIT

# raced tests packages with the race detector. Its own runtime crashes now and
# then under many goroutines in virtual time (a kin of golang/go#78156): what
# was crashed so, and failed in no other way, is tested once more.
raced() {
	for _ in 1 2 3; do
		go test $race $limit "$@" 2>&1 | tee "$log" | ${show:-cat} && return
		if grep -qE '^ *--- FAIL|DATA RACE|^panic: ' "$log" ||
			! grep -qE 'unexpected return pc for runtime.sigpanic|ThreadSanitizer' "$log"; then
			return 1
		fi
		echo "the race detector crashed: once more"
	done
	return 1
}

# telling shortens what go test -v prints of one package: to the tests that
# take a while, and to all that those say which fail.
telling() {
	local line run= kept=()
	while IFS= read -r line; do
		case $line in
		"=== RUN "* | "=== NAME "*) run=$line ;;
		"    "*"--- PASS: "* | "    "*"--- SKIP: "* | PASS) ;;
		"--- PASS: "* | "--- SKIP: "*)
			[[ $line == *" (0."* ]] || echo "   ${line#*: }"
			kept=()
			;;
		*"--- FAIL: "*)
			printf '%s\n' ${kept[@]+"${kept[@]}"} "$line"
			kept=()
			;;
		"ok "*) echo "$line" ;;
		*)
			kept+=(${run:+"$run"} "$line")
			run=
			;;
		esac
	done
	[ ${#kept[@]} = 0 ] || printf '%s\n' "${kept[@]}"
}

failed=()
# step runs a part of the tests and notes what of it fails.
step() {
	local name=$1 began=$SECONDS
	shift
	echo "== $name"
	if "$@" 2>&1 | tee "$said"; then
		echo "== $name: ok, $((SECONDS - began)) s"
	else
		echo "== $name: FAILED, $((SECONDS - began)) s"
		failed+=("FAILED: $name" "$(grep -E '^ *--- FAIL: |^FAIL[[:space:]]+[^[:space:]]|^panic: |DATA RACE|^(vet: )?[^ ]+\.go:[0-9]+:[0-9]+: ' "$said" | sed 's/^/    /' | head -20)")
	fi
}

# both runs two commands, the second also where the first fails.
both() {
	local first=0
	eval "$1" || first=1
	eval "$2" && [ $first = 0 ]
}

root_raced() { show=telling raced -v .; }

# The simulation has more goroutines than the detector bears, and counts, it
# does not share.
others_raced() { raced $(go list ./... | grep -vE '/breakwater$|/internal/test/sim$'); }

# Campaigns and bounds in full, which the detector would make ten times as long.
in_full() { both "go test $limit -v . 2>&1 | telling" "go test $limit ./internal/test/sim"; }

# An int may have 32 bits. Where such programs run, the tests do, too.
on_32_bits() {
	export GOARCH=386 CGO_ENABLED=0
	local runs=true
	case $(go env GOHOSTOS)/$(go env GOHOSTARCH) in
	linux/amd64 | windows/amd64) runs="go test $limit -short -skip ^TestCampaign . $(go list ./internal/... | grep -v '/internal/test/sim$' | xargs)" ;;
	esac
	both "go vet ./..." "$runs"
}

# Tests of the other modules read documents of this one, whose changes the cache
# of test results does not see.
module() { cd "$1" && both "go vet ./..." "go test $limit -count=1 ./..."; }

# The command requires versions of the modules beside it that may not be
# published yet: go.work has them.
command_module() { GOWORK=$PWD/go.work module cmd/breakwater; }

in_short() { go test $limit -short $(go list ./... | grep -v '/internal/test/sim$'); }

short() {
	step "vet" go vet ./...
	step "all packages but the simulation, in short" in_short
	echo "left out: the race detector, campaigns and bounds in full, the simulation, 32 bits, and the modules examples/sdk, schema, prombreakwater, otelbreakwater, compat, bench, cmd/breakwater and deploy/lint: ./test.sh runs them"
}

all() {
	race=-race
	if [ "$(go env CGO_ENABLED)" != 1 ]; then
		echo "no C compiler: tests run without the race detector"
		race=
	fi
	echo "All tests take about eight minutes on two idle cores, half an hour on busy ones or the first time, when all is to be compiled."
	step "root package${race:+, with the race detector}" root_raced
	step "other packages${race:+, with the race detector}" others_raced
	step "campaigns in full, and the simulation" in_full
	step "32 bits" on_32_bits
	for module in examples/sdk schema prombreakwater otelbreakwater compat compat/genkit compat/browser compat/npm compat/observers bench; do
		step "module $module" module "$module"
	done
	step "module cmd/breakwater" command_module
	step "module deploy/lint" module deploy/lint
}

case ${1:-all} in
short | all) "${1:-all}" ;;
*)
	echo "usage: ./test.sh [short]"
	exit 2
	;;
esac

if [ ${#failed[@]} != 0 ]; then
	echo
	printf '%s\n' "${failed[@]}"
	exit 1
fi
echo
echo "all passed, in $((SECONDS / 60)) min $((SECONDS % 60)) s"
