#!/usr/bin/env bash
# What the systems that people know reach beside the demo's model: one table and one page, into exp/mini/systems.
#
#   egs/mini/systems.sh                                         # the recordings of test-mini
#   egs/mini/systems.sh --manifest data/test-clean.jsonl -o exp/peers
#   egs/mini/systems.sh --report                                # the table and the page alone, from scores that are there
#   egs/mini/systems.sh --systems "opus:6 codec2:1300"
#   egs/mini/systems.sh -- --metrics pesq,stoi                  # what follows goes to recipes/evaluate.py
#
# Opus, Codec 2 and Speex are programs (Debian: opus-tools, codec2, speex), EnCodec, DAC and Mimi networks (codec fetch); one
# that is not there is a line of the table that says so. What is scored already is not scored again.
set -euo pipefail

shipped=simvq-24khz-0.9kbps # scored too, where no systems are named
known="ground-truth resample:16000 resample:8000 opus:12 opus:6 speex:1 codec2:3200 codec2:2400 codec2:1300 codec2:700
  encodec:3 dac:3 mimi:8"
systems=default
manifest=
output=exp/mini/systems
model=exp/mini/tiny/best
score=yes
while (($#)); do
  case $1 in
    -h | --help) sed -n -e '/^set /q' -e '2,$s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    --manifest) manifest=${2:?a manifest}; shift 2 ;;
    -o | --output) output=${2:?a folder}; shift 2 ;;
    --systems) systems=${2?names}; shift 2 ;;
    --model) model=${2?a model folder, or "" for none}; shift 2 ;;
    --report) score=; shift ;;
    --) shift; break ;;
    *) echo "error: unknown option $1; known are --manifest, -o, --systems, --model, --report and --" >&2
      exit 2 ;;
  esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

if [[ -z $manifest ]]; then
  manifest=exp/mini/data/test-mini.jsonl
  [[ -f $manifest ]] || python recipes/prepare_libritts.py egs/mini/corpus -o exp/mini/data
fi
if [[ $systems == default ]]; then
  systems=$known
  codec info | grep -q "^$shipped: " && systems+=" $shipped"
fi
if [[ -d $model ]]; then
  systems+=" $model"
elif [[ $model ]]; then
  echo "$model: no such model, the table goes without; make demo trains it" >&2
fi

folders=()
for system in $systems; do
  folder=$output/${system//[:\/]/-}
  folders+=("$folder")
  [[ $score ]] || continue
  printf '\n== %s, after %d:%02d min\n' "$system" $((SECONDS / 60)) $((SECONDS % 60))
  rm -f "$folder/not_available.json"
  # Where a program or weights are missing, the folder gets a note for the table, and the rest goes on.
  torchrun --nproc-per-node "$(getconf _NPROCESSORS_ONLN)" recipes/evaluate.py --system "$system" \
    --manifest "$manifest" -o "$folder" --save-audio "$@" || exit 2
done

# Differences are from the last that is scored: the model, where there is one.
against=()
missing=
for folder in "${folders[@]}"; do
  [[ -f $folder/summary.json ]] && against=(--against "$folder")
  [[ -f $folder/not_available.json ]] && missing=yes
done
if ((${#against[@]} == 0)) && [[ $missing ]]; then
  echo "none of these systems is installed: no table"
  exit
fi
codec report "${folders[@]}" --manifest "$manifest" "${against[@]}" --quoted test-clean -o "$output/report"
