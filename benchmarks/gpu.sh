#!/usr/bin/env bash
# Everything that waits for a GPU, the most valuable first. Each step has a time limit and goes on where it stopped.
#
#   benchmarks/gpu.sh                 # all steps
#   benchmarks/gpu.sh train 1200      # one step, with its limit in seconds
#
# Before the first call: manifests of the training speech (egs/pretrained/prepare.sh).
# Results: exp/pretrained (checkpoints, metrics), exp/bench (JSON).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
mkdir -p exp/bench

# Training of the model to ship: resumable, a checkpoint every 1,000 steps and at the end of the time.
train() {
  local minutes
  minutes=$(awk "BEGIN { print ($1 - 60) / 60 }") # leaves a minute for start and last checkpoint
  timeout "$1" python recipes/train.py --config egs/pretrained/conf/simvq_24khz_0.9kbps.yaml --resume \
    --minutes "$minutes" 2>&1 | tee -a exp/pretrained/train.log
}

# Audio-seconds a second of a training step in bf16, reference sizes and those to ship.
throughput() {
  local crop
  for crop in 1 3; do
    timeout "$(($1 / 4))" python benchmarks/train_step.py --config egs/pretrained/conf/simvq_24khz_0.9kbps.yaml \
      --batch 32 --crop-s "$crop" -o "exp/bench/train_small_${crop}s.json"
    timeout "$(($1 / 4))" python benchmarks/train_step.py --config egs/libritts/conf/reference/simvq_4k.yaml \
      --batch 32 --crop-s "$crop" -o "exp/bench/train_reference_${crop}s.json" training.mixed_precision=bf16
  done
}

# The tests, which take the device that they find.
tests() {
  timeout "$1" python -m pytest -q tests/quantizers tests/training tests/test_model.py 2>&1 | tee exp/bench/tests.log
}

if (($#)); then
  case $1 in
    train | throughput | tests) "$1" "${2:-600}" ;;
    *) echo "error: unknown step $1; steps are train, throughput, tests" >&2; exit 2 ;;
  esac
else
  train 1200
  throughput 240
  tests 180
fi
