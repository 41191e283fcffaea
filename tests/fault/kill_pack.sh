#!/bin/bash
# A pack that is killed at any moment and called again ends with the same bytes as one that was left alone, in one file and
# in shards.
kills=5
. tests/support/kill.sh

pack() { exec "$cleave" pack data -o "$@" --format raw --size 200 -j 2 >log 2>&1; }   # `exec` so that signals reach it

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
