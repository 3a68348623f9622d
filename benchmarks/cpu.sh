#!/usr/bin/env bash
# All rows of the table in docs/speed.md, a quarter of an hour on two cores that nothing else uses; then the table anew.
#
#   benchmarks/cpu.sh                  # what has a result in exp/bench/cpu is not measured again
#   OUT=exp/bench/mine THREADS=8 benchmarks/cpu.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
PYTHON=${PYTHON:-$(command -v python3 || command -v python)}
OUT=${OUT:-exp/bench/cpu} THREADS=${THREADS:-2}
mkdir -p "$OUT"

# rows NAME OPTIONS...: the table has the files in the order of their names.
rows() {
  local file=$OUT/$1.json
  shift
  [[ -e $file ]] && { echo "$file: there already"; return; }
  "$PYTHON" benchmarks/speed.py --device cpu --speech egs/mini/corpus -o "$file.part" "$@"
  mv "$file.part" "$file"  # whole, or measured again
}

all=(--threads "$THREADS")
both=("${all[@]}")
[[ $THREADS == 1 ]] || both=(--threads 1 "${all[@]}")
ten=(--size reference --seconds 10 --batch 1)
rows 1_large --stage encode --stage search "${ten[@]}" --codebook 262144 "${all[@]}" --runs 9
rows 2_float32 --stage encode --stage decode --stage round_trip "${ten[@]}" --codebook 4096 "${both[@]}" --runs 9
rows 3_bfloat16 --stage decode --stage round_trip "${ten[@]}" --codebook 4096 "${both[@]}" --runs 9 --dtype bfloat16
rows 4_batch --stage round_trip --size reference --seconds 3 --batch 8 --codebook 4096 "${all[@]}"
rows 5_short --stage encode --stage round_trip --size reference --seconds 1 --batch 1 --codebook 4096 "${all[@]}" --runs 15
rows 6_long --stage encode --stage round_trip --size reference --seconds 30 --batch 1 --codebook 4096 "${all[@]}"
rows 7_tiny --stage encode --stage decode --size tiny --seconds 10 --batch 1 --codebook 4096 "${all[@]}" --runs 15
rows 8_train --stage train_step --size tiny --size reference --seconds 1 --batch 2 --codebook 4096 "${all[@]}"
rows 9_train_large --stage train_step --size tiny --seconds 1 --batch 2 --codebook 262144 "${all[@]}"
shopt -s nullglob
"$PYTHON" benchmarks/speed.py --write docs/speed.md "$OUT"/[1-9]_*.json exp/bench/gpu/speed_*.json
