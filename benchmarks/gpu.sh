#!/usr/bin/env bash
# Everything that waits for a GPU, the most valuable first. Each step has a time limit and goes on where it stopped:
# what has a result already is not measured again (remove the file to do so).
#
#   benchmarks/gpu.sh                 # all steps
#   benchmarks/gpu.sh train 1200      # one step, with its limit in seconds
#   DRY_RUN=1 benchmarks/gpu.sh inference 120   # on the CPU at small sizes, into exp/bench/dry: does it run at all?
#
# Before `train`: manifests of the training speech (egs/pretrained/prepare.sh).
# Results: exp/pretrained (checkpoints, metrics), exp/bench/gpu (JSON); then
#   python benchmarks/speed.py --write docs/speed.md exp/bench/cpu/*.json exp/bench/gpu/speed_*.json
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
PYTHON=${PYTHON:-python}
if [[ -n ${DRY_RUN:-} ]]; then
  out=exp/bench/dry device=cpu small=1
  export ACCELERATE_USE_CPU=true
else
  out=exp/bench/gpu device=cuda small=
fi
mkdir -p "$out"

# once FILE SECONDS COMMAND... : unless FILE is there, run it with FILE as its output, for at most so many seconds.
once() {
  local file=$1 limit=$2
  shift 2
  [[ -e $file ]] && { echo "$file: there already"; return; }
  timeout "$limit" "$@" -o "$file" || echo "$file: no result (exit $?): $*" >&2
}

# Training of the model to ship: resumable, a checkpoint every 1,000 steps and at the end of the time.
train() {
  local minutes
  minutes=$(awk "BEGIN { m = ($1 - 60) / 60; print (m > 0.2 ? m : 0.2) }") # leaves a minute for start and checkpoint
  mkdir -p exp/pretrained
  local run=(recipes/train.py --config egs/pretrained/conf/simvq_24khz_0.9kbps_gpu.yaml --resume --minutes "$minutes")
  [[ $small ]] && run=(recipes/train.py --config egs/mini/conf/tiny.yaml --resume --minutes 0.2 "output=$out/train")
  timeout "$1" "$PYTHON" "${run[@]}" 2>&1 | tee -a "$out/train.log"
}

# Audio-seconds a second of a training step in bf16: reference and better at 32 x 1 s and 3 s, beside the published step.
throughput() {
  local crop name batch=32 steps=20 part=$(($1 / 8)) settings=(training.mixed_precision=bf16)
  local conf=egs/libritts/conf twin=egs/libritts/conf/reference/simvq_4k.yaml
  if [[ $small ]]; then
    batch=1 steps=1 settings=(model.preset=tiny training.mixed_precision=no)
    conf=$out/conf twin=$out/conf/reference/simvq_4k.yaml
    mkdir -p "$out/conf/reference" "$out/conf/better"
    for name in reference better; do cp egs/mini/conf/tiny.yaml "$conf/$name/simvq_4k.yaml"; done
  fi
  for crop in 3 1; do
    [[ $small ]] && crop=0.$crop
    for name in better reference; do
      once "$out/train_${name}_${crop}s.json" "$part" "$PYTHON" benchmarks/train_step.py --batch "$batch" \
        --config "$conf/$name/simvq_4k.yaml" --twin "$twin" --crop-s "$crop" --steps "$steps" "${settings[@]}"
      once "$out/train_${name}_${crop}s_compiled.json" "$part" "$PYTHON" benchmarks/train_step.py --batch "$batch" \
        --config "$conf/$name/simvq_4k.yaml" --crop-s "$crop" --steps "$steps" "${settings[@]}" training.compile=true
    done
  done
}

# Times real time of encoding, decoding and both: one file of 10 s and 64 in a batch, beside the twin; in both precisions.
inference() {
  local dtype batch sizes=(--size reference) batches=(1 64) seconds=10 runs=15 part=$(($1 / 4))
  [[ $small ]] && sizes=(--size tiny) batches=(1 2) seconds=0.5 runs=1
  for dtype in bfloat16 float32; do
    for batch in "${batches[@]}"; do
      once "$out/speed_${dtype}_$batch.json" "$part" "$PYTHON" benchmarks/speed.py --device "$device" --dtype "$dtype" \
        "${sizes[@]}" --batch "$batch" --seconds "$seconds" --runs "$runs" --speech egs/mini/corpus \
        --stage round_trip --stage encode --stage decode
    done
  done
}

# The code search: against the matrix rate at K = 262,144, N = 4,500; tokens against plain float32; training pass; tiles.
search() {
  local part=$(($1 / 3)) sizes=(--device "$device") many=1000000
  [[ $small ]] && sizes+=(--codebook 64 --width 8 --runs 1) many=100
  once "$out/search.json" "$part" "$PYTHON" benchmarks/search.py "${sizes[@]}" --latents 4500
  once "$out/search_equality.json" "$part" "$PYTHON" benchmarks/search.py "${sizes[@]}" --equality "$many"
  once "$out/search_training.json" "$part" "$PYTHON" benchmarks/search.py "${sizes[@]}" --training --latents 4500
  once "$out/search_tiles.json" "$part" "$PYTHON" benchmarks/search.py "${sizes[@]}" --latents 4500 --tune
}

# The tests, which take the device that they find.
tests() {
  local files=(tests/quantizers tests/inference tests/training tests/test_model.py)
  [[ $small ]] && files=(tests/inference)
  timeout "$1" "$PYTHON" -m pytest -q "${files[@]}" 2>&1 | tee "$out/tests.log"
}

if (($#)); then
  case $1 in
    train | throughput | inference | search | tests) "$1" "${2:-600}" ;;
    *) echo "error: unknown step $1; steps are train, throughput, inference, search, tests" >&2; exit 2 ;;
  esac
else
  train 1200
  search 120
  inference 120
  throughput 300
  tests 60
fi
