"""The script of the paper's experiments: what it starts, in which order, and what it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "egs" / "libritts"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The script with its settings, and programs that write down how they were called."""
    checkout = tmp_path / "with a space"
    shutil.copytree(FOLDER, checkout / "egs" / "libritts")
    (checkout / "bin").mkdir()
    for name in ("python", "accelerate", "codec"):
        program = checkout / "bin" / name
        program.write_text(f'#!/bin/sh\necho "{name} $@" >> "$LOG"\n[ "$FAIL" != "{name}" ]\n')
        program.chmod(0o755)
    return checkout


def run(checkout: Path, *arguments: str, fail: str = "") -> tuple[subprocess.CompletedProcess[str], list[str]]:
    log = checkout / "log"
    path = f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [str(checkout / "egs" / "libritts" / "run.sh"), *arguments],
        cwd="/",
        env={**os.environ, "PATH": path, "LOG": str(log), "FAIL": fail},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return result, log.read_text().splitlines() if log.exists() else []


def test_all_stages_in_order_and_both_test_sets_in_one_launch(checkout: Path) -> None:
    result, log = run(checkout, "--corpus", "/data/LibriTTS", "--", "--num_processes", "8")
    assert result.returncode == 0, result.stderr
    out = "exp/libritts/reference/simvq_4k"
    assert log == [
        *(
            f"python recipes/prepare_libritts.py /data/LibriTTS -o exp/libritts/data --stage {n} --stop-stage {n}"
            for n in (1, 2, 3, 4)
        ),
        "accelerate launch --num_processes 8 recipes/train.py --config egs/libritts/conf/reference/simvq_4k.yaml"
        " --resume",
        f"accelerate launch --num_processes 8 recipes/evaluate.py --model {out}/best --data exp/libritts/data"
        f" --test-set test-clean,test-other -o {out}/scores",
        *(f"codec report {out}/scores/{split} -o {out}/report/{split}" for split in ("test-clean", "test-other")),
    ]


def test_stages_and_settings_can_be_chosen(checkout: Path) -> None:
    result, log = run(checkout, "--config", "better/simvq_8k", "--stage", "5", "--stop-stage", "5")
    assert result.returncode == 0, result.stderr
    assert log == ["accelerate launch recipes/train.py --config egs/libritts/conf/better/simvq_8k.yaml --resume"]


def test_a_subset_from_a_mirror_is_prepared_trained_on_and_scored(checkout: Path) -> None:
    splits = [word for split in ("dev-clean", "train-clean-100", "test-other") for word in ("--split", split)]
    options = ["--mirror", "http://a", "--mirror", "http://b", "--archives", "/data/tar"]
    result, log = run(checkout, "--corpus", "/data/LibriTTS", *options, *splits)
    assert result.returncode == 0, result.stderr
    out = "exp/libritts/reference/simvq_4k.train-clean-100"  # a run on everything is not taken for done
    prepare = "python recipes/prepare_libritts.py /data/LibriTTS -o exp/libritts/data"
    assert log == [
        *(f"{prepare} --stage {n} --stop-stage {n} {' '.join([*splits, *options])}" for n in (1, 2, 3, 4)),
        "accelerate launch recipes/train.py --config egs/libritts/conf/reference/simvq_4k.yaml --resume"
        f" output={out} data.train=[exp/libritts/data/train-clean-100.jsonl]"
        " data.validation=[exp/libritts/data/dev-clean.jsonl]",
        f"accelerate launch recipes/evaluate.py --model {out}/best --data exp/libritts/data --test-set test-other"
        f" -o {out}/scores",
        f"codec report {out}/scores/test-other -o {out}/report/test-other",
    ]


def test_libritts_r_has_manifests_and_runs_of_its_own(checkout: Path) -> None:
    result, log = run(checkout, "--corpus", "/R", "--edition", "libritts-r", "--stage", "4", "--stop-stage", "6")
    assert result.returncode == 0, result.stderr
    data, out = "exp/libritts-r/data", "exp/libritts-r/reference/simvq_4k"
    train = ",".join(f"{data}/train-{name}.jsonl" for name in ("clean-100", "clean-360", "other-500"))
    assert log == [
        f"python recipes/prepare_libritts.py /R -o {data} --stage 4 --stop-stage 4 --corpus libritts-r",
        "accelerate launch recipes/train.py --config egs/libritts/conf/reference/simvq_4k.yaml --resume"
        f" output={out} data.train=[{train}] data.validation=[{data}/dev-clean.jsonl]",
        f"accelerate launch recipes/evaluate.py --model {out}/best --data {data} --test-set test-clean,test-other"
        f" -o {out}/scores",
    ]


def test_a_split_that_was_prepared_earlier_need_not_be_given_again(checkout: Path) -> None:
    data = checkout / "exp" / "libritts" / "data"
    data.mkdir(parents=True)
    (data / "dev-clean.jsonl").touch()
    result, log = run(checkout, "--corpus", "/L", "--split", "train-clean-100", "--stage", "4", "--stop-stage", "5")
    assert result.returncode == 0 and len(log) == 2, result.stderr


def test_the_first_error_ends_it(checkout: Path) -> None:
    result, log = run(checkout, "--stage", "5", fail="accelerate")
    assert result.returncode == 1 and len(log) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--stage"], "--stage needs a value"),
        (["--stage", "8"], "expected a number from 1 to 7"),
        (["--corpora", "x"], "unknown option --corpora"),
        (["--edition", "libritts_r"], "known are libritts, libritts-r"),
        (["--split"], "--split needs a value"),
        (["--corpus", "/L", "--split", "train-clean-100"], "stages 1 to 7 need dev-clean; give --split dev-clean too"),
        ([], "no --corpus; name the folder"),
        (["--stage", "5", "--config", "simvq_4k"], "simvq_4k.yaml: no such file"),
    ],
)
def test_a_mistake_is_refused_before_anything_runs(checkout: Path, arguments: list[str], says: str) -> None:
    result, log = run(checkout, *arguments)
    assert result.returncode == 2 and log == []
    assert result.stderr.startswith("error: ") and says in result.stderr and result.stderr.count("\n") == 1
