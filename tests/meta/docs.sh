#!/bin/bash
# Links in the documentation lead somewhere, and every subcommand has its section.
set -u
status=0
mapfile -t pages < <(find . \( -path ./build -o -path ./.git -o -path ./runs \) -prune -o -name '*.md' -print | sort)
for page in "${pages[@]}"; do
    while read -r link; do
        [[ $link =~ ^(https?:|mailto:) ]] && continue
        target=${link%%#*} anchor=
        [[ $link != *'#'* ]] || anchor=${link#*#}
        file=$page
        [ -z "$target" ] || file=$(dirname "$page")/$target
        [ -e "$file" ] || { echo "$page: link to '$target' leads nowhere"; status=1; continue; }
        [ -z "$anchor" ] || [ -d "$file" ] || grep '^#' "$file" | sed 's/^#* *//' | tr '[:upper:]' '[:lower:]' |
            tr -cd 'a-z0-9 _\n-' | tr ' ' '-' | grep -qxF -- "$anchor" ||
            { echo "$page: '$file' has no section '#$anchor'"; status=1; }
    done < <(awk '/^```/ { code = !code } !code' "$page" | grep -oE '\]\([^) ]+' | cut -c3-)
done
for source in cli/cmd_*.c; do
    [ -e "$source" ] || continue
    name=${source#cli/cmd_} name=${name%.c} name=${name//_/-}
    [ -e "docs/man/cleave-$name.1" ] || grep -qsE "^(\.S[SH]|#+) .*\bcleave $name\b" docs/man/*.1 "${pages[@]}" ||
        { echo "$source: no section 'cleave $name' in docs/ and no docs/man/cleave-$name.1"; status=1; }
done
exit $status
