#!/usr/bin/env bash
# Manifests for the model to ship, from a folder of speech that has the folders train, more and dev.
#
#   egs/pretrained/prepare.sh /data/speech
#
# The speakers of dev must not be in the others. Training on another machine: copy the speech into exp/pretrained/speech
# first and name that, so that the manifests' relative paths hold there too.
set -euo pipefail
case ${1-} in
  -h | --help) sed -n -e '/^set /q' -e '2,$s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
esac
(($# == 1)) || { echo "error: expected one folder of speech; usage: egs/pretrained/prepare.sh FOLDER" >&2; exit 2; }
speech=$(realpath -m -- "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
for part in train more dev; do
  "${PYTHON:-python}" recipes/prepare_folder.py "$speech/$part" -o "exp/pretrained/data/$part" --speaker-level 0
done
