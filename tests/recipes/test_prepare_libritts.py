"""The command a person types: what it prints, what it leaves behind, how it fails."""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pythons import needs_unpacking

from codec.cli import run
from codec.corpora import openslr
from codec.manifest import read_manifest

ROOT = Path(__file__).parents[2]
MINI = ROOT / "egs" / "mini" / "corpus"


def prepare(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "NO_COLOR": "1"}
    command = [sys.executable, str(ROOT / "recipes" / "prepare_libritts.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_the_mini_corpus_from_another_working_directory_twice(tmp_path: Path) -> None:
    first = prepare(MINI, "-o", "data", "--jobs", "2", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    for row in ("train-mini 132 - 13 0.15 16 0", "dev-mini 10 - 10 0.01 10 0", "test-mini 18 - 15 0.02 18 0"):
        assert any(row in " ".join(line.split()) for line in first.stdout.splitlines()), first.stdout
    utterances = read_manifest(tmp_path / "data" / "train-mini.jsonl")
    assert len(utterances) == 132 and all(utterance.path.is_file() for utterance in utterances)
    second = prepare(MINI, "-o", "data", cwd=tmp_path)
    assert second.returncode == 0 and second.stdout.count("unchanged") == 3
    assert prepare(MINI, "-o", "data", "--force", cwd=tmp_path).stdout.count("unchanged") == 0


def test_bad_files_are_counted_and_the_first_few_named(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(MINI / "dev-mini", corpus / "dev-clean")
    chapter = next((corpus / "dev-clean").glob("*/*"))
    for number in range(7):
        (chapter / f"{chapter.parent.name}_{chapter.name}_{number:06}_000009.wav").write_text("no audio")
    result = prepare(corpus, "-o", tmp_path / "data")
    assert result.returncode == 0, result.stderr
    assert "dev-clean: -5,726 utterances of 5,736; -30 speakers of 40" in result.stdout
    assert result.stdout.count("left out /") == 5
    assert f"and 2 more, listed in {tmp_path / 'data' / '.dev-clean.completed'}" in result.stdout
    assert (tmp_path / "data" / ".dev-clean.completed").read_text().count("not audio") == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "-o", "data"], "nowhere: no such folder"),
        ([str(MINI), "-o", "data", "--split", "test-clean"], "test-clean: no such split"),
        ([str(MINI / "SOURCES.csv"), "-o", "data"], "SOURCES.csv: no such folder"),
        ([str(MINI), "-o", "a file"], "cannot write there"),
    ],
)
def test_a_mistake_gives_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "a file").touch()
    result = prepare(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@needs_unpacking
def test_from_the_archive_to_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All four stages against a web server on this machine; the archive is a split of the mini corpus."""
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    app = importlib.import_module("prepare_libritts").app
    site = tmp_path / "site" / "resources" / "60"
    site.mkdir(parents=True)
    with tarfile.open(site / "dev-clean.tar.gz", "w:gz") as tar:
        tar.add(MINI / "dev-mini", "LibriTTS/dev-clean")
        tar.add(MINI / "speakers.tsv", "LibriTTS/speakers.tsv")
    checksum = f"sha256:{hashlib.sha256((site / 'dev-clean.tar.gz').read_bytes()).hexdigest()}"
    monkeypatch.setitem(openslr.CORPORA["libritts"].checksums, "dev-clean", checksum)
    monkeypatch.setattr(openslr, "MIRRORS", ())

    def prepare(*more: str) -> tuple[int, str]:
        arguments = [str(tmp_path / "LibriTTS"), "-o", str(tmp_path / "data"), "--split", "dev-clean", *more]
        with pytest.raises(SystemExit) as ended:
            run(app, arguments)
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        mirror = ("--mirror", f"http://127.0.0.1:{listening.server_port}", "--stage", "1")
        code, printed = prepare(*mirror, "--stop-stage", "2")
        assert code == 0 and "verify dev-clean: done" in printed
        assert not (tmp_path / "LibriTTS" / "dev-clean").exists()
        code, printed = prepare(*mirror)
        listening.shutdown()
    assert code == 0 and "extract dev-clean: done" in printed
    assert len(read_manifest(tmp_path / "data" / "dev-clean.jsonl")) == 10
    code, printed = prepare(*mirror)  # nobody serves it any more
    assert code == 0 and printed.count("nothing to do") == 3 and "unchanged" in printed
    code, printed = prepare("--stage", "1", "--corpus", "libri")
    assert code == 2 and "known are libritts, libritts-r" in printed


@needs_unpacking
def test_what_libritts_r_lists_as_failed_comes_with_it_and_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stages of their own, on archives that lie there already."""
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    app = importlib.import_module("prepare_libritts").app
    corpus = tmp_path / "LibriTTS_R"
    archives = corpus / "archives"
    archives.mkdir(parents=True)
    with tarfile.open(archives / "dev_clean.tar.gz", "w:gz") as tar:
        tar.add(MINI / "dev-mini", "LibriTTS_R/dev-clean")
    checksum = f"md5:{hashlib.md5((archives / 'dev_clean.tar.gz').read_bytes()).hexdigest()}"
    monkeypatch.setitem(openslr.CORPORA["libritts-r"].checksums, "dev-clean", checksum)

    def prepare(first: int, last: int) -> str:
        stages = ("--stage", str(first), "--stop-stage", str(last))
        with pytest.raises(SystemExit) as ended:
            run(app, [str(corpus), "-o", str(tmp_path), "--corpus", "libritts-r", "--split", "dev-clean", *stages])
        assert not ended.value.code
        return capsys.readouterr().out

    name = "libritts_r_failed_speech_restoration_examples"
    printed = prepare(2, 3)
    assert f"verify {name}.tar.gz: not done, no checksum of it is known" in printed
    assert f"extract {name}.tar.gz: it is not in {archives}, so what failed stays in; --stage 1" in printed
    assert "extract dev-clean: done" in printed
    bad = next((corpus / "dev-clean").rglob("*.flac"))
    (tmp_path / name).mkdir()
    (tmp_path / name / "dev-clean_bad_sample_list.txt").write_text(f"./{bad.relative_to(corpus).with_suffix('.wav')}\n")
    with tarfile.open(archives / f"{name}.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / name, f"./{name}")
    shutil.rmtree(tmp_path / name)
    printed = prepare(1, 4)
    assert f"download {name}.tar.gz: done" in printed and f"extract {name}.tar.gz: done" in printed
    assert "its restoration failed" in printed
    assert len(read_manifest(tmp_path / "dev-clean.jsonl")) == 9
    assert f"extract {name}.tar.gz: nothing to do, the lists are there" in prepare(3, 3)
