#!/usr/bin/env bash
# The paper's experiments on LibriTTS, from nothing to a table.
#
#   egs/libritts/run.sh --corpus /data/LibriTTS                              # everything, the 4,096-code reference row
#   egs/libritts/run.sh --corpus /data/LibriTTS --config better/simvq_4k --stage 5
#   egs/libritts/run.sh --corpus /data/LibriTTS --stage 5 --stop-stage 5 -- --multi_gpu --num_processes 8
#
# Stages: 1 download, 2 verify, 3 extract, 4 manifests, 5 training, 6 scores of test-clean and test-other, 7 tables.
# What follows -- goes to accelerate launch. A stage that is done does nothing twice; training goes on where it was.
set -euo pipefail

corpus=
config=reference/simvq_4k
stage=1
stop_stage=7
while (($#)); do
  case $1 in
    --corpus | --config | --stage | --stop-stage)
      (($# > 1)) || { echo "error: $1 needs a value" >&2; exit 2; }
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2
      ;;
    --) shift; break ;;
    *) echo "error: unknown option $1; known are --corpus, --config, --stage, --stop-stage, -- OPTIONS" >&2; exit 2 ;;
  esac
done
for number in "$stage" "$stop_stage"; do
  [[ $number =~ ^[1-7]$ ]] || { echo "error: stage '$number': expected a number from 1 to 7" >&2; exit 2; }
done
if [[ -z $corpus ]] && ((stage <= 4)); then
  echo "error: no --corpus; name the folder that LibriTTS is in, or should be downloaded to" >&2
  exit 2
fi
if [[ -n $corpus ]]; then corpus=$(realpath -m -- "$corpus"); fi

cd "$(dirname "${BASH_SOURCE[0]}")/../.."  # settings and manifests name their files from here
settings=egs/libritts/conf/$config.yaml
[[ -f $settings ]] || { echo "error: $settings: no such file; see egs/libritts/conf" >&2; exit 2; }
run=exp/libritts/$config

for number in 1 2 3 4; do
  if ((stage <= number && number <= stop_stage)); then
    python recipes/prepare_libritts.py "$corpus" -o exp/libritts/data --stage "$number" --stop-stage "$number"
  fi
done
if ((stage <= 5 && 5 <= stop_stage)); then
  accelerate launch "$@" recipes/train.py --config "$settings" --resume
fi
if ((stage <= 6 && 6 <= stop_stage)); then
  accelerate launch "$@" recipes/evaluate.py --model "$run/best" --test-set test-clean,test-other -o "$run/scores"
fi
if ((stage <= 7 && 7 <= stop_stage)); then
  for split in test-clean test-other; do  # with the paper's rows
    codec report "$run/scores/$split" -o "$run/report/$split"
  done
fi
