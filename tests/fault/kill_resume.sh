#!/bin/bash
# A training run that is killed at any moment and resumed ends with the same bytes as one that was left alone.
kills=5
. tests/support/kill.sh

train() {   # train DIRECTORY [FLAG...]; `exec` so that signals reach it
    exec "$cleave" train data --results-dir "$@" --arch resnet8 --width 4 --mlp --aug glyphs --size 16 --batch-size 16 \
        --bn-splits 2 --moco-dim 16 --moco-k 64 --lr 0.05 --cos --epochs 12 --knn-k 5 --knn-freq 4 --save-freq 5 \
        --save-steps 3 --print-freq 2 --seed 7 --threads 1 >log 2>&1
}
# What a run wrote, without the times in it.
metrics() { sed -E 's!"train/(time_step|time_data|images_per_second)": [^,]*, !!g' "$1/metrics.jsonl"; }
table() { cut -d, -f1-5,7- "$1/log.csv"; }
# previous.h5 is left out where a request to stop added a save of its own: near the end that is the one before the last.
same() {    # same DIRECTORY WHEN [previous.h5]
    local file
    for file in last.h5 ${3-} best.h5 checkpoint_0004.h5 checkpoint_0009.h5 examples.h5; do
        cmp "calm/$file" "$1/$file" || fail "$2: $file differs"
    done
    cmp <(metrics calm) <(metrics "$1") || fail "$2: metrics.jsonl differs"
    cmp <(table calm) <(table "$1") || fail "$2: log.csv differs"
    ! compgen -G "$1/*.tmp-*" >/dev/null || fail "$2: temporary files are left: $(ls "$1")"
}

begin=$(microseconds)
(train calm --dry-run) || fail "a dry run failed"
start_up=$(($(microseconds) - begin))
[ ! -e calm ] || fail "a dry run made the run directory"
begin=$(microseconds)
(train calm) || fail "the undisturbed run failed"
whole=$(($(microseconds) - begin))
[ "$(grep -c '"kind": "epoch"' calm/metrics.jsonl)" = 12 ] || fail "the undisturbed run has not told of 12 epochs"

# Killed again and again, mostly before it is done: the moments reach from the start to a few kills for the whole run.
reach=$((start_up + 3 * whole / kills)) killed=0 finished=0 left=0
while [ $killed -lt $kills ]; do
    train cut --resume auto &
    victim=$!
    pause $(((RANDOM * 32768 + RANDOM) % reach))
    kill -KILL $victim 2>/dev/null
    wait $victim 2>/dev/null
    status=$?
    if [ $status = 137 ]; then
        killed=$((killed + 1))
        ! compgen -G 'cut/*.tmp-*' >/dev/null || left=$((left + 1))
        for file in cut/*.h5; do
            [ ! -e "$file" ] || "$cleave" inspect "$file" >/dev/null || fail "after kill $killed: $file is not whole"
        done
    else
        [ $status = 0 ] || fail "after kill $killed: exit status $status"
        same cut "after kill $killed" previous.h5
        finished=$((finished + 1))
        rm -r cut
    fi
done
(train cut --resume auto) || fail "the last part failed"
same cut "after the last kill" previous.h5
echo "$killed kills, $left of them while a file was written; $((finished + 1)) runs came to their end"

# A request to stop: status 130, a whole checkpoint, and the same end. One that comes before the first step or after the
# last meets no training, so it is tried until one hits.
for attempt in $(seq 20); do
    rm -rf stopped
    train stopped &
    victim=$!
    pause $((start_up + (RANDOM * 32768 + RANDOM) % whole))
    kill -TERM $victim 2>/dev/null
    wait $victim
    status=$?
    [ $status = 130 ] && break
    [ $status = 0 ] || [ $status = 143 ] || fail "a request to stop ended with status $status"
done
[ $status = 130 ] || fail "no request to stop met the training"
"$cleave" inspect stopped/last.h5 | grep -q 'checksum right' || fail "a stopped run has no whole checkpoint"
! cmp -s calm/last.h5 stopped/last.h5 || fail "the run was not stopped"
(train stopped --resume auto) || fail "a stopped run does not go on"
same stopped "after a request to stop"
