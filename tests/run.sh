#!/bin/bash
# Runs tests, each in its own process with a time limit and a scratch folder of its own, and sums them up.
#   tests/run.sh [-j JOBS] [-t SECONDS] TEST...
# TEST is a program, a script (*.sh) or a transcript (*.case, see tests/support/case.sh). Each is started in the root of
# the sources with TMPDIR set to its scratch folder. It passes with exit status 0 and is skipped with 77; its last line
# then says why. Output is shown only when a test fails. TEST_WRAP is put before programs (valgrind).
# The last line is "N passed, N failed", with ", N skipped" where some were; the exit status is 0 if all went well.
set -u

run_one() {     # run_one TEST: prints its line and files the verdict under $scratch
    local test=$1 start=${EPOCHREALTIME/./} status=0 name verdict
    name=${test#"${BUILD:-build/release}"/}
    local dir=$scratch/${name//\//.}
    mkdir -p "$dir/tmp"
    local -a command
    case $test in
    *.sh)   command=(bash "$test") ;;
    *.case) command=(sh tests/support/case.sh "$test") ;;
    *)      read -r -a command <<<"${TEST_WRAP:-}"; command+=("$test") ;;
    esac
    # The braces keep bash's own remark on a killed test out of the listing.
    { TMPDIR=$dir/tmp timeout -k 5 "$limit" "${command[@]}" >"$dir/output" 2>&1 </dev/null; } 2>/dev/null || status=$?
    case $status in
    0)       verdict=passed ;;
    77)      verdict=skipped ;;
    *)       verdict=failed ;;
    esac
    echo $verdict >"$dir/verdict"
    local took=$((${EPOCHREALTIME/./} - start))
    {
        printf '%-8s %4d.%02d s  %s' $verdict $((took / 1000000)) $((took / 10000 % 100)) "$name"
        case $verdict in
        passed)  echo ;;
        skipped) printf ': %s\n' "$(tail -n 1 "$dir/output")" ;;
        failed)
            case $status in
            124|137) echo ": no end after $limit s" ;;
            *)       echo ": exit status $status" ;;
            esac
            tail -c 20000 "$dir/output" | tr -d '\000' | sed 's/^/    /'
            ;;
        esac
    } >"$dir/report"
    # One report at a time: tests run side by side.
    flock "$scratch/lock" cat "$dir/report"
    rm -rf "$dir/tmp"
}

if [ "${1:-}" = --one ]; then
    run_one "$2"
    exit 0
fi

jobs=$(nproc) limit=120
while getopts j:t: option; do
    case $option in
    j) jobs=$OPTARG ;;
    t) limit=$OPTARG ;;
    *) sed -n '3p' "$0" | cut -c3- >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
export scratch limit

[ $# = 0 ] || printf '%s\0' "$@" | xargs -0 -n 1 -P "$jobs" bash "$0" --one

count() { cat "$scratch"/*/verdict 2>/dev/null | grep -c "$1"; }
passed=$(count passed) skipped=$(count skipped)
failed=$(($# - passed - skipped))   # a test that left no verdict has not passed
summary="$passed passed, $failed failed"
[ "$skipped" = 0 ] || summary="$summary, $skipped skipped"
echo "$summary"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
