#!/bin/sh
# Trains by a recipe, then does what the recipe's header says to judge the result, and writes the report.
#   recipes/run.sh NAME DATA [flags of cleave train]
#   recipes/run.sh moco-v2-imagenet imagenet/ --workers 16
# The run goes to runs/NAME, a linear probe to runs/NAME-linear. Both go on where they were stopped: the same line can be
# run again until it is done. PROBE_FLAGS are flags of the probe; CLEAVE is the command, if not the one beside the recipes.
set -eu

[ $# -ge 2 ] || { sed -n '2,4s/^# *//p' "$0" >&2; exit 2; }
here=$(dirname "$0")
name=$1 data=$2 recipe=$here/$1.yaml run=runs/$1
shift 2
[ -f "$recipe" ] || { echo "there is no recipe '$name'; $here/README.md lists them" >&2; exit 2; }
cleave=${CLEAVE:-$here/../build/cleave}
[ -x "$cleave" ] || cleave=$(command -v cleave) || { echo "there is no command cleave: run make" >&2; exit 2; }
say() { echo "== $*" >&2; }
header() { sed -n "s/^# $1: //p" "$recipe"; }

say "training $name on $data"
"$cleave" train "$recipe" "$data" --results-dir "$run" --resume auto "$@"

if grep -q '^published:' "$recipe"; then
    say "beside what was published"
    "$cleave" verify "$run" || true
fi
probe=$(header Probe)
if [ -n "$probe" ]; then
    say "linear probe: $probe"
    # shellcheck disable=SC2086
    "$cleave" train "$here/$probe.yaml" "$data" --weights "$run" --results-dir "$run-linear" --resume auto ${PROBE_FLAGS:-}
fi
protocol=$(header Eval)
[ -z "$protocol" ] || "$cleave" eval "$protocol" "$run" "$data"

say "report"
"$cleave" report "$run"
