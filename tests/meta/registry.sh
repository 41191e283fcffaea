#!/bin/bash
# Every entry of every registry has its source file and its place in the documentation; a loss has its golden file, too.
#   source  AREA/NAME.c or AREA/KIND_NAME.c, or in a folder of AREA for its kind (train/methods); except for losses,
#           families may share a file that defines clvi_KIND_NAME
#   docs    docs/AREA/NAME.md; except for losses, a heading that names it in docs/*.md or docs/AREA/*.md will do
set -u
status=0 entries=0
complain() { echo "$1: $2"; status=1; }

for registry in losses memorybank augment backbones data train; do
    [ -e $registry/registry.def ] || complain $registry "has no registry.def"
done
for registry in */registry.def; do
    area=${registry%/registry.def}
    while IFS='(' read -r macro name; do
        entries=$((entries + 1))
        name=${name%)}
        what="$registry: $macro($name)"

        kind=${macro##*_} place=$area
        [ ! -d "$area/${kind,,}s" ] || place=$area/${kind,,}s
        compgen -G "$place/$name.c" >/dev/null || compgen -G "$place/*_$name.c" >/dev/null || { [ "$area" != losses ] &&
            grep -qE "clvi_([a-z0-9_]*_)?$name *= *\{|^[A-Z][A-Z0-9_]*\($name\b" "$place"/*.c; } ||
            complain "$what" "no source file in $place/"

        title=${name//_/[-_ ]}
        [ -e "docs/$area/$name.md" ] || { [ "$area" != losses ] &&
            grep -qisE "^#+ (.*[^a-z0-9])?$title([^a-z0-9]|$)" docs/*.md docs/"$area"/*.md; } ||
            complain "$what" "no page docs/$area/$name.md and no section named so in docs/*.md"

        [ "$area" != losses ] || compgen -G "tests/golden/losses/$name*.h5" >/dev/null ||
            complain "$what" "no golden file tests/golden/losses/$name*.h5"
    done < <(grep -oE '^[ \t]*CLVI?_[A-Z]+\([a-z0-9_]+\)' "$registry" | tr -d ' \t')
done
[ $entries -gt 0 ] || complain registry "no entries found"
exit $status
