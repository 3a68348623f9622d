"""UTMOS end to end, with made-up weights in the real file's layout, fetched from a server on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from corpora.local_server import Server, serving
from doubles import RATE, NoisySystem, noisy
from tiny_networks import save_utmos
from torch import Tensor
from utmos_pytorch import UTMOSScoreTorch

from codec import CodecError, audio
from codec.cli import main
from codec.corpora import download
from codec.evaluation import MetricError, MetricOptions, build_metrics, evaluate, summarize
from codec.evaluation.utmos import UTMOS
from codec.evaluation.weights import UTMOS_FILE, fetch_utmos
from codec.manifest import Utterance

pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = save_utmos(tmp_path_factory.mktemp("utmos") / UTMOS_FILE)
    assert path.stat().st_size < 3_000_000
    return path


@pytest.fixture
def server(weights_file: Path) -> Iterator[Server]:
    with serving() as running:
        running.files["utmos"] = weights_file.read_bytes()
        yield running


def fetch(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["fetch", "utmos", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_fetch_checks_what_the_host_publishes_and_scores(
    server: Server, weights_file: Path, tmp_path: Path, utterances: list[Utterance], clips: list[Tensor]
) -> None:
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    server.sha256["utmos"] = digest
    assert fetch("--url", server.url("utmos"), "-o", tmp_path) == 0
    assert fetch("--url", server.url("utmos"), "-o", tmp_path) == 0  # a second time nothing is downloaded
    assert len(server.ranges) == 1
    path = tmp_path / UTMOS_FILE
    assert path.read_bytes() == weights_file.read_bytes()

    metrics = build_metrics(["utmos"], MetricOptions(RATE, utmos_weights=path))
    outcome = evaluate(NoisySystem(), utterances[:2], metrics, tmp_path / "out")
    summary = summarize(NoisySystem(), outcome, "two")
    assert summary["not_available"] == {}
    assert summary["definitions"]["utmos"]["weights_sha256"] == digest
    assert summary["metrics"]["utmos"]["n_ok"] == 2


def test_scores_are_the_published_formula(weights_file: Path, clips: list[Tensor]) -> None:
    metric = UTMOS(weights_file)
    assert metric.unavailable() is None
    network = UTMOSScoreTorch(str(weights_file)).model
    scores = []
    for clip in (clips[0][:12_000], noisy(clips[0], 0.1)[:12_000], clips[1][:9_001]):
        with torch.no_grad():
            frames = network(clip[None, None], torch.tensor([0]), torch.tensor([288]))
        score = metric.score(torch.zeros(1), clip)["utmos"]
        assert score == pytest.approx(float(frames.mean() * 2 + 3), abs=1e-6)
        scores.append(score)
    assert len(set(scores)) == 3  # the weights are made up, but they listen
    second = UTMOS(weights_file, torch.device("cpu", 1))  # as Accelerate calls the CPU in a second process
    assert second.unavailable() is None
    assert second.score(torch.zeros(1), clips[1][:9_001])["utmos"] == scores[-1]
    with pytest.raises(MetricError, match=r"shorter than 0\.05 s"):
        metric.score(torch.zeros(1), clips[0][:799])


def test_a_wrong_checksum_leaves_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download, "PAUSES_S", (0.0,))
    server.sha256["utmos"] = 64 * "0"
    assert fetch("--url", server.url("utmos"), "-o", tmp_path) == 2
    said = capsys.readouterr().err
    assert "what came has another checksum" in said
    assert not (tmp_path / UTMOS_FILE).exists()
    assert fetch("--url", server.url("utmos"), "-o", tmp_path, "--sha256", "abc") == 2
    assert "expected 64 hexadecimal digits" in capsys.readouterr().err


def test_a_host_without_a_checksum_is_not_trusted(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch("--url", server.url("utmos"), "-o", tmp_path) == 2
    assert "names no SHA-256" in capsys.readouterr().err
    assert fetch("--url", server.url("gone"), "-o", tmp_path) == 2
    assert "404" in capsys.readouterr().err
    assert server.ranges == [] and list(tmp_path.iterdir()) == []


def test_missing_damaged_and_other_weights_are_named_and_the_run_goes_on(
    weights_file: Path, tmp_path: Path, utterances: list[Utterance]
) -> None:
    cut, other, sound, whole = (tmp_path / name for name in ("cut.pt", "other.pt", "sound.wav", "whole.ckpt"))
    audio.write(sound, torch.zeros(2000), RATE)
    torch.save({"state_dict": {}, "epoch": 3, 7: "seven"}, whole)
    cut.write_bytes(weights_file.read_bytes()[:100_000])
    torch.save({"feature_extractors.1.embedding.weight": torch.zeros(3, 128)}, other)
    reasons = {
        None: "no weights; run codec fetch utmos",
        cut: "cut.pt: not a PyTorch checkpoint, or truncated",
        other: "223 differ in name or shape",
        sound: "sound.wav: not a PyTorch checkpoint; run codec fetch utmos",
        whole: "227 differ in name or shape",
    }
    for path, reason in reasons.items():
        metrics = build_metrics(["utmos", "mel"], MetricOptions(RATE, utmos_weights=path))
        outcome = evaluate(NoisySystem(), utterances[:1], metrics, tmp_path / "out", overwrite=True)
        assert reason in outcome.unavailable["utmos"]
        assert outcome.records["u0"].scores.keys() == {"mel_distance"}
        summary = summarize(NoisySystem(), outcome, "one")
        assert "run codec fetch utmos" in json.dumps(summary["not_available"])


def test_an_address_that_is_none_is_refused_with_what_the_command_takes(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match=r"nonsense: cannot be reached .* or give another place with --url"):
        fetch_utmos(tmp_path, url="nonsense")
