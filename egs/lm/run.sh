#!/usr/bin/env bash
# Language models over the tokens of SimVQ and EMA-VQ codecs of one rate, on the recordings in egs/mini/corpus:
# train the codecs, tokenise, train a small transformer on each, score it on held-out speech, sample from it.
#
#   egs/lm/run.sh                               # both systems, into exp/lm; half an hour on two CPU cores
#   egs/lm/run.sh --systems simvq               # only one
#   egs/lm/run.sh --stage 4                     # again from the scores on
#   egs/lm/run.sh --stage 3 --stop-stage 3 -- training.steps=1000   # settings of recipes/train_lm.py
#
# Stages: 1 codecs (one that is there is kept), 2 tokens, 3 language models (an interrupted one goes on), 4 scores,
# 5 samples.
set -euo pipefail

stage=1
stop_stage=5
systems="simvq ema"
while (($#)); do
  case $1 in
    -h | --help) sed -n -e '/^set /q' -e '2,$s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    --stage) stage=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    --stop-stage) stop_stage=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    --systems) systems=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    --) shift; break ;;
    *) echo "error: unknown option $1; known are --stage N, --stop-stage N, --systems 'simvq ema', -- SETTINGS" >&2
       exit 2 ;;
  esac
done
for number in "$stage" "$stop_stage"; do
  [[ $number =~ ^[1-5]$ ]] || { echo "error: stage '$number': expected a number from 1 to 5" >&2; exit 2; }
done
((stage <= stop_stage)) || {
  echo "error: --stage $stage comes after --stop-stage $stop_stage; give a stop stage of $stage to 5" >&2
  exit 2
}
[[ -n $systems ]] || { echo "error: no systems; give --systems simvq, ema or 'simvq ema'" >&2; exit 2; }
for system in $systems; do
  [[ $system == simvq || $system == ema ]] || { echo "error: system '$system': known are simvq, ema" >&2; exit 2; }
done

cd "$(dirname "${BASH_SOURCE[0]}")/../.."  # settings and manifests name their files from here
exp=exp/lm
data=exp/mini/data

# The launcher gives a process one thread of the CPU, unless this says otherwise.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(getconf _NPROCESSORS_ONLN)}
# Threads that wait for each other asleep rather than spinning: on a busy machine the difference is tenfold.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

# Whether a stage is asked for; says so.
begin() {
  ((stage <= $1 && $1 <= stop_stage)) || return 1
  printf '\n== stage %d, after %d:%02d min: %s\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)) "$2"
}

# One process is enough here; the rest are the launcher's defaults, said so that it does not ask for them.
launch() {
  accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no "$@"
}

# The codec of a system. That of make demo is the SimVQ one.
codec_of() {
  if [[ $1 == simvq ]]; then echo exp/mini/tiny; else echo "exp/mini/$1"; fi
}

resume_if() {
  if compgen -G "$1/checkpoints/step_*" > /dev/null; then echo --resume; fi
}

if begin 1 "codecs"; then
  if [[ ! -e $data/test-mini.jsonl ]]; then
    python recipes/prepare_libritts.py egs/mini/corpus -o "$data"
  fi
  for system in $systems; do
    folder=$(codec_of "$system")
    # The two differ in the bottleneck alone.
    launch recipes/train.py --config egs/mini/conf/tiny.yaml output="$folder" model.quantizer.name="$system" \
      $(resume_if "$folder")
  done
fi

if begin 2 "tokens"; then
  for system in $systems; do
    for part in train dev test; do
      launch recipes/tokenize.py --manifest "$data/$part-mini.jsonl" --model "$(codec_of "$system")/best" \
        --format npy -o "$exp/$system/tokens/$part" --overwrite
    done
  done
fi

if begin 3 "language models"; then
  for system in $systems; do
    launch recipes/train_lm.py --config egs/lm/mini.yaml output="$exp/$system/run" \
      data.train="[$exp/$system/tokens/train]" data.validation="[$exp/$system/tokens/dev]" \
      $(resume_if "$exp/$system/run") "$@"
  done
fi

if begin 4 "scores"; then
  tables=()
  for system in $systems; do
    python recipes/evaluate_lm.py --model "$exp/$system/run/best" --tokens "$exp/$system/tokens/test" \
      --train "$exp/$system/tokens/train" -o "$exp/$system/score.json" > /dev/null
    tables+=(--table "$exp/$system/score.json")
  done
  python recipes/evaluate_lm.py "${tables[@]}"
fi

if begin 5 "samples"; then
  prompt=$(ls egs/mini/corpus/test-mini/*/*/*.flac | sort | head -n 1)
  for system in $systems; do
    python recipes/generate.py --model "$exp/$system/run/best" --codec "$(codec_of "$system")/best" \
      -o "$exp/$system/samples/free" --count 4 --seconds 4 --force
    python recipes/generate.py --model "$exp/$system/run/best" --codec "$(codec_of "$system")/best" \
      --prompt "$prompt" --prompt-s 2 -o "$exp/$system/samples/prompted" --count 4 --seconds 3 --force
  done
fi
