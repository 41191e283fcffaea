# turns.sh: programs that answer each line with the seconds of one piece of work, made to take turns so that whatever
# else happens on the machine hits all of them. Read by compare.sh and compare_losses.sh, which set $work, a folder.

# What PyTorch's users are told to set: huge pages, an allocator that keeps its memory, AVX-512.
tuned=(env GLIBC_TUNABLES=glibc.malloc.hugetlb=1 MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_THRESHOLD_=17179869184
       MALLOC_TRIM_THRESHOLD_=17179869184 THP_MEM_ALLOC_ENABLE=1 ATEN_CPU_CAPABILITY=avx512)

# Neither side's defaults: the first two make OpenBLAS take another processor's kernels, the third puts threads to sleep
# between loops, which takes longer than a small loss.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE OMP_WAIT_POLICY

start() {       # start NAME COMMAND...: a program that does its work once for each line
    local name=$1
    shift
    mkfifo "$work/$name.in" "$work/$name.out"
    "$@" <"$work/$name.in" >"$work/$name.out" &
}

turn() {        # turn NAME IN OUT: once, its seconds; not before the threads of the one before have stopped spinning
    sleep 0.1
    echo >&"$2"
    read -r seconds <&"$3" || { echo "$1 stopped without an answer" >&2; return 1; }
    echo "$seconds"
}

# race ROUNDS: the commands in the arrays cleave, torch and torch_tuned in turns; their seconds are then in $work/times.
race() {
    local round a b c a_in a_out b_in b_out c_in c_out
    rm -f "$work"/[abc].in "$work"/[abc].out "$work/times"
    start a "${cleave[@]}"
    start b "${torch[@]}"
    start c "${torch_tuned[@]}"
    exec {a_in}>"$work/a.in" {a_out}<"$work/a.out"
    exec {b_in}>"$work/b.in" {b_out}<"$work/b.out"
    exec {c_in}>"$work/c.in" {c_out}<"$work/c.out"
    for round in $(seq -2 "$1"); do         # rounds below 1 warm up
        a=$(turn cleave "$a_in" "$a_out")
        b=$(turn torch "$b_in" "$b_out")
        c=$(turn torch-tuned "$c_in" "$c_out")
        [ "$round" -lt 1 ] || echo "$a $b $c" >>"$work/times"
    done
    exec {a_in}>&- {b_in}>&- {c_in}>&- {a_out}<&- {b_out}<&- {c_out}<&-
    wait
}

summary() {     # summary COLUMN: median, smallest, largest
    awk -v c="$1" '{print $c}' "$work/times" | sort -n |
        awk '{t[NR] = $1} END {m = NR % 2 ? t[(NR + 1) / 2] : (t[NR / 2] + t[NR / 2 + 1]) / 2; print m, t[1], t[NR]}'
}

# results LABEL: a line for each program: median, smallest and largest time; PyTorch's median over ours.
results() {
    local name median min max ours ratio column=1
    for name in cleave torch torch-tuned; do
        read -r median min max <<<"$(summary $column)"
        [ $column -gt 1 ] || ours=$median
        ratio=$(awk -v a="$median" -v b="$ours" -v c=$column 'BEGIN {if (c > 1) printf "%.2f", a / b}')
        printf '%-12s %-12s %10.4g %10.4g %10.4g %8s\n' "$1" "$name" "$median" "$min" "$max" "$ratio"
        column=$((column + 1))
    done
}

header() {
    printf '%-12s %-12s %10s %10s %10s %8s\n' '' '' 'median s' 'min s' 'max s' 'ratio'
}
