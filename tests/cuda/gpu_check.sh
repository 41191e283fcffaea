#!/bin/bash
# Checks and times the CUDA backend on a machine with a GPU, in less than ten minutes. Works in the sources after a build
# (`make gpu-check`) and in a bundle (`./gpu-check`), which needs a driver and CUDA's libraries and nothing else.
#   gpu_check.sh [--device cuda:N] [--python PROGRAM] [--log FOLDER] [--rehearse]
# PROGRAM is a Python with PyTorch to compare with (python3). Everything that was printed goes to FOLDER (gpu-check.log, in
# the sources build/gpu-check.log), the table at the end also into docs/gpu-results.md. --rehearse needs no GPU: what can be is run on the processor, the
# emulator of kernels included, with small sizes; its table goes to FOLDER only.
# Exit status: 0 all is well, 1 something failed, 2 there is no such device or no such option.
set -u
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 2

device=cuda:0 python=${PYTHON:-python3} log='' rehearse=''
while [ $# -gt 0 ]; do
    case $1 in
    --rehearse) rehearse=1; shift; continue ;;
    --device|--python|--log) [ $# -gt 1 ] || { echo "gpu-check: $1 wants a value" >&2; exit 2; } ;;
    *) echo "gpu-check: no option '$1'; there are --device, --python, --log and --rehearse" >&2; exit 2 ;;
    esac
    case $1 in --device) device=$2 ;; --python) python=$2 ;; --log) log=$2 ;; esac
    shift 2
done
if [ -x ./cleave ]; then BUILD=. log=${log:-gpu-check.log}
else BUILD=${BUILD:-build/release} log=${log:-build/gpu-check.log}
fi
cleave=$BUILD/cleave
[ -x "$cleave" ] || { echo "gpu-check: there is no $cleave; \`make gpu-check\` builds it" >&2; exit 2; }
export BUILD CLEAVE_BACKENDS=$PWD/$BUILD
deadline=$((SECONDS + 570))
failures=0
mkdir -p "$log" && log=$(realpath "$log") || exit 2
: >"$log/table"

row() { printf '%s\t%s\n' "$1" "$2" | tee -a "$log/table"; }
fail() { failures=$((failures + 1)); row "$1" "FAILED: $2"; }
# limited SECONDS COMMAND...: never beyond the deadline
limited() {
    local left=$((deadline - SECONDS)) most=$1
    shift
    [ "$left" -gt 5 ] || { echo "out of time"; return 124; }
    timeout -k 5 $((most < left ? most : left)) "$@"
}
value() { sed -n "s/.*[,]$1=\([^,]*\).*/\1/p" "$2" | head -n 1; }      # value NAME FILE: of a bench's line

# ---- what is here ----

# A pip-installed PyTorch brings CUDA's libraries in folders of its own.
find_cuda() {
    local folder
    for folder in "${CUDA_HOME:-/usr/local/cuda}/lib64" /usr/local/cuda/lib64 \
        $("$python" -c 'import nvidia, glob; [print(f) for p in nvidia.__path__ for f in glob.glob(p + "/*/lib")]' 2>/dev/null)
    do
        [ ! -d "$folder" ] || LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
    done
    export LD_LIBRARY_PATH
}

has_torch() { "$python" -c "import torch; assert '$rehearse' or torch.cuda.is_available()" 2>/dev/null; }

look_around() {
    local line
    if [ -n "$rehearse" ]; then
        device=cpu
        row device "none: a rehearsal on the processor"
    else
        line=$("$cleave" devices | sed -n "s/^$device *//p")
        [ -n "$line" ] || line=$("$cleave" devices | sed -n 's/^cuda[^ ]* *//p' | head -n 1)
        case $line in
        '')                 echo "gpu-check: $device: this build has no GPU backend" >&2; exit 2 ;;
        'not available: '*) echo "gpu-check: $device: ${line#not available: }" >&2; exit 2 ;;
        esac
        export CLEAVE_TEST_DEVICE=$device CLEAVE_CACHE_DIR=$log/cache
        row device "$line"
        row driver "$(nvidia-smi --query-gpu=driver_version,clocks.max.sm --format=csv,noheader 2>/dev/null || echo '?')"
    fi
    row cleave "$("$cleave" version | head -n 1), commit $(commit)"
}

commit() { cat COMMIT 2>/dev/null || git rev-parse --short HEAD 2>/dev/null || echo '?'; }

# ---- right ----

# The device as cuDNN describes it, against the description that plans are made for without one.
device_record() {
    local record=$log/deviceprop.json
    rm -f "$record"
    CLEAVE_DEVICE_RECORD=$record limited 120 "$BUILD/tests/cuda/test_plans" >"$log/plans" 2>&1
    case $? in
    0)  ;;
    77) row "device record" "skipped: $(tail -n 1 "$log/plans")"; return ;;
    *)  fail "device record" "see $log/plans"; return ;;
    esac
    one_key_a_line() { tr -d ' \n' <"$1" | sed 's/[{}]//g; s/,"/\n"/g' | sort; }
    if diff <(one_key_a_line tests/cuda/h100_deviceprop.json) <(one_key_a_line "$record") >"$log/deviceprop.diff"
    then row "device record" "as in tests/cuda/h100_deviceprop.json"
    else row "device record" "differs in $(grep -c '^>' "$log/deviceprop.diff") keys, see $log/deviceprop.diff"
    fi
}

conformance() {
    local name what
    local programs='flat graph optimizers rows kernels augment losses eval network training repeat steps views'
    [ -z "$rehearse" ] || programs='flat graph optimizers rows'
    rm -f "$log/classes"
    for name in $programs; do
        if CLEAVE_TEST_CLASSES=$log/classes \
            limited 200 bash tests/run.sh -j 1 -t 200 "$BUILD/tests/cuda/test_$name" >"$log/test_$name" 2>&1
        then row "test_$name" "$(sed -n 's/^\(passed\|skipped\) *\([0-9.]* s\).*/\1, \2/p' "$log/test_$name")"
        else fail "test_$name" "see $log/test_$name"
        fi
    done
    [ ! -e "$log/classes" ] || while IFS=$'\t' read -r name what; do row "kernels, $name" "$what"; done <"$log/classes"
}

# sanitize TOOL NAME COMMAND...: launch by launch; in a rehearsal without the tool
sanitize() {
    local tool=$1 name=$2 file=$log/$1_${2// /_} watch
    shift 2
    watch="compute-sanitizer --tool $tool --error-exitcode 9"
    case $tool in racecheck|synccheck) watch="$watch --kernel-name kernel_substring=clvi_" ;; esac
    [ -z "$rehearse" ] || watch=''
    [ "$1" != "$cleave" ] || watch="env -u CLEAVE_TEST_DEVICE -u CLEAVE_TEST_SMALL $watch"
    # shellcheck disable=SC2086 # words
    if CLEAVE_TEST_SMALL=1 CLEAVE_GRAPH=0 limited 60 $watch "$@" >"$file" 2>&1
    then row "compute-sanitizer $tool, $name" "$(grep -o 'ERROR SUMMARY: .*\|RACECHECK SUMMARY: .*' "$file" | tail -n 1)"
    else fail "compute-sanitizer $tool, $name" "see $file"
    fi
}

sanitizers() {
    local tool
    if [ -z "$rehearse" ]; then
        command -v compute-sanitizer >/dev/null || { row compute-sanitizer "skipped: it is not on PATH"; return; }
        for tool in memcheck racecheck initcheck synccheck; do sanitize $tool kernels "$BUILD/tests/cuda/test_kernels"; done
    fi
    for tool in memcheck racecheck; do
        rm -rf "$log/checked"
        sanitize $tool "a training step" "$cleave" train recipes/moco-glyphs.yaml recipes/data/glyphs.h5 \
            --device "$device" --results-dir "$log/checked" --stop-epoch 1 --knn-freq 0 --batch-size 1024 --width 4 --size 8
    done
}

# ---- fast ----

# The operations of a step that take the most time, with what they must move at least as a share of a copy's rate.
families() { awk -v copy="${copy_rate:-0}" '/^operation/ { on = 1; next }
                  on && $1 != "step" { rate = $2 == "-" ? "-" : $7 " GB/s"
                                       if ($2 != "-" && copy > 0) rate = rate sprintf(", %.0f %%", 100 * $7 / copy)
                                       printf "%s%s %s (%s)", n++ ? ", " : "", $1, $5, rate }
                  n == 8 { exit }' "$1"; }

# Kernels that only move memory, against a pass that reads and writes once; InfoNCE against its time, and that against what
# its bytes take at a copy's rate and its operations at the most an H100's data sheet (SXM, dense) gives them.
bandwidth() {
    local file=$log/cleave_device small=''
    [ -z "$rehearse" ] || small=--small
    # shellcheck disable=SC2086 # words
    if ! limited 90 "$BUILD/bench/bench_device" --device "$device" $small >"$file" 2>&1; then
        fail "memory rates" "$(tail -n 1 "$file")"
        return
    fi
    copy_rate=$(awk -F '[,=]' '$1 == "copy" { printf "%.1f", 1e-9 * $5 / $3 }' "$file")
    while IFS=$'\t' read -r what figure; do row "$what" "$figure"; done < <(awk -F '[,=]' -v copy="$copy_rate" '
        { us = 1e6 * $3; rate = 1e-9 * $5 / $3; met = rate >= 0.85 * copy ? "" : "; NOT MET" }
        $1 == "copy" { printf "copy\t%.1f us, %.1f GB/s\n", us, rate; next }
        /^InfoNCE/ { bytes = 1e-3 * $5 / copy; tflops = $1 ~ /float32$/ ? 67 : $1 ~ /TF32$/ ? 495 : 989
                     flops = 1e-6 * $7 / tflops
                     met = us <= 100 ? "" : flops > 100 ? "; no GPU of 67 TFLOP/s can" : "; NOT MET"
                     printf "%s\t%.1f us (floors: %.1f of its bytes, %.1f of its operations; goal: 100 us at most%s)\n",
                         $1, us, bytes, flops, met; next }
        { printf "%s\t%.1f us, %.1f GB/s, %.0f %% of a copy (goal: 85 %% at least%s)\n", $1, us, rate, 100 * rate / copy,
              met }' "$file")
}

# ours NAME PROGRAM ARGUMENT...: prints images a second, "" if it failed
ours() {
    local name=$1 file=$log/cleave_${1//[ ,]/_} program=$2 batch
    shift 2
    if ! limited 90 "$BUILD/bench/$program" --device "$device" "$@" >"$file" 2>&1; then
        fail "$name" "$(tail -n 1 "$file")"
        return 1
    fi
    batch=$(value batch "$file")
    speed=$(awk -v b="$batch" -v s="$(value median_s "$file")" 'BEGIN { printf "%.0f", b / s }')
    row "$name" "$(value median_s "$file") s a step, $speed images/s"
    ! grep -q '^operation' "$file" || row "$name, where the time goes" "$(families "$file")"
}

# theirs NAME PROGRAM ARGUMENT...: PyTorch, and our speed over its
theirs() {
    local name=$1 file=$log/torch_${1//[ ,]/_} program=$2 other
    shift 2
    [ -n "$torch" ] || return 0
    if ! limited 150 "$python" "bench/peers/$program" --device "$device" "$@" >"$file" 2>&1; then
        fail "$name" "$(tail -n 1 "$file")"
        return
    fi
    other=$(awk -v b="$(value batch "$file")" -v s="$(value median_s "$file")" 'BEGIN { printf "%.0f", b / s }')
    row "$name" "$other images/s; Cleave's is $(awk -v a="$speed" -v b="$other" 'BEGIN { printf "%.2f", a / b }') of it"
}

# race NAME PROGRAM PEER ARGUMENT...: a step by Cleave and by PyTorch, in strict float32, with TF32 (PyTorch as it comes:
# its convolutions only), and in bfloat16, PyTorch at its best
race() {
    local name=$1 program=$2 peer=$3 speed=0
    shift 3
    CLEAVE_GRAPH=0 ours "Cleave, $name, launch by launch" "$program" "$@" || return 0
    local launched=$speed
    ours "Cleave, $name" "$program" "$@" || return 0
    row "Cleave, $name, recorded" "$(awk -v a="$speed" -v b="$launched" \
        'BEGIN { met = a >= b ? "" : "; NOT MET"; printf "%.2f times as fast as launch by launch (goal: 1.00 at least%s)", a / b, met }')"
    theirs "PyTorch, $name, strict float32" "$peer" "$@"
    [ -z "$rehearse" ] || return 0
    ours "Cleave, $name, TF32" "$program" "$@" --precision tf32 || return 0
    theirs "PyTorch, $name, as it comes (convolutions in TF32)" "$peer" "$@" --precision tf32
    ours "Cleave, $name, bf16" "$program" "$@" --precision bf16 || return 0
    theirs "PyTorch, $name, bf16 channels-last" "$peer" "$@" --precision bf16 --channels-last
    theirs "PyTorch, $name, bf16 channels-last compiled" "$peer" "$@" --precision bf16 --channels-last --compile
    ours "Cleave, $name, bf16, cudnn-benchmark" "$program" "$@" --precision bf16 --cudnn-benchmark
}

# Training on pictures that need no decoding, whose views the processor makes, and the device: its second epoch.
views() {
    local where all='cpu gpu' count=25600 data=$log/pictures run file small=''
    [ -z "$rehearse" ] || { all=cpu count=16 small='--arch resnet8 --width 4 --moco-k 16 --batch-size 4 --workers 1'; }
    mkdir -p "$data" && truncate -s $((3073 * count)) "$data/data_batch_1.bin"       # as CIFAR-10 has them, and black
    for where in $all; do
        run=$log/views-$where file=$log/cleave_views_$where
        rm -rf "$run"
        # shellcheck disable=SC2086 # words
        if limited 60 env -u CLEAVE_TEST_DEVICE "$cleave" train --data "$data" --results-dir "$run" \
            --device "$device" --aug moco-cifar --aug-device $where --arch resnet18 --stem cifar --moco-k 4096 \
            --batch-size 512 --workers 16 --epochs 2 \
            --knn-freq 0 --print-freq 1000 $small >"$file" 2>&1
        then row "Cleave, MoCo ResNet-18 CIFAR training, views by the $where" \
            "$(sed -n 's/.*"train\/images_per_second": \([0-9]*\).*/\1/p' "$run/metrics.jsonl" | tail -n 1) images/s"
        else fail "training, views by the $where" "$(tail -n 1 "$file")"
        fi
    done
}

# trained NAME EPOCHS ARGUMENT...: images a second in the last epoch of a run, "" if it failed
trained() {
    local name=$1 epochs=$2 file=$log/cleave_${1//[ ,]/_}
    shift 2
    rm -rf "$log/trained"
    if ! limited 60 env -u CLEAVE_TEST_DEVICE "$cleave" train recipes/moco-glyphs.yaml recipes/data/glyphs.h5 \
        --device "$device" --knn-freq 0 --results-dir "$log/trained" --stop-epoch "$epochs" --print-freq 1000 "$@" >"$file" 2>&1; then
        fail "$name" "$(tail -n 1 "$file")"
        return 1
    fi
    speed=$(sed -n "s/^Epoch: \[$epochs\/.* \([0-9]*\) img\/s.*/\1/p" "$file")
    row "$name" "$speed images/s"
}

# whole_step NAME EPOCHS ARGUMENT...: all that training gives a device, from the batch to the bank, as one launch and piece
# by piece
whole_step() {
    local name=$1 speed=0 launched
    shift
    CLEAVE_GRAPH=0 trained "$name, launch by launch" "$@" || return 0
    launched=$speed
    trained "$name" "$@" || return 0
    row "$name, recorded" "$(awk -v a="$speed" -v b="$launched" \
        'BEGIN { met = a >= b ? "" : "; NOT MET"
                 printf "%.2f times as fast as launch by launch (goal: 1.00 at least%s)", a / b, met }')"
}

timings() {
    local torch='' copy_rate=''
    if has_torch; then
        torch=1
        row torch "$("$python" -c 'import torch; print(torch.__version__)')"
        [ -n "$rehearse" ] || row ceilings "$(limited 60 "$python" bench/peers/torch_ceilings.py 2>&1 | tail -n 1)"
    else
        row PyTorch "skipped: '$python' has none that sees the device"
    fi
    if [ -n "$rehearse" ]; then
        local small='--backbone resnet20 --batch 2 --size 16 --threads 1'
        bandwidth
        # shellcheck disable=SC2086 # words
        profile "ResNet-20 step" $small
        # shellcheck disable=SC2086
        race "ResNet-20 step" bench_step torch_step.py $small --steps 1
        # shellcheck disable=SC2086
        race "MoCo v2 ResNet-20 step" bench_moco torch_moco.py $small --queue 16 --steps 1
        views
        whole_step "Training on glyphs" 1 --batch-size 256 --width 4 --size 8
        whole_step "Training on glyphs, 4 parts" 1 --batch-size 256 --width 4 --size 8 --micro-batch-size 64 --bn-splits 4
        return
    fi
    bandwidth
    profile "ResNet-50 step" --backbone resnet50 --stem imagenet --size 224 --batch 128
    profile "ResNet-50 step in bf16" --backbone resnet50 --stem imagenet --size 224 --batch 128 --precision bf16
    race "ResNet-50 step" bench_step torch_step.py --backbone resnet50 --stem imagenet --size 224 --batch 256 --steps 50
    race "MoCo v2 ResNet-50 step" bench_moco torch_moco.py --backbone resnet50 --stem imagenet --size 224 --batch 256 \
        --queue 65536 --steps 50
    whole_step "Training on glyphs" 6
    whole_step "Training on glyphs, 4 parts" 6 --micro-batch-size 32 --bn-splits 4
    profile "ResNet-18 CIFAR step" --batch 512
    race "ResNet-18 CIFAR step" bench_step torch_step.py --batch 512 --steps 50
    views
}

# profile NAME ARGUMENT...
profile() {
    local name=$1 speed
    shift
    ours "Cleave, $name, profiled" bench_step "$@" --steps 3 --profile
}

# ---- the end ----

keep() {
    local file=docs/gpu-results.md name what figure
    [ -z "$rehearse" ] || file=$log/gpu-results.md
    name=$(sed -n 's/^device\t\([^,]*\).*/\1/p' "$log/table")
    while IFS=$'\t' read -r what figure; do
        [ "$what" = device ] || printf '| %s | %s | %s | %s | %s |\n' "$(date -u +%F)" "$name" "$(commit)" "$what" "$figure"
    done <"$log/table" >>"$file"
    echo "appended to $file; all output is in $log/"
}

find_cuda
look_around
device_record
conformance
sanitizers
timings
echo
echo "---- $SECONDS s ----"
awk -F '\t' '{ printf "%-56s %s\n", $1, $2 }' "$log/table"
keep
[ $failures = 0 ] || echo "$failures failed"
[ $failures = 0 ]
