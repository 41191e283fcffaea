# Sourced by tests that kill a command at any moment, with `kills` set to how often: 10 times as often with
# CLEAVE_TORTURE=1, of the release build. Goes into a scratch folder with a tiny data set in `data`; says which TEST_SEED
# repeats the moments.
set -u

cleave=${CLEAVE:-$PWD/build/cleave}
if [ -n "${CLEAVE_TORTURE:-}" ]; then
    kills=$((10 * kills)) cleave=$PWD/build/release/cleave
    unset CLEAVE_TORTURE            # no option of a run
fi
RANDOM=${TEST_SEED:=$((${EPOCHREALTIME/[.,]/} % 32768))}
echo "TEST_SEED=$TEST_SEED"
export OMP_NUM_THREADS=1
home=$(mktemp -d) || exit 1
trap 'rm -rf "$home"' EXIT
sh tests/support/tiny_data.sh "$home/data" && cd "$home" || exit 1

fail() { echo "$*"; [ ! -e log ] || tail -n 5 log; exit 1; }
microseconds() { echo "${EPOCHREALTIME/[.,]/}"; }
pause() { sleep "$(printf '%d.%06d' $(($1 / 1000000)) $(($1 % 1000000)))"; }
