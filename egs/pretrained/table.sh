#!/usr/bin/env bash
# The final table of the model that ships: beside other codecs on the test clips, and the codes that it uses.
#
#   egs/pretrained/table.sh /data/speech
#   egs/pretrained/table.sh /data/speech --model exp/run/best -o exp/pretrained/table
#
# Never for choosing: the clips are of LibriTTS and VCTK, whose speakers are not in the training data. Writes OUT/report
# (table and page), OUT/codes_used.json, and results of each system; what is scored already is not scored again.
set -euo pipefail

model=simvq-24khz-0.9kbps
output=exp/pretrained/table
speech=
while (($#)); do
  case $1 in
    -h | --help) sed -n -e '/^set /q' -e '2,$s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    --model) model=${2:?a model}; shift 2 ;;
    -o | --output) output=${2:?a folder}; shift 2 ;;
    -*) echo "error: unknown option $1; known are --model and -o" >&2; exit 2 ;;
    *) speech=$(realpath -m -- "$1"); shift ;;
  esac
done
[[ $speech ]] || { echo "error: expected a folder of speech; usage: egs/pretrained/table.sh FOLDER" >&2; exit 2; }

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
data=exp/pretrained/data
python egs/pretrained/test_set.py "$speech" -o "$data/test.jsonl"
egs/pretrained/prepare.sh "$speech"
egs/mini/systems.sh --manifest "$data/test.jsonl" -o "$output" --model "" \
  --systems "ground-truth opus:8 opus:6 speex:1 speex:0 speex-nb:0 codec2:3200 codec2:2400 codec2:1300 $model"
python egs/pretrained/codes_used.py "$data/test.jsonl" "$data/train/train.jsonl" --model "$model" \
  -o "$output/codes_used.json"
