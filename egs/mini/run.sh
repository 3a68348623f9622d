#!/usr/bin/env bash
# The whole road on the recordings in egs/mini/corpus: prepare, train, encode, decode, score, show.
#
#   egs/mini/run.sh                            # everything, into exp/mini
#   egs/mini/run.sh --stage 5                  # again from the scores on
#   egs/mini/run.sh --stage 2 --stop-stage 2   # training only; a run that was interrupted goes on
#
# Stages: 1 manifests, 2 training, 3 untrained twin, 4 encode and decode, 5 scores, 6 report.
# What follows the options goes to recipes/train.py: egs/mini/run.sh --stage 2 -- --minutes 1 training.seed=1
set -euo pipefail

stage=1
stop_stage=6
while (($#)); do
  case $1 in
    --stage) stage=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    --stop-stage) stop_stage=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    --) shift; break ;;
    *) echo "error: unknown option $1; known are --stage N, --stop-stage N, -- OPTIONS OF TRAINING" >&2; exit 2 ;;
  esac
done
for number in "$stage" "$stop_stage"; do
  [[ $number =~ ^[1-6]$ ]] || { echo "error: stage '$number': expected a number from 1 to 6" >&2; exit 2; }
done

cd "$(dirname "${BASH_SOURCE[0]}")/../.."  # settings and manifests name their files from here
corpus=egs/mini/corpus
exp=exp/mini
shown=6 # speakers in the report

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

# One process a core, each with one thread: the metrics are not made for more.
shared() {
  torchrun --nproc-per-node "$(getconf _NPROCESSORS_ONLN)" "$@"
}

if begin 1 "manifests"; then
  python recipes/prepare_libritts.py "$corpus" -o "$exp/data"
fi

if begin 2 "training"; then
  resume=
  if compgen -G "$exp/tiny/checkpoints/step_*" > /dev/null; then resume=--resume; fi
  launch recipes/train.py --config egs/mini/conf/tiny.yaml $resume "$@"
fi

if begin 3 "the same network with random weights"; then
  python egs/mini/untrained.py --config "$exp/tiny/config.yaml" -o "$exp/untrained"
fi

if begin 4 "encode and decode"; then
  for reader in $(ls "$corpus/test-mini" | sort -n | head -n "$shown"); do
    recording=$(ls "$corpus/test-mini/$reader"/*/*.flac | head -n 1)
    id=$(basename "$recording" .flac)
    for system in trained untrained; do
      model=$exp/tiny/best
      if [[ $system == untrained ]]; then model=$exp/untrained; fi
      codec encode "$recording" -o "$exp/audio/$system/$id.svq" --model "$model" --force
      codec decode "$exp/audio/$system/$id.svq" -o "$exp/audio/$system/$id.wav" --model "$model" --force
    done
  done
fi

if begin 5 "scores"; then
  for system in trained untrained; do
    model=$exp/tiny/best
    if [[ $system == untrained ]]; then model=$exp/untrained; fi
    # Scores of an earlier training are no scores of this one.
    shared recipes/evaluate.py --model "$model" --manifest "$exp/data/test-mini.jsonl" \
      -o "$exp/scores/$system" --overwrite
  done
fi

if begin 6 "report"; then
  python egs/mini/report.py --run "$exp/tiny" --evaluations "$exp/scores/trained" "$exp/scores/untrained" \
    --audio "$exp/audio" --manifest "$exp/data/test-mini.jsonl" -o "$exp/report.html"
fi
