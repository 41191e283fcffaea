#!/bin/sh
# Replays a transcript of commands and compares output and exit status with what it says.
#   tests/support/case.sh FILE.case
#
#   # text             a comment
#   $ command          run by sh in a scratch folder; `cleave` is the command under test
#   | text             a line of standard output
#   ! text             a line of standard error
#   ? N                the exit status, when it is not 0
#
# "..." inside an expected line stands for any text; alone on a line, for any number of lines. Everything else must
# match exactly: a command without "|" lines must print nothing. $SOURCE is the root of the sources.
set -u

SOURCE=$PWD
file=$1
cleave=${CLEAVE:-build/cleave}
case $cleave in /*) ;; *) cleave=$SOURCE/$cleave ;; esac
case $file in /*) ;; *) file=$SOURCE/$file ;; esac
[ -x "$cleave" ] || { echo "there is no command at $cleave"; exit 1; }
home=$(mktemp -d) || exit 1
trap 'rm -rf "$home"' EXIT
mkdir "$home/bin" "$home/work"
ln -s "$cleave" "$home/bin/cleave"
PATH=$home/bin:$PATH
export PATH SOURCE
cd "$home/work" || exit 1

# compare WHAT GOT: the expected lines are in $home/want
compare() {
    awk -v got="$2" '
        function pattern(line,   out, n, i, part) {
            if (line == "...") return "(.*\n)?"
            n = split(line, part, /\.\.\./)
            for (i = 1; i <= n; i++) {
                gsub(/[][\\.*+?(){}|^$\/]/, "\\\\&", part[i])
                out = out (i > 1 ? "[^\n]*" : "") part[i]
            }
            return out "\n"
        }
        { want = want pattern($0) }
        END {
            while ((getline line < got) > 0) text = text line "\n"
            exit text !~ ("^" want "$")
        }' "$home/want" && return
    echo "$1 of: $command"
    echo "  expected:"; sed 's/^/    /' "$home/want"
    echo "  found:";    sed 's/^/    /' "$2"
    failures=$((failures + 1))
}

check() {   # runs the command collected so far, if any
    [ -n "$command" ] || return 0
    sh -c "$command" >"$home/stdout" 2>"$home/stderr" </dev/null
    found=$?
    cp "$home/want.stdout" "$home/want"; compare 'standard output' "$home/stdout"
    cp "$home/want.stderr" "$home/want"; compare 'standard error' "$home/stderr"
    if [ "$found" != "$status" ]; then
        echo "exit status of: $command"
        echo "  expected $status, found $found"
        [ "$status" != 0 ] || sed 's/^/    /' "$home/stderr"
        failures=$((failures + 1))
    fi
    count=$((count + 1))
}

command='' count=0 failures=0
while IFS= read -r line || [ -n "$line" ]; do
    text=${line#?} text=${text# }
    case $line in
    '$ '*)       check; command=$text status=0; : >"$home/want.stdout"; : >"$home/want.stderr" ;;
    '| '* | '|') printf '%s\n' "$text" >>"$home/want.stdout" ;;
    '! '* | '!') printf '%s\n' "$text" >>"$home/want.stderr" ;;
    '? '*)       status=$text ;;
    '#'* | '')   ;;
    *)           echo "$file: cannot read this line: $line"; exit 1 ;;
    esac
done <"$file"
check

[ $count -gt 0 ] || { echo "$file: holds no command"; exit 1; }
[ $failures = 0 ]
