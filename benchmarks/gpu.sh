#!/usr/bin/env bash
# Everything that waits for a GPU. Each step has a time limit and goes on where it stopped: what has a result already is
# not measured again (remove the file to do so).
#
#   benchmarks/gpu.sh                               # all steps, the most valuable first
#   benchmarks/gpu.sh smoke 150 search 200          # these, each with its limit in seconds
#   DRY_RUN=1 benchmarks/gpu.sh inference 120       # on the CPU at small sizes, into exp/bench/dry: does it run at all?
#   benchmarks/gpu.sh portions /data/speech         # where the speech is: cuts it into pieces for a machine that takes in
#                                                   # little at a time; nothing needs a GPU
#
# Steps: smoke (all paths once at small sizes on the GPU, and its tokens against the processor's: what fails is known before
# it costs), throughput, search, inference, tests, train. `train` takes the speech from exp/pretrained/speech (folders train,
# more, dev), or from the pieces in exp/pretrained/portions once all are there; it times a step in two layouts first and sets
# the number of steps so that all calls of `train` together take TRAIN_S seconds (450).
#
# A call that is killed brings back only what is in OUT by then: results go there after each step, and where OUT is set
# the steps of a call may have 540 seconds together. On a machine that keeps nothing between calls, exp/bench/gpu and
# the run's folder, which git ignores, have to travel with the next call for it to go on from there.
#
# Beyond torch, triton, accelerate, numpy, scipy, pyyaml, safetensors, tensorboard, typer and rich, a machine that reaches
# no registry needs pydantic, pydantic-core, annotated-types, typing-inspection, soundfile, cffi and pycparser; the tests
# pytest and hypothesis. Where the weights that ship stay behind to make room for a piece of speech, a call with them has
# to come first: it copies them to exp/pretrained/start. exp/pretrained/portions.sha256 travels with the pieces.
#
# Results: exp/pretrained (checkpoints, metrics), exp/bench/gpu (JSON, logs, profiles); then
#   benchmarks/cpu.sh    # measures what exp/bench/cpu lacks, and writes the tables of docs/speed.md from both
# Where OUT names a folder, results and the newest model (half precision) also go there, as pieces of 15 MiB:
#   cat results.tar.* | tar x
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export PYTHON=${PYTHON:-$(command -v python3 || command -v python)}
STEPS="smoke throughput search inference tests train"
speech=exp/pretrained/speech portions=exp/pretrained/portions start=exp/pretrained/start
shipped=codec/bundled/simvq-24khz-0.9kbps
model=exp/pretrained/simvq_24khz_0.9kbps_gpu
if [[ -n ${DRY_RUN:-} ]]; then
  out=exp/bench/dry device=cpu small=1 model=exp/bench/dry/train
  export ACCELERATE_USE_CPU=true
else
  out=exp/bench/gpu device=cuda small=
fi
mkdir -p "$out"

# once FILE SECONDS COMMAND... : unless FILE is there, run it with FILE as its output, for at most so many seconds. What
# is cut short leaves what it has in FILE.part.
once() {
  local file=$1 limit=$2
  shift 2
  [[ -e $file ]] && { echo "$file: there already"; return; }
  if timeout -k 15 "$limit" "$@" -o "$file.part"; then
    mv "$file.part" "$file"
  else
    echo "$file: no result (exit $?): $*" >&2
  fi
}

# Every path once, at small sizes, on the device that the others use. A failure here is a line; the other steps still run.
smoke() {
  local part=$(($1 / 5)) folder weights=$start
  folder=$(mktemp -d)
  [[ ! -e $shipped/config.yaml ]] || weights=$shipped
  local tiny=(--batch 2 --steps 1 --crop-s 0.5 --config egs/mini/conf/tiny.yaml --twin egs/mini/conf/tiny.yaml)
  [[ $small ]] || tiny+=(training.mixed_precision=bf16 optimizer.name=muon training.channels_last=true)
  timeout -k 15 "$part" "$PYTHON" benchmarks/train_step.py "${tiny[@]}" --profile "$folder/profile.txt" ||
    echo "smoke: a training step failed (exit $?)" >&2
  # The width of the step `search`: its kernels are then there.
  timeout -k 15 "$part" "$PYTHON" benchmarks/search.py --device "$device" --codebook 4096 --latents 300 --runs 1 ||
    echo "smoke: the search failed (exit $?)" >&2
  for dtype in bfloat16 float32; do
    timeout -k 15 "$part" "$PYTHON" benchmarks/speed.py --device "$device" --dtype "$dtype" --size tiny --batch 1 --batch 2 \
      --seconds 1 --runs 1 --stage round_trip || echo "smoke: inference in $dtype failed (exit $?)" >&2
  done
  # Are the answers right? By the encoder, search and decoder of users: alone, together, in chunks.
  once "$out/devices.json" "$part" "$PYTHON" benchmarks/devices.py egs/mini/corpus --model "$weights" --device "$device"
  rm -rf "$folder"
}

# Pieces of speech, and manifests whose paths hold wherever they are put together again.
portions() {
  local from=${1:?a folder with train, more and dev}
  mkdir -p "$portions"
  rm -f "$portions"/speech.*
  tar -C "$from" --exclude='*.csv' -c train more dev | split -b 40m -d - "$portions/speech."
  sha256sum "$portions"/speech.* >exp/pretrained/portions.sha256
  ls -l "$portions" exp/pretrained/portions.sha256
}

# Whether the speech is there; puts it together from its pieces and makes the manifests, once.
have_speech() {
  if [[ ! -d $speech && -e exp/pretrained/portions.sha256 ]] && sha256sum --quiet -c exp/pretrained/portions.sha256; then
    mkdir -p "$speech.part"
    cat "$portions"/speech.* | tar -x -C "$speech.part" && mv "$speech.part" "$speech"
  fi
  [[ -d $speech ]] || { echo "train: no $speech, nor all pieces of it in $portions" >&2; return 1; }
  [[ -e $speech/manifests ]] || { egs/pretrained/prepare.sh "$speech" && touch "$speech/manifests"; }
}

# The model to ship, on from the shipped weights: resumable, a checkpoint at the end of every call.
train() {
  local limit=$1
  if [[ $small ]]; then
    timeout -k 15 "$limit" "$PYTHON" recipes/train.py --config egs/mini/conf/tiny.yaml --resume --minutes 0.2 "output=$model" \
      2>&1 | tee -a "$out/train.log"
    return
  fi
  have_speech || return
  local config=egs/pretrained/conf/simvq_24khz_0.9kbps_gpu.yaml
  local layout
  for layout in false true; do
    once "$out/train_model_step_$layout.json" 75 "$PYTHON" benchmarks/train_step.py --config "$config" --batch 32 \
      --crop-s 1 --steps 20 --profile "$out/train_model_profile_$layout.txt" "init_from=$start" \
      "training.channels_last=$layout"
  done
  # The faster layout, and the steps that fit: less a twelfth for validation, checkpoints and the loader, in whole
  # intervals of checkpoints. Chosen once, because all calls are one run.
  [[ -e $out/train_settings ]] || "$PYTHON" -c 'import json, pathlib, sys
took = {}
for name in ("false", "true"):
    if (path := pathlib.Path(sys.argv[1], f"train_model_step_{name}.json")).exists():
        took[name] = json.loads(path.read_text())["ours_step"]["median_s"]
if took:
    best = min(took, key=took.get)
    steps = max(1000, int(float(sys.argv[2]) * 11 / 12 / took[best]) // 500 * 500)
    print(f"training.channels_last={best} training.steps={steps}")' "$out" $((${TRAIN_S:-450} - SECONDS - 45)) \
    >"$out/train_settings.part" &&
    [[ -s $out/train_settings.part ]] && mv "$out/train_settings.part" "$out/train_settings"
  local chosen=()
  [[ -e $out/train_settings ]] && read -r -a chosen <"$out/train_settings"
  # What is left of the time, but for its start and a checkpoint.
  limit=$(($1 - SECONDS))
  local minutes
  minutes=$(awk "BEGIN { m = ($limit - 45) / 60; print (m > 0.2 ? m : 0.2) }")
  local run=(recipes/train.py --config "$config" --resume --minutes "$minutes" "init_from=$start" "${chosen[@]}")
  timeout -k 30 "$limit" "$PYTHON" "${run[@]}" 2>&1 | tee -a "$out/train.log"
}

# Audio-seconds a second of a training step in bf16, better at 32 x 3 s, beside the published step.
throughput() {
  local name batch=32 steps=9 part=$(($1 / 12)) long=3 settings=(training.mixed_precision=bf16)
  local conf=egs/libritts/conf twin=egs/libritts/conf/reference/simvq_4k.yaml
  if [[ $small ]]; then
    batch=1 steps=1 long=0.3 settings=(model.preset=tiny training.mixed_precision=no)
    conf=$out/conf twin=$out/conf/reference/simvq_4k.yaml
    mkdir -p "$out/conf/reference" "$out/conf/better"
    for name in reference better; do cp egs/mini/conf/tiny.yaml "$conf/$name/simvq_4k.yaml"; done
  fi
  step() { # NAME-OF-RESULT CONFIG CROP SECONDS [OPTION...]
    local result=$1 config=$2 length=$3 limit=$4
    shift 4
    once "$out/train_$result.json" "$limit" "$PYTHON" benchmarks/train_step.py --batch "$batch" --steps "$steps" \
      --config "$conf/$config/simvq_4k.yaml" --crop-s "$length" --profile "$out/train_$result.txt" "$@" "${settings[@]}"
  }
  step "better_${long}s" better "$long" $((2 * part)) --twin "$twin"
  step "better_${long}s_layout" better "$long" $((2 * part)) --twin "$twin" training.channels_last=true
  step "better_${long}s_tuned" better "$long" $((3 * part)) --twin "$twin" training.channels_last=true \
    training.cudnn_benchmark=true
  # Compiling takes minutes.
  [[ $small ]] || step better_3s_compiled better 3 $((5 * part)) --twin "$twin" training.compile=true
}

# Times real time of both together, encoding and decoding: one file of 10 s and 64 in a batch, beside the twin; in both
# precisions, and with the decoder compiled.
inference() {
  local sizes=(--size reference) many=64 seconds=10 runs=15 part=$(($1 / 3))
  [[ $small ]] && sizes=(--size tiny) many=2 seconds=0.5 runs=1
  local all=("${sizes[@]}" --device "$device" --seconds "$seconds" --runs "$runs" --speech egs/mini/corpus
    --stage round_trip)
  local both=(--batch 1 --batch "$many" --stage encode --stage decode)
  once "$out/speed_bfloat16.json" "$part" "$PYTHON" benchmarks/speed.py "${all[@]}" "${both[@]}" --dtype bfloat16
  once "$out/speed_float32.json" "$part" "$PYTHON" benchmarks/speed.py "${all[@]}" "${both[@]}" --dtype float32
  # Many at a time are bound by their products in float32: it is the single file that may gain.
  [[ $small ]] || once "$out/speed_compiled.json" "$part" "$PYTHON" benchmarks/speed.py "${all[@]}" --batch 1 --compile
}

# The code search: against the matrix rate at K = 262,144, N = 4,500; tokens against plain float32; training pass; tiles.
# Latents near a code leave one candidate each; isotropic ones several, among which float64 decides: there plain float32
# has some tokens wrong itself, and `farther` counts those of ours that are (0 is right).
search() {
  local part=$(($1 / 7)) sizes=(--device "$device") many=1000000 kind
  [[ $small ]] && sizes+=(--codebook 64 --width 8 --runs 1) many=100
  once "$out/search.json" "$part" "$PYTHON" benchmarks/search.py "${sizes[@]}" --latents 4500 \
    --profile "$out/search.txt"
  for kind in isotropic near; do
    once "$out/search_equality_$kind.json" "$part" "$PYTHON" benchmarks/search.py "${sizes[@]}" --kind "$kind" \
      --equality "$many"
  done
  once "$out/search_isotropic.json" "$part" "$PYTHON" benchmarks/search.py "${sizes[@]}" --kind isotropic \
    --latents 4500 --profile "$out/search_isotropic.txt"
  once "$out/search_training.json" "$part" "$PYTHON" benchmarks/search.py "${sizes[@]}" --training --latents 4500
  once "$out/search_tiles.json" $((2 * part)) "$PYTHON" benchmarks/search.py "${sizes[@]}" --latents 4500 --tune
}

# The kernels' own tests; the others run on the CPU wherever they are.
tests() {
  local file=tests/quantizers/interpreted_fused.py
  [[ $small ]] && file=tests/quantizers/test_kept.py
  local spread=()  # most of the time goes into compiling, a kernel for each width
  "$PYTHON" -c 'import xdist' 2>/dev/null && spread=(-n 8)
  timeout -k 15 "$1" "$PYTHON" -m pytest -q "${spread[@]}" "$file" 2>&1 | tee "$out/tests.log"
}

# To OUT: results, logs, metrics, and the newest model in half precision. After every step, in place of what is there.
bring_back() {
  [[ -n ${OUT:-} ]] || return 0
  local files=("$out") folder file
  folder=$(mktemp -d)
  if [[ -e $model/last/config.json ]]; then
    "$PYTHON" -c 'import sys
from codec import Codec
Codec.from_pretrained(sys.argv[1], "cpu").half().save_pretrained(sys.argv[2])' "$model/last" "$folder/model" &&
      cp "$model/last/training.json" "$folder/model"
    for file in "$model/config.yaml" "$model/metrics.jsonl"; do [[ ! -e $file ]] || files+=("$file"); done
    [[ ! -e $folder/model ]] || files+=(-C "$folder" model)
  fi
  mkdir "$folder/pieces"
  # What tar could not take whole is no reason to keep the rest.
  tar -c --exclude=train "${files[@]}" | split -b 15m -d - "$folder/pieces/results.tar." || true
  if [[ -s $folder/pieces/results.tar.00 ]]; then
    rm -f "$OUT"/results.tar.*
    mv "$folder"/pieces/* "$OUT"
  fi
  rm -rf "$folder"
}

# What every step needs. Without a GPU in sight some would measure the CPU.
ready() {
  [[ $small ]] || "$PYTHON" -c 'import accelerate, pydantic, soundfile, torch, triton, typer
assert torch.cuda.is_available(), "no GPU is seen"
print(torch.__version__, torch.cuda.get_device_name())'
}

if [[ ${1:-} == portions ]]; then
  portions "${2:-}"
  exit
fi
plan=("$@")
((${#plan[@]})) || plan=(smoke 150 throughput 420 search 200 inference 240 tests 120 train 450)
for ((at = 0; at < ${#plan[@]}; at += 2)); do
  [[ " $STEPS " == *" ${plan[at]} "* ]] || { echo "error: unknown step ${plan[at]}; steps are $STEPS" >&2; exit 2; }
  [[ ${plan[at + 1]:-600} =~ ^[0-9]+$ ]] || { echo "error: ${plan[at + 1]}: expected seconds for ${plan[at]}" >&2; exit 2; }
done
if [[ -n ${OUT:-} ]]; then
  together=0
  for ((at = 0; at < ${#plan[@]}; at += 2)); do together=$((together + ${plan[at + 1]:-600})); done
  ((together <= 540)) || { echo "error: $together s; a call with OUT has 540: split the steps over several" >&2; exit 2; }
fi
ready || { echo "error: not ready; see above, and the head of this file for what to bring" >&2; exit 3; }
trap bring_back EXIT
# Weights to start from stay, though a later copy of the repository may come without them.
[[ -e $start || ! -e $shipped/config.yaml ]] || { mkdir -p exp/pretrained && cp -r "$shipped" "$start"; }
for ((at = 0; at < ${#plan[@]}; at += 2)); do
  SECONDS=0
  "${plan[at]}" "${plan[at + 1]:-600}"
  echo "== ${plan[at]}: $SECONDS s"
  bring_back
done
