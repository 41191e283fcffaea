#!/bin/sh
# Every backbone of the registry can be planned: `cleave train --dry-run --arch NAME` describes it, exits with 0 and
# writes nothing. All are planned narrow: it is their form that counts.
set -u
source=$PWD
cleave=${CLEAVE:-build/cleave}
case $cleave in /*) ;; *) cleave=$source/$cleave ;; esac
[ -x "$cleave" ] || { echo "there is no command at $cleave"; exit 1; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
sh tests/support/tiny_data.sh "$work/data"
cd "$work" || exit 1

status=0
fail() { echo "$*"; status=1; }
names=$(sed -n 's/^CLV_BACKBONE(\(.*\))$/\1/p' "$source/backbones/registry.def")
[ -n "$names" ] || fail 'the registry is empty'
for name in $names; do
    case $name in vit_*) width=48 ;; *) width=8 ;; esac         # twelve heads
    "$cleave" train data --arch "$name" --width $width --size 32 --batch-size 4 --moco-k 64 --dry-run >plan 2>error ||
        fail "$name: exit status $?: $(cat error)"
    grep -q '^query encoder: ' plan || fail "$name: the plan does not describe the encoder"
    [ ! -e runs ] || fail "$name: a dry run wrote something"
done
"$cleave" train data --arch vit_small --size 40 --batch-size 4 --moco-k 64 --dry-run 2>error >plan
[ $? = 1 ] || fail 'patches do not fit: no error'
grep -q 'vit: pictures of 40x40 pixels cannot be cut into patches of 16x16' error || fail "patches: $(cat error)"
"$cleave" train data --arch vit_small --stem cifar --batch-size 4 --moco-k 64 --dry-run 2>error >plan
[ $? = 2 ] && grep -q 'stem cannot act: the backbone vit_small has no such option' error || fail "stem: $(cat error)"
exit $status
