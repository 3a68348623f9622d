#!/usr/bin/env bash
# The whole road on the recordings in egs/mini/corpus: the model that ships first (encode, decode, score, show), then one
# that is trained here.
#
#   egs/mini/run.sh                            # everything, into exp/mini
#   egs/mini/run.sh --stop-stage 2             # without training: the model that ships, beside other codecs
#   egs/mini/run.sh --stage 6                  # again from the scores on
#   egs/mini/run.sh --stage 3 --stop-stage 3   # training only; a run that was interrupted goes on
#
# Stages: 1 manifests, 2 the model that ships and other codecs, 3 training, 4 untrained twin, 5 encode and decode,
# 6 scores, 7 report.
# What follows the options goes to recipes/train.py: egs/mini/run.sh --stage 3 -- --minutes 1 training.seed=1
set -euo pipefail

stage=1
stop_stage=7
while (($#)); do
  case $1 in
    -h | --help) sed -n -e '/^set /q' -e '2,$s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    --stage) stage=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    --stop-stage) stop_stage=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    --) shift; break ;;
    *) echo "error: unknown option $1; known are --stage N, --stop-stage N, -- OPTIONS OF TRAINING" >&2; exit 2 ;;
  esac
done
for number in "$stage" "$stop_stage"; do
  [[ $number =~ ^[1-7]$ ]] || { echo "error: stage '$number': expected a number from 1 to 7" >&2; exit 2; }
done
((stage <= stop_stage)) || {
  echo "error: --stage $stage comes after --stop-stage $stop_stage; give a stop stage of $stage to 7" >&2
  exit 2
}

cd "$(dirname "${BASH_SOURCE[0]}")/../.."  # settings and manifests name their files from here
corpus=egs/mini/corpus
exp=exp/mini
shipped=simvq-24khz-0.9kbps
peers="codec2:1300 codec2:2400 codec2:3200 opus:6 speex-nb:0 speex:0 speex:1"
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

# The first recording of each of the first speakers, through codec encode and codec decode: NAME is of the folder.
speak() { # NAME [OPTION...]
  local name=$1 reader recording id
  shift
  for reader in $(ls "$corpus/test-mini" | sort -n | head -n "$shown"); do
    recording=$(ls "$corpus/test-mini/$reader"/*/*.flac | head -n 1)
    id=$(basename "$recording" .flac)
    codec encode "$recording" -o "$exp/audio/$name/$id.svq" --force "$@"
    codec decode "$exp/audio/$name/$id.svq" -o "$exp/audio/$name/$id.wav" --force "$@"
  done
}

# Scores of an earlier model are no scores of this one.
score() { # NAME MODEL
  shared recipes/evaluate.py --model "$2" --manifest "$exp/data/test-mini.jsonl" -o "$exp/scores/$1" --overwrite
}

# What there is to hear of others: results, or the note that a program is not installed.
others=()
find_others() {
  others=()
  local peer
  for peer in $peers; do
    [[ -d $exp/peers/${peer/:/-} ]] && others+=(--peer "$exp/peers/${peer/:/-}")
  done
  return 0
}

if begin 2 "the model that ships, and other codecs"; then
  if codec info | grep -q "^$shipped: "; then
    speak shipped # no --model: it is the default
    score shipped "$shipped"
    egs/mini/systems.sh --systems "$peers" --model "" -o "$exp/peers" -- --metrics dnsmos,pesq,stoi,mel
    find_others
    python egs/mini/report.py --shipped "$exp/scores/shipped" "${others[@]}" --audio "$exp/audio" \
      --manifest "$exp/data/test-mini.jsonl" -o "$exp/report.html"
  else
    echo "no model ships with this version: nothing to show before training"
  fi
fi

if begin 3 "training"; then
  resume=
  if compgen -G "$exp/tiny/checkpoints/step_*" > /dev/null; then resume=--resume; fi
  launch recipes/train.py --config egs/mini/conf/tiny.yaml $resume "$@"
fi

if begin 4 "the same network with random weights"; then
  python egs/mini/untrained.py --config "$exp/tiny/config.yaml" -o "$exp/untrained"
fi

if begin 5 "encode and decode"; then
  speak trained --model "$exp/tiny/best"
  speak untrained --model "$exp/untrained"
fi

if begin 6 "scores"; then
  score trained "$exp/tiny/best"
  score untrained "$exp/untrained"
fi

if begin 7 "report"; then
  find_others
  ours=()
  [[ -f $exp/scores/shipped/summary.json ]] && ours=(--shipped "$exp/scores/shipped")
  python egs/mini/report.py "${ours[@]}" --run "$exp/tiny" \
    --evaluations "$exp/scores/trained" "$exp/scores/untrained" "${others[@]}" \
    --audio "$exp/audio" --manifest "$exp/data/test-mini.jsonl" -o "$exp/report.html"
fi
