#!/bin/bash
# Runs on several ranks: going on with another number of ranks, a rank that is killed, one that fails, one that computes
# something else. Skipped where there is no MPI.
set -u

cleave=${CLEAVE:-$PWD/build/release/cleave}
case $cleave in */release/*) ;; *) echo "ranks are started from the release build only"; exit 77 ;; esac
if ! command -v mpirun >/dev/null || [ ! -e "$(dirname "$cleave")/libcleave_mpi.so" ]; then
    echo "no MPI: libcleave_mpi.so was not built, or there is no mpirun"
    exit 77
fi
export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
home=$(mktemp -d) || exit 1
trap 'rm -rf "$home"' EXIT
sh tests/support/tiny_data.sh "$home/data" && cd "$home" || exit 1

fail() { echo "$*"; [ ! -e log ] || tail -n 20 log; exit 1; }
flags=(--arch resnet8 --width 4 --mlp --aug glyphs --size 16 --batch-size 16 --bn-splits 4 --moco-dim 16 --moco-k 64
       --lr 0.05 --cos --epochs 4 --knn-k 5 --print-freq 1 --seed 7 --threads 1)
on() {      # on RANKS DATA DIRECTORY [FLAG...]
    local ranks=$1 data=$2 directory=$3
    shift 3
    local -a start=()
    [ "$ranks" = 1 ] || start=(mpirun --oversubscribe --bind-to none -n "$ranks")
    timeout 60 "${start[@]}" "$cleave" train "$data" --results-dir "$directory" "${flags[@]}" "$@" >log 2>&1
}
losses() { sed -nE 's/.*"total_step": ([0-9]+).*"train\/loss": ([^,]+),.*/\1 \2/p' "$1/metrics.jsonl"; }

# 1 -> 2 -> 4 -> 1 ranks is one run, to the rounding of sums.
on 1 data whole || fail "the run on one rank failed"
on 1 data parts --stop-epoch 1 || fail "the first part failed"
on 2 data parts --stop-epoch 2 --resume auto || fail "going on with two ranks failed"
on 4 data parts --stop-epoch 3 --resume auto || fail "going on with four ranks failed"
on 1 data parts --resume auto || fail "going on with one rank failed"
[ "$(losses whole | wc -l)" = 44 ] || fail "44 lines of losses were expected, there are $(losses whole | wc -l)"
paste <(losses whole) <(losses parts) | awk '
    $1 != $3 || ($2 - $4) / $2 > 1e-4 || ($4 - $2) / $2 > 1e-4 { print "step " $1 ": loss " $2 ", in parts " $4; bad = 1 }
    END { exit bad }' || fail "going on with other numbers of ranks changed the run"

# Batch norm of another number of groups is another run.
flags+=(--bn-splits 1)
on 2 data groups --stop-epoch 1 || fail "a run with a group of batch norm a rank failed"
on 1 data groups --resume auto && fail "going on with other groups of batch norm was not refused"
grep -q "was made with bn-splits '2', this run says '1'" log || fail "the refusal does not say why"
flags+=(--bn-splits 4)

# A killed rank ends all of them, and leaves a checkpoint to go on from.
mpirun --oversubscribe --bind-to none -n 2 "$cleave" train data --results-dir cut "${flags[@]}" --epochs 100000 \
    --knn-freq 100000 --save-steps 2 >log 2>&1 &
job=$!
for i in $(seq 200); do [ -e cut/previous.h5 ] && break; sleep 0.1; done
victim=$(pgrep -P $job -f "results-dir cut" | tail -n 1)
[ -n "$victim" ] || fail "there is no rank to kill"
kill -KILL "$victim"
for i in $(seq 200); do kill -0 $job 2>/dev/null || break; sleep 0.1; done
! kill -0 $job 2>/dev/null || { kill -KILL $job; fail "the other rank goes on alone"; }
wait $job && fail "a killed rank is told as a success"
grep -q 'rank.*signal 9' log || fail "nothing tells of the killed rank"

# Going on with as many ranks makes the undisturbed run, bit for bit, its losses as its checkpoint.
step=$("$cleave" inspect cut/last.h5 | sed -nE 's/^ *total_step: ([0-9]+)$/\1/p')
[ -n "$step" ] || fail "the killed run's checkpoint does not tell its step"
longer=(--epochs 100000 --knn-freq 100000 --save-steps 2 --stop-epoch $((step / 11 + 3)))
cp -r cut mended
on 2 data mended "${longer[@]}" --resume auto || fail "the killed run cannot be gone on with on two ranks"
grep -q "resumed from 'mended/" log || fail "the run on two ranks was not resumed"
on 2 data calm "${longer[@]}" || fail "the undisturbed run on two ranks failed"
cmp <(losses calm) <(losses mended) || fail "after a kill at step $step the losses differ"
cmp calm/last.h5 mended/last.h5 || fail "after a kill at step $step the checkpoints differ"

on 1 data cut --epochs 100000 --knn-freq 100000 --resume auto --stop-epoch 1 --batch-size 16 &
job=$!
sleep 2
kill -TERM $job 2>/dev/null
wait $job
grep -q "resumed from 'cut/last.h5'" log || fail "the killed run cannot be gone on with"

# What one rank cannot do ends all, with its reason.
timeout 60 mpirun --oversubscribe --bind-to none \
    -n 1 "$cleave" train data --results-dir bad "${flags[@]}" : \
    -n 1 "$cleave" train nothing --results-dir bad "${flags[@]}" >log 2>&1 && fail "a rank without data was not noticed"
grep -q "nothing" log || fail "the reason of the rank that failed is not told"
timeout 60 mpirun --oversubscribe --bind-to none \
    -n 1 "$cleave" train data --results-dir bad "${flags[@]}" : \
    -n 1 "$cleave" train data --results-dir bad "${flags[@]}" --seed 8 >log 2>&1 && fail "another seed was not noticed"
grep -q 'rank 1 has other weights than rank 0' log || fail "another network on one rank is not told"
on 3 data bad && fail "three ranks for a batch of 16 were not refused"
grep -q "batch-size 16 is no multiple of 3 ranks" log || fail "the refusal of three ranks does not say why"
exit 0
