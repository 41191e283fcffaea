#!/bin/bash
# Every public header stands alone, as C11 and as C++, without a warning, and says of every function what it does.
set -u
status=0
cxx=$(command -v g++ || command -v c++)
for header in include/cleave/*.h; do
    name=${header#include/}
    printf '#include <%s>\n#include <%s>\nint main(void) { return 0; }\n' "$name" "$name" >"$TMPDIR/alone.c"
    "${CC:-gcc}" -std=c11 -Wall -Wextra -Wpedantic -Wstrict-prototypes -Wundef -Werror -fsyntax-only -Iinclude \
        "$TMPDIR/alone.c" || { echo "$header is not plain C11"; status=1; }
    [ -z "$cxx" ] || "$cxx" -x c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only -Iinclude "$TMPDIR/alone.c" ||
        { echo "$header is not C++"; status=1; }
done
[ -n "$cxx" ] || echo "no C++ compiler: headers were not tried as C++"

# A comment covers the declarations that follow it without an empty line.
awk '
    FNR == 1           { covered = 0; inside = 0 }
    inside             { if (/\*\//) { inside = 0; covered = 1 } next }
    /^[ \t]*\/\*/      { if (/\*\//) covered = 1; else inside = 1; next }
    /^[ \t]*$/         { covered = 0 }
    /^CLV_API/ && !covered { printf "%s:%d: no comment before %s\n", FILENAME, FNR, $0; bad = 1 }
    END { exit bad }' include/cleave/*.h || status=1
exit $status
