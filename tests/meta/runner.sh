#!/bin/bash
# The runner of the tests tells passed from failed, hung, crashed, skipped and absent, and so do transcripts.
set -u
status=0
cd "$(dirname "$0")/../.." || exit 1
write() { printf '%s\n' "${@:2}" >"$TMPDIR/$1"; }
expect() {  # expect STATUS LAST-LINE TEST...
    local output found=0
    output=$(bash tests/run.sh -t 1 "${@:3}") || found=$?
    [ $found = "$1" ] && [ "$(tail -n 1 <<<"$output")" = "$2" ] && return
    echo "expected status $1 and '$2', found $found and:"
    echo "$output"
    status=1
}
write good.sh 'exit 0'
write fine.sh '[ -d "$TMPDIR" ]'
write bad.sh 'echo shown; exit 3'
write hangs.sh 'sleep 60'
write crashes.sh 'kill -SEGV $$'
write skipped.sh 'echo no such device; exit 77'
cd "$TMPDIR" && ln -s "$OLDPWD/tests" tests || exit 1

expect 0 '2 passed, 0 failed' good.sh fine.sh
expect 1 '1 passed, 3 failed, 1 skipped' bad.sh good.sh hangs.sh crashes.sh skipped.sh
expect 1 '0 passed, 0 failed'
expect 1 '0 passed, 0 failed, 1 skipped' skipped.sh
expect 1 '0 passed, 1 failed' absent.sh
bash tests/run.sh bad.sh | grep -q '^ *shown$' || { echo "the output of a failed test is not shown"; status=1; }

write cleave '#!/bin/sh' 'echo "a [b] 0.5"; echo end; echo warned >&2; exit 2'
chmod +x cleave
export CLEAVE=$TMPDIR/cleave
write exact.case '$ cleave' '| a [b] 0.5' '| end' '! warned' '? 2'
write pattern.case '# text' '$ cleave' '| a ... 0.5' '| ...' '! ...' '? 2' '$ true'
expect 0 '2 passed, 0 failed' exact.case pattern.case
write output.case '$ cleave' '| a [b] 0x5' '| end' '! warned' '? 2'
write silent.case '$ cleave' '! warned' '? 2'
write errors.case '$ cleave' '| ...' '? 2'
write status.case '$ cleave' '| ...' '! ...'
write empty.case '# no command'
write unknown.case '$ true' 'what is this'
expect 1 '0 passed, 6 failed' output.case silent.case errors.case status.case empty.case unknown.case
exit $status
