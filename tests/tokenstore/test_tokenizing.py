"""Datasets that are killed, resumed, shared, and made of bad input."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accelerate import PartialState
from tokenized import encoded_alone

from codec import Codec, CodecError, TokenDataset, cli
from codec.cli.tokenize import app
from codec.manifest import Utterance, read_manifest, write_manifest
from codec.tokenstore import Index
from codec.tokenstore.tokenizing import Options, plan_shards, tokenize

ROOT = Path(__file__).parents[2]
SMALL = Options("jsonl", shard_hours=1.6 / 3600, batch_s=3.0)


def run(codec: Codec, utterances: list[Utterance], folder: Path, options: Options = SMALL, **more: bool) -> Index:
    return tokenize(codec, "tiny", utterances, folder, options, state=PartialState(cpu=True), **more)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_stopped_run_goes_on_without_doing_anything_twice(
    tiny_codec: Codec, utterances: list[Utterance], tmp_path: Path
) -> None:
    class StopError(Exception):
        pass

    run(tiny_codec, utterances, tmp_path / "whole")
    done: list[float] = []

    def stop_late(seconds: float) -> None:
        done.append(seconds)
        if len(done) == 5:
            raise StopError

    folder = tmp_path / "stopped"
    with pytest.raises(StopError):
        tokenize(tiny_codec, "tiny", utterances, folder, SMALL, state=PartialState(cpu=True), progress=stop_late)
    made = set(folder.glob("tokens-*"))
    assert 0 < len(made) < len(list((tmp_path / "whole").glob("tokens-*")))
    assert not (folder / "index.json").exists()
    (folder / ".tokens-00002.123.part.jsonl").write_text("half")  # what a killed process leaves
    times = {path: path.stat().st_mtime_ns for path in made}
    run(tiny_codec, utterances, folder)
    assert contents(folder) == contents(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in made} == times
    # A lost shard is made again, the others are kept.
    lost = next(iter(made))
    lost.unlink()
    run(tiny_codec, utterances, folder)
    assert contents(folder) == contents(tmp_path / "whole")


def test_other_settings_do_not_mix(tiny_codec: Codec, utterances: list[Utterance], tmp_path: Path) -> None:
    run(tiny_codec, utterances, tmp_path / "out")
    before = contents(tmp_path / "out")
    for options, other, reason in (
        (replace(SMALL, format="npy"), utterances, "format='jsonl', not 'npy'"),
        (SMALL, utterances[1:], "manifests='8 utterances"),
        (replace(SMALL, shard_hours=1.0), utterances, "shard_hours="),
    ):
        with pytest.raises(CodecError, match=re.escape(reason)):
            run(tiny_codec, other, tmp_path / "out", options)
    assert contents(tmp_path / "out") == before
    index = run(tiny_codec, utterances[1:], tmp_path / "out", replace(SMALL, format="npy"), overwrite=True)
    assert index.utterances == len(utterances) - 1
    assert {path.suffix for path in (tmp_path / "out").glob("tokens-*")} == {".npy", ".jsonl"}
    run(tiny_codec, utterances[1:], tmp_path / "out", replace(SMALL, format="npy", batch_s=0.1))  # batches may differ


def test_unreadable_and_short_files_are_reported_and_the_rest_goes_on(
    tiny_codec: Codec, utterances: list[Utterance], tmp_path: Path
) -> None:
    broken = [
        replace(utterances[0], path=tmp_path / "gone.wav"),
        utterances[1],
        replace(utterances[4], num_samples=30_000),
        *utterances[5:],
    ]
    index = run(tiny_codec, broken, tmp_path / "out")
    assert [failure["id"] for failure in index.failed] == [broken[0].id, broken[2].id]
    assert "gone.wav: cannot be read" in index.failed[0]["reason"]
    assert "1.000 s long, the manifest promises 1.250 s" in index.failed[1]["reason"]
    assert TokenDataset(tmp_path / "out").ids() == [broken[1].id, *(item.id for item in broken[3:])]
    assert "2 recordings that could not be read" in (tmp_path / "out" / "README.md").read_text()
    # Mended, the same command makes the shards with failures again.
    os.link(utterances[0].path, tmp_path / "gone.wav")
    index = run(tiny_codec, broken, tmp_path / "out")
    assert [failure["id"] for failure in index.failed] == [broken[2].id]


def test_a_shard_of_nothing_but_unreadable_files_is_an_empty_one(
    tiny_codec: Codec, utterances: list[Utterance], tmp_path: Path
) -> None:
    gone = [replace(item, path=tmp_path / "gone.wav") for item in utterances]
    for given, readable in ((gone, 0), ([*gone[:3], *utterances[3:]], len(utterances) - 3)):
        folder = tmp_path / f"out{readable}"
        index = run(tiny_codec, given, folder, replace(SMALL, shard_hours=1e-9))  # each a shard of its own
        assert len(index.failed) == len(utterances) - readable
        assert TokenDataset(folder).ids() == [item.id for item in utterances[len(utterances) - readable :]]


def test_long_recordings_go_through_in_pieces(
    tiny_codec: Codec, utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec.tokenstore.encoding.LONG_S", 0.9)
    run(tiny_codec, utterances, tmp_path / "out")
    for entry, utterance in zip(TokenDataset(tmp_path / "out"), utterances, strict=True):
        assert entry.tokens.tolist() == encoded_alone(tiny_codec, utterance)


def test_a_full_disk_leaves_no_half_shard(
    tiny_codec: Codec, utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    options = replace(SMALL, format="npy")
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(CodecError, match="No space left on device"):
            run(tiny_codec, utterances, tmp_path / "out", options)
    assert not list((tmp_path / "out").glob("**/*.npy"))
    run(tiny_codec, utterances, tmp_path / "out", options)
    assert len(TokenDataset(tmp_path / "out")) == len(utterances)


def test_nothing_to_encode_and_double_ids_are_refused(utterances: list[Utterance]) -> None:
    with pytest.raises(CodecError, match="no utterances"):
        plan_shards([], 1.0)
    with pytest.raises(CodecError, match=r"id 'a' occurs in two manifests"):
        plan_shards([*utterances, utterances[0]], 1.0)
    assert plan_shards(utterances, 1.0) == [list(range(len(utterances)))]
    assert plan_shards(utterances, 1e-9) == [[place] for place in range(len(utterances))]


def test_the_card_tells_what_is_there(make_dataset: Callable[[str], tuple[Path, Index]]) -> None:
    folder, index = make_dataset("npy")
    counts = np.bincount(np.concatenate([entry.tokens for entry in TokenDataset(folder)]))
    shares = counts[counts > 0] / counts.sum()
    entropy = float(-(shares * np.log2(shares)).sum())
    assert index.codes_used == len(shares) > 4
    assert index.entropy_bits == pytest.approx(entropy)
    card = (folder / "README.md").read_text()
    for part in (index.model.fingerprint, f"{index.tokens:,} tokens", "75 a second", f"{entropy:.2f} bits a token"):
        assert part in card, part
    assert json.loads((folder / "index.json").read_text())["entropy_bits"] == round(entropy, 4)


# -- as a person starts it ------------------------------------------------------------------------------------------

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


OPTIONS = ["--shard-hours", "0.001", "--batch-s", "4"]


def arguments(model: Path, manifest: Path, folder: Path) -> list[str]:
    return ["--manifest", str(manifest), "--model", str(model), "-o", str(folder), *OPTIONS]


@pytest.fixture
def manifest(utterances: list[Utterance], tmp_path: Path) -> Path:
    many = [replace(utterances[number % 8], id=f"u{number}") for number in range(60)]
    write_manifest(tmp_path / "m.jsonl", many)
    return tmp_path / "m.jsonl"


def test_killed_and_finished_by_two_processes_it_is_the_dataset_of_one(
    tiny_model_dir: Path, manifest: Path, tmp_path: Path, tiny_codec: Codec
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [str(ROOT / "recipes" / "tokenize.py"), *arguments(tiny_model_dir, manifest, killed)]
    process = subprocess.Popen([sys.executable, *command], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    while not list(killed.glob("tokens-*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launcher, *command], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{killed}: 60 utterances, ")
    assert done.stderr.count("resampled to 24000 Hz: 7 at 16000 Hz of 60 utterances") == 1
    options = Options("parquet", shard_hours=0.001, batch_s=4)
    index = tokenize(tiny_codec, "model", read_manifest(manifest), whole, options, state=PartialState(cpu=True))
    assert len(index.shards) > 5
    assert contents(killed) == contents(whole)
    assert len(set(TokenDataset(killed).ids())) == 60


def test_mistakes_end_with_code_2(
    tiny_model_dir: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*changes: str, manifest: Path = manifest) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.run(app, [*arguments(tiny_model_dir, manifest, tmp_path / "out"), *changes])
        assert ended.value.code == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert fails(manifest=empty) == f"error: {empty}: the manifest has no utterances; prepare the corpus again\n"
    assert "occurs in two manifests" in fails("--manifest", str(manifest))
    assert "formats are webdataset, parquet, npy, jsonl" in fails("--format", "csv")
