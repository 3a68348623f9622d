#!/usr/bin/env bash
# The paper's experiments on LibriTTS, from nothing to a table.
#
#   egs/libritts/run.sh --corpus /data/LibriTTS                              # everything, the 4,096-code reference row
#   egs/libritts/run.sh --corpus /data/LibriTTS --config better/simvq_4k --stage 5
#   egs/libritts/run.sh --corpus /data/LibriTTS --stage 5 --stop-stage 5 -- --multi_gpu --num_processes 8
#   egs/libritts/run.sh --corpus /data/LibriTTS --split train-clean-100 --split dev-clean --split test-clean
#   egs/libritts/run.sh --corpus /data/LibriTTS_R --edition libritts-r       # restored, into exp/libritts-r
#
# Stages: 1 download, 2 verify, 3 extract, 4 manifests, 5 training, 6 scores of test-clean and test-other, 7 tables.
# --split, which may be given again, names what is prepared, trained on and scored; a run on fewer training splits has a
# folder of its own. --mirror URL (may be given again) and --archives FOLDER go to recipes/prepare_libritts.py.
# What follows -- goes to accelerate launch. A stage that is done does nothing twice; training goes on where it was.
set -euo pipefail

fail() {
  echo "error: $1" >&2
  exit 2
}

corpus=
edition=libritts
config=reference/simvq_4k
stage=1
stop_stage=7
splits=()
mirrors=()
archives=
while (($#)); do
  case $1 in
    -h | --help) sed -n -e '/^set /q' -e '2,$s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    --corpus | --edition | --config | --stage | --stop-stage | --archives | --split | --mirror)
      (($# > 1)) || fail "$1 needs a value"
      name=${1#--}
      case $1 in
        --split) splits+=("$2") ;;
        --mirror) mirrors+=("$2") ;;
        *) printf -v "${name//-/_}" '%s' "$2" ;;
      esac
      shift 2
      ;;
    --) shift; break ;;
    *) fail "unknown option $1; known are --corpus, --edition, --split, --mirror, --archives, --config, --stage, \
--stop-stage, --help, -- OPTIONS" ;;
  esac
done
for number in "$stage" "$stop_stage"; do
  [[ $number =~ ^[1-7]$ ]] || fail "stage '$number': expected a number from 1 to 7"
done
((stage <= stop_stage)) || fail "--stage $stage comes after --stop-stage $stop_stage; give a stop stage of $stage to 7"
[[ $edition == libritts || $edition == libritts-r ]] || fail "edition '$edition': known are libritts, libritts-r"
if [[ -z $corpus ]] && ((stage <= 4)); then
  fail "no --corpus; name the folder that LibriTTS is in, or should be downloaded to"
fi
if [[ -n $corpus ]]; then corpus=$(realpath -m -- "$corpus"); fi
if [[ -n $archives ]]; then archives=$(realpath -m -- "$archives"); fi

cd "$(dirname "${BASH_SOURCE[0]}")/../.."  # settings and manifests name their files from here
settings=egs/libritts/conf/$config.yaml
[[ -f $settings ]] || fail "$settings: no such file; see egs/libritts/conf"
data=exp/$edition/data
run=exp/$edition/$config

# What of the splits that are asked for is trained on, validated on and scored; all of it where nothing is asked for.
training=()
validation=()
tests=()
for split in "${splits[@]}"; do
  case $split in
    train-*) training+=("$split") ;;
    dev-*) validation+=("$split") ;;
    test-*) tests+=("$split") ;;
  esac
done
if ((${#training[@]})); then
  run+=.$(IFS=+; echo "${training[*]}")
else
  training=(train-clean-100 train-clean-360 train-other-500)
fi
((${#validation[@]})) || validation=(dev-clean)
((${#tests[@]})) || tests=(test-clean test-other)

# A split that a later stage needs is missed now, and not after the download.
needed=()
if ((stage <= 5 && 5 <= stop_stage)); then needed+=("${training[@]}" "${validation[@]}"); fi
if ((stage <= 6 && 6 <= stop_stage)); then needed+=("${tests[@]}"); fi
if ((stage <= 4 && ${#splits[@]})); then
  for split in "${needed[@]}"; do
    [[ " ${splits[*]} " == *" $split "* || -f $data/$split.jsonl ]] ||
      fail "stages $stage to $stop_stage need $split; give --split $split too, or an earlier --stop-stage"
  done
fi

# The manifests of splits, as a list for a setting.
manifests() {
  local paths
  printf -v paths ",$data/%s.jsonl" "$@"
  echo "[${paths#,}]"
}

preparation=()
if [[ $edition != libritts ]]; then preparation+=(--corpus "$edition"); fi
for split in "${splits[@]}"; do preparation+=(--split "$split"); done
for mirror in "${mirrors[@]}"; do preparation+=(--mirror "$mirror"); done
if [[ -n $archives ]]; then preparation+=(--archives "$archives"); fi
changes=()
if [[ $edition != libritts ]] || ((${#splits[@]})); then
  changes=("output=$run" "data.train=$(manifests "${training[@]}")" "data.validation=$(manifests "${validation[@]}")")
fi

for number in 1 2 3 4; do
  if ((stage <= number && number <= stop_stage)); then
    python recipes/prepare_libritts.py "$corpus" -o "$data" --stage "$number" --stop-stage "$number" "${preparation[@]}"
  fi
done
if ((stage <= 5 && 5 <= stop_stage)); then
  accelerate launch "$@" recipes/train.py --config "$settings" --resume "${changes[@]}"
fi
if ((stage <= 6 && 6 <= stop_stage)); then
  accelerate launch "$@" recipes/evaluate.py --model "$run/best" --data "$data" \
    --test-set "$(IFS=,; echo "${tests[*]}")" -o "$run/scores"
fi
if ((stage <= 7 && 7 <= stop_stage)); then
  for split in "${tests[@]}"; do  # with the paper's rows
    codec report "$run/scores/$split" -o "$run/report/$split"
  done
fi
