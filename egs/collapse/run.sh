#!/usr/bin/env bash
# Collapse made visible: the toy by hand, and plain vector quantisation by every bottleneck; into exp/collapse.
#
#   egs/collapse/run.sh --quick                    # all of it, small: some minutes on a core
#   egs/collapse/run.sh                            # the whole grid: for two cores without other work
#   egs/collapse/run.sh --stage 3 --stop-stage 3   # one stage; runs that are done are not done again
#
# Stages: 1 the toy, 2 latents of speech and digits, 3 the grid, 4 table and plots.
# Latents of speech come from the demo's model: egs/mini/run.sh --stop-stage 2 makes it.
# What follows the options goes to plain.py: egs/collapse/run.sh --stage 3 -- --systems simvq,vq --seeds 0
set -euo pipefail

stage=1
stop_stage=4
quick=
folder=exp/collapse/grid
while (($#)); do
  case $1 in
    -h | --help) sed -n -e '/^set /q' -e '2,$s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    --stage) stage=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    --stop-stage) stop_stage=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    --quick) quick=--quick; folder=exp/collapse/quick; shift ;;
    --) shift; break ;;
    *) echo "error: unknown option $1; known are --stage N, --stop-stage N, --quick, -- OPTIONS OF PLAIN.PY" >&2
      exit 2 ;;
  esac
done
for number in "$stage" "$stop_stage"; do
  [[ $number =~ ^[1-4]$ ]] || { echo "error: stage '$number': expected a number from 1 to 4" >&2; exit 2; }
done
((stage <= stop_stage)) || {
  echo "error: --stage $stage comes after --stop-stage $stop_stage; give a stop stage of $stage to 4" >&2
  exit 2
}

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(getconf _NPROCESSORS_ONLN)}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

# Whether a stage is asked for; says so.
begin() {
  ((stage <= $1 && $1 <= stop_stage)) || return 1
  printf '\n== stage %d, after %d:%02d min: %s\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)) "$2"
}

if begin 1 "the toy"; then
  python egs/collapse/toy.py
fi

if begin 2 "latents of speech and digits"; then
  python egs/collapse/sources.py
fi

if begin 3 "plain vector quantisation"; then
  python egs/collapse/plain.py $quick "$@"
fi

if begin 4 "table and plots"; then
  python egs/collapse/plain_table.py "$folder/results.jsonl"
fi
