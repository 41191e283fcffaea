#!/bin/bash
# A pack that is killed at any moment and called again ends with the same bytes as one that was left alone, in one file and
# in shards. TEST_SEED repeats the moments of an earlier run; CLEAVE_TORTURE=1 kills more often.
set -u

kills=6 cleave=${CLEAVE:-$PWD/build/cleave}
if [ -n "${CLEAVE_TORTURE:-}" ]; then
    kills=50 cleave=$PWD/build/release/cleave
    unset CLEAVE_TORTURE
fi
seed=${TEST_SEED:-$((${EPOCHREALTIME/[.,]/} % 32768))}
RANDOM=$seed
echo "TEST_SEED=$seed"
export OMP_NUM_THREADS=1
home=$(mktemp -d) || exit 1
trap 'rm -rf "$home"' EXIT
sh tests/support/tiny_data.sh "$home/data" && cd "$home" || exit 1

fail() { echo "$*"; [ ! -e log ] || tail -n 5 log; exit 1; }
pack() { exec "$cleave" pack data -o "$@" --format raw --size 200 -j 2 >log 2>&1; }   # `exec` so that signals reach it
microseconds() { echo "${EPOCHREALTIME/[.,]/}"; }
pause() { sleep "$(printf '%d.%06d' $(($1 / 1000000)) $(($1 % 1000000)))"; }

killed=0 resumed=0
for shards in 1 3; do
    mkdir calm cut
    begin=$(microseconds)
    (pack calm/out.h5 --shards $shards) || fail "the undisturbed pack failed"
    whole=$(($(microseconds) - begin))
    for attempt in $(seq $kills); do
        pack cut/out.h5 --shards $shards &
        victim=$!
        pause $(((RANDOM * 32768 + RANDOM) % (whole + 1)))
        kill -KILL $victim 2>/dev/null
        wait $victim 2>/dev/null
        status=$?
        if [ $status = 137 ]; then
            killed=$((killed + 1))
            [ ! -e cut/out.h5 ] || "$cleave" inspect cut/out.h5 --verify >/dev/null 2>&1 || fail "a file that is not whole"
        else
            [ $status = 0 ] || fail "after kill $killed: exit status $status"
        fi
        ! grep -q 'going on after' log || resumed=$((resumed + 1))
    done
    (pack cut/out.h5 --shards $shards) || fail "the last part failed"
    diff -r calm cut || fail "$shards shards: the files differ"
    rm -r calm cut
done
echo "$killed kills, $resumed packs went on"
