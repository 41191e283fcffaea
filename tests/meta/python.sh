#!/bin/bash
# The example in Python holds what docs/losses/README.md shows of it, and its file passes the check. Skipped where there
# is no Python with torch and h5py ($PYTHON says which).
set -u
example=examples/export_from_pytorch.py
awk '/^```python/ { shown = 1; next } /^```/ { shown = 0 } shown' docs/losses/README.md >"$TMPDIR/shown"
[ -s "$TMPDIR/shown" ] || { echo "docs/losses/README.md shows no Python"; exit 1; }
while IFS= read -r line; do
    grep -qxF -- "$line" "$example" || { echo "$example lacks the documented line: $line"; exit 1; }
done <"$TMPDIR/shown"

python=${PYTHON:-python3}
"$python" -c 'import torch, h5py' 2>"$TMPDIR/python.log" || { echo "no $python with torch and h5py"; exit 77; }
root=$PWD
cd "$TMPDIR" || exit 1
"$python" "$root/$example" || exit 1
"$root/${BUILD:-build/release}/cleave" loss check mine.h5 >check.log || { cat check.log; exit 1; }
grep -q '^2 compared, 0 failed$' check.log || { cat check.log; exit 1; }
