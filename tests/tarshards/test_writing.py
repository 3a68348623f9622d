"""Shards that are killed, resumed, read by webdataset, and made of bad input."""

from __future__ import annotations

import errno
import json
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import codec.audio as audio_io
from codec import CodecError
from codec.manifest import Utterance
from codec.tarshards import OpenTars, find_shards, read_table
from codec.tarshards.writing import Finished, Options, write_shards

SMALL = Options(shard_mb=0.04)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def stored(folder: Path) -> dict[str, tuple[np.ndarray, int]]:
    """(T,) and rate of every recording, by id, as the files beside the shards tell."""
    found, tars = {}, OpenTars()
    for shard in find_shards([str(folder)]):
        lines = [json.loads(line) for line in shard.path.with_suffix(".jsonl").read_text().splitlines()]
        table = read_table(shard.path)
        assert len(table) == len(lines) == shard.utterances
        for row, line in enumerate(lines):
            audio, rate = tars.read(table[row], 0, line["num_samples"])
            assert line["id"] not in found and rate == line["sample_rate"] == table[row].sample_rate
            found[line["id"]] = (audio[0].numpy(), rate)
    return found


def test_flac_shards_hold_every_utterance_sample_by_sample(
    make_shards: Callable[..., Path], utterances: list[Utterance]
) -> None:
    folder = make_shards()
    found = stored(folder)
    assert found.keys() == {item.id for item in utterances}
    for item in utterances:
        audio, rate = audio_io.read(item.path)
        assert (len(found[item.id][0]), found[item.id][1]) == (item.num_samples, rate)
        np.testing.assert_allclose(found[item.id][0], audio.mean(dim=0).numpy(), atol=2**-15)
    index = json.loads((folder / "index.json").read_text())
    assert len(index["shards"]) > 3
    assert index["utterances"] == len(utterances)
    assert index["hours"] == pytest.approx(sum(item.duration_s for item in utterances) / 3600, abs=1e-4)
    assert all(shard["num_bytes"] < 0.04e6 + 60_000 for shard in index["shards"])


def test_opus_shards_are_small_and_have_the_same_instants(
    make_shards: Callable[..., Path], utterances: list[Utterance]
) -> None:
    found = stored(make_shards("opus", "opus"))
    rates = {item.id: found[item.id][1] for item in utterances}
    assert rates.pop("slow") == 12_000  # the next that Opus has
    assert set(rates.values()) == {24_000}
    item = utterances[5]
    original = audio_io.load(item.path, 24_000).numpy()
    assert np.corrcoef(found[item.id][0], original)[0, 1] > 0.9


def test_webdataset_reads_the_shards(make_shards: Callable[..., Path], utterances: list[Utterance]) -> None:
    import webdataset

    shards = [str(shard.path) for shard in find_shards([str(make_shards())])]
    items = list(webdataset.WebDataset(shards, shardshuffle=False))
    facts = [json.loads(item["json"]) for item in items]
    by_id = {item.id: item for item in utterances}
    assert {fact["id"] for fact in facts} == by_id.keys()
    for item, fact in zip(items, facts, strict=True):
        expected = by_id[fact["id"]]
        assert (fact["num_samples"], fact.get("text"), fact["speaker"]) == (
            expected.num_samples,
            expected.text,
            expected.speaker,
        )
        if expected.path.suffix == ".flac" and expected.id != "stereo":
            assert item["flac"] == expected.path.read_bytes()  # copied as it is


def test_a_stopped_run_goes_on_to_the_same_shards(utterances: list[Utterance], tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    done: list[float] = []

    def stop_late(seconds: float) -> None:
        done.append(seconds)
        if len(done) == 9:
            raise StopError

    write_shards(utterances, tmp_path / "whole", SMALL)
    folder = tmp_path / "stopped"
    with pytest.raises(StopError):
        write_shards(utterances, folder, SMALL, progress=stop_late)
    made = {path: path.stat().st_mtime_ns for path in folder.glob("*.tar")}
    assert 0 < len(made) < len(list((tmp_path / "whole").glob("*.tar")))
    (folder / ".train-000009.1.part.tar").write_text("half")
    write_shards(utterances, folder, SMALL)
    assert contents(folder) == contents(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in made} == made
    write_shards(utterances, folder, SMALL)
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_full_disk_keeps_the_shards_before_it(
    utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, calls = tarfile.TarFile.addfile, []

    def until_full(self: tarfile.TarFile, *arguments: object) -> None:
        calls.append(0)
        if len(calls) > 16:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "addfile", until_full)
        with pytest.raises(CodecError, match=r"train-00000\d\.tar: writing failed \(No space left on device\)"):
            write_shards(utterances, tmp_path / "full", SMALL)
    kept = contents(tmp_path / "full")
    assert kept and not any(".part" in name for name in kept)
    write_shards(utterances, tmp_path / "full", SMALL)
    whole = contents(tmp_path / "full")
    assert kept.items() <= whole.items()
    assert len(stored(tmp_path / "full")) == len(utterances)


def test_bad_recordings_are_reported_and_mended_later(utterances: list[Utterance], tmp_path: Path) -> None:
    bad = [
        replace(utterances[0], path=tmp_path / "gone.wav"),
        replace(utterances[4], num_samples=99_999),
        replace(utterances[5], sample_rate=16_000),
        replace(utterances[6], sample_rate=16_000),
        utterances[7],
    ]
    finished = write_shards(bad, tmp_path / "out", replace(SMALL, seed=None))
    reasons = [failure["reason"] for shard in finished for failure in shard.failed]
    assert len(reasons) == 4
    for reason, part in zip(reasons, ("gone.wav", "promises 99999 samples", "24000 Hz", "has 24000 Hz"), strict=True):
        assert part in reason
    assert list(stored(tmp_path / "out")) == ["u7"]
    (tmp_path / "gone.wav").write_bytes(utterances[0].path.read_bytes())
    finished = write_shards(bad, tmp_path / "out", replace(SMALL, seed=None))
    assert [failure["reason"] for shard in finished for failure in shard.failed] == reasons[1:]
    assert list(stored(tmp_path / "out")) == ["u7", "a.b/c"]


def test_a_flac_file_that_was_cut_short_is_not_copied(utterances: list[Utterance], tmp_path: Path) -> None:
    """Its header is that of a whole one; training would have met the rest, days later."""
    whole = next(item for item in utterances if item.path.suffix == ".flac")
    content = whole.path.read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    damaged = bytearray(content)
    damaged[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    (tmp_path / "damaged.flac").write_bytes(damaged)
    bad = [replace(whole, id=name, path=tmp_path / f"{name}.flac") for name in ("cut", "damaged")]
    finished = write_shards([*bad, whole], tmp_path / "out", replace(SMALL, seed=None))
    reasons = [failure["reason"] for shard in finished for failure in shard.failed]
    assert len(reasons) == 2 and all("the file is damaged" in reason for reason in reasons)
    assert list(stored(tmp_path / "out")) == [whole.id]


@pytest.mark.parametrize("killed", [False, True])
def test_mending_writes_no_finished_shard_again(
    utterances: list[Utterance], tmp_path: Path, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, places = tmp_path / "out", [tmp_path / "late0.wav", tmp_path / "late1.wav"]
    late = [replace(utterances[place], path=path) for place, path in zip((0, 4), places, strict=True)]
    items = [late[0], *utterances[1:4], late[1], *utterances[5:]]
    options = replace(SMALL, seed=None, shard_mb=0.025)

    def failed() -> list[str]:
        return [failure["id"] for failure in json.loads((folder / "index.json").read_text())["failed"]]

    def shards() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in sorted(folder.glob("*.tar"))}

    write_shards(items, folder, options)
    first = shards()
    assert len(first) > 3 and failed() == [item.id for item in late]
    write_shards(items, folder, options)  # nothing mended: nothing but another try
    assert shards() == first and failed() == [item.id for item in late]
    for path, place, mended in ((places[0], 0, 1), (places[1], 4, 2)):
        path.write_bytes(utterances[place].path.read_bytes())
        if killed:  # between the shard and the index
            with monkeypatch.context() as patch:
                patch.setattr("codec.tarshards.writing._write_index", lambda *_: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    write_shards(items, folder, options)
        write_shards(items, folder, options)
        assert len(shards()) == len(first) + mended and shards().items() >= first.items()
        assert failed() == [item.id for item in late[mended:]]
    assert stored(folder).keys() == {item.id for item in utterances}
    # A shard is lost, and a run that writes it and what comes behind it anew is killed.
    lost = list(first)[1]
    lost.unlink()
    done: list[float] = []
    with pytest.raises(ZeroDivisionError):
        write_shards(items, folder, options, progress=lambda s: done.append(s if len(done) < 6 else 1 / 0))
    write_shards(items, folder, options)
    assert stored(folder).keys() == {item.id for item in utterances} and failed() == []


def test_mistakes(utterances: list[Utterance], tmp_path: Path, make_shards: Callable[..., Path]) -> None:
    folder = make_shards()
    before = contents(folder)
    for options, other, reason in (
        (replace(SMALL, format="mp3"), utterances, "formats are flac, opus"),
        (SMALL, [], "no utterances to store"),
        (SMALL, [*utterances, utterances[3]], "id 'u3' occurs in two manifests"),
        (replace(SMALL, seed=1), utterances, "holds shards of seed=0, not 1"),
        (SMALL, utterances[1:], "manifests='14 utterances"),
    ):
        with pytest.raises(CodecError, match=re.escape(reason)):
            write_shards(other, folder, options)
    assert contents(folder) == before
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "x.tar").write_bytes(b"x")
    with pytest.raises(CodecError, match="holds shards that this program did not make"):
        write_shards(utterances, tmp_path / "foreign", SMALL)
    finished = write_shards(utterances[1:], folder, replace(SMALL, seed=None), overwrite=True)
    assert isinstance(finished[0], Finished)
    assert list(stored(folder)) == [item.id for item in utterances[1:]]


def test_the_recipe(utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib.util

    from codec.cli import run
    from codec.manifest import write_manifest

    path = Path(__file__).parents[2] / "recipes" / "shard.py"
    spec = importlib.util.spec_from_file_location("shard_recipe", path)
    assert spec is not None and spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    write_manifest(tmp_path / "m.jsonl", [*utterances[3:], replace(utterances[0], id="gone", path=tmp_path / "no.wav")])
    arguments = ["--manifest", str(tmp_path / "m.jsonl"), "-o", str(tmp_path / "out"), "--format", "opus"]
    with pytest.raises(SystemExit) as ended:
        run(recipe.app, arguments)
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out.startswith(f"{tmp_path / 'out'}: 11 utterances, 0.00 h in 1 shards, ")
    assert said.err.count("resampled to a rate that Opus has: 1 at 11025 Hz of 12 utterances") == 1
    assert "error: gone: " in said.err and "error: 1 utterances could not be stored" in said.err
