#!/usr/bin/env bash
# The wheel in an empty environment: built, installed, then off line there and back without a further argument.
#
#   egs/pretrained/wheel.sh                       # a recording of egs/mini/corpus
#   egs/pretrained/wheel.sh speech.wav --keep     # leaves the environment and what was made where it says
#
# The installation downloads what the package needs (some 1 GB with torch; pip's settings say from where). From then on
# the hub is switched off, and the way to it: a proxy that nobody answers at. That nothing else is fetched is shown by
# running it on a machine without a network after the first time: with --find-links FOLDER pip takes wheels from there.
set -euo pipefail

keep=
recording=
options=()
while (($#)); do
  case $1 in
    -h | --help) sed -n -e '/^set /q' -e '2,$s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    --keep) keep=yes; shift ;;
    --find-links) options+=(--no-index --find-links "$(realpath -- "${2:?a folder of wheels}")"); shift 2 ;;
    -*) echo "error: unknown option $1; known are --keep and --find-links FOLDER" >&2; exit 2 ;;
    *) recording=$(realpath -- "$1"); shift ;;
  esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ $recording ]] || recording=$PWD/$(find egs/mini/corpus/test-mini -name '*.flac' | LC_ALL=C sort | head -n 1)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap '[[ $keep ]] && echo "kept: $work" || rm -rf "$work"' EXIT

# From a copy, so that neither build/ nor egg-info is left here.
mkdir "$work/source"
cp -r codec pyproject.toml README.md LICENSE "$work/source"
"$python" -m venv "$work/environment"
pip=("$work/environment/bin/pip" --quiet --disable-pip-version-check)
"${pip[@]}" wheel "${options[@]}" --no-deps "$work/source" -w "$work/wheel"
"${pip[@]}" install "${options[@]}" "$work"/wheel/*.whl
ls -l "$work"/wheel/*.whl
rm -rf "$work/source"

cp -- "$recording" "$work/x.${recording##*.}"
cd "$work"
unset PYTHONPATH
export HF_HUB_OFFLINE=1 http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 HOME="$work"
"$work/environment/bin/codec" info
"$work/environment/bin/codec" encode "x.${recording##*.}"
"$work/environment/bin/codec" info x.svq
"$work/environment/bin/codec" decode x.svq
"$work/environment/bin/codec" info x.decoded.wav
