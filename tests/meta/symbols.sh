#!/bin/bash
# The shared library exports clv_* and nothing else, and the library neither prints, exits, aborts, installs signal
# handlers nor calls a function that cannot be used safely.
set -u
build=${BUILD:-build/release}
status=0

library=$(find "$build" -maxdepth 1 -name 'libcleave.so.*' | head -n 1)
[ -n "$library" ] || { echo "no shared library in $build"; exit 1; }
exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }')
[ -n "$exported" ] || { echo "$library exports nothing"; exit 1; }
foreign=$(grep -v '^clv_[a-z0-9_]*$' <<<"$exported")
[ -z "$foreign" ] || { echo "$library exports what is not clv_*:"; echo "$foreign"; status=1; }

# The static library keeps to its own names, too: everything shares one name space in the program that links it.
foreign=$(nm -g --defined-only --format=posix "$build/libcleave.a" | awk '$1 !~ /^clvi?_|:$/ { print $1 }' |
    sort -u)
[ -z "$foreign" ] || { echo "$build/libcleave.a defines what is neither clv_* nor clvi_*:"; echo "$foreign"; status=1; }

# A public function that is declared but not there fails only in the program of a user: look here instead.
declared=$(cat include/cleave/*.h | "${CC:-gcc}" -w -x c -fpreprocessed -dD -E -P - |
    tr '\n' ' ' | grep -o 'CLV_API [^;{}]*' | grep -o '\bclv_[a-z0-9_]* *(' | tr -d ' (' | sort -u)
[ -n "$declared" ] || { echo "no declarations found in include/cleave"; exit 1; }
absent=$(comm -23 <(echo "$declared") <(sort -u <<<"$exported"))
[ -z "$absent" ] || { echo "declared in include/cleave but not defined:"; echo "$absent"; status=1; }

banned='exit _exit _Exit quick_exit abort __assert_fail printf vprintf puts putchar perror stdout stderr stdin
    __printf_chk __vprintf_chk rand srand random srandom rand_r drand48 srand48 lrand48 strcpy stpcpy strcat sprintf
    vsprintf gets strtok atoi atol atof signal sigaction sigprocmask raise kill system popen fork alloca setlocale'
# Exceptions, as "file:symbol". A hostile HDF5 file is parsed in a child process, which has to be started, must end
# without the parent's exit handlers and must die of its crash, and which is killed when it takes too long.
allowed='isolate:fork isolate:_exit isolate:signal isolate:kill'

pattern=$(echo $banned | tr ' ' '|')
report() {  # report FILE:SYMBOL...
    for use; do
        case " $allowed " in *" $use "*) ;; *) echo "${use%:*} uses ${use#*:}"; status=1 ;; esac
    done
}
report $(nm -A -u --format=posix "$build/libcleave.a" | sed 's/.*\[\(.*\)\.o\]: /\1 /; s/@[^ ]*//' |
    awk -v p="^($pattern)$" '$2 ~ p { print $1 ":" $2 }' | sort -u)

# The compiler replaces some calls, such as strcpy of a constant: the sources are read, too, without their comments.
for source in $(find runtime losses memorybank augment backbones data train eval -name '*.[ch]'); do
    stem=${source##*/}
    report $("${CC:-gcc}" -w -x c -fpreprocessed -dD -E -P "$source" |
        grep -oE "(^|[^A-Za-z0-9_.>])($pattern|assert) *\(" |
        sed "s/^[^A-Za-z_]//; s/ *(\$//; s/^/${stem%.*}:/" | sort -u)
done
exit $status
