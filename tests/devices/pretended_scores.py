"""Cases of test_pretended_device.py: what is scored, by networks there; commands that take a device; clocks."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState
from evaluation.tiny_networks import (
    save_dac,
    save_encodec,
    save_mimi,
    save_recogniser,
    save_speaker_network,
    save_utmos,
)
from pretended import DEVICE, There
from torch import Tensor

from codec import Codec, CodecError, audio
from codec.benchmarking import machine
from codec.benchmarking.timing import measure
from codec.cli import main
from codec.evaluation import MetricOptions, Scorer, SystemOptions, build_metrics, build_system, score_utterance
from codec.export import export_onnx
from codec.manifest import Utterance
from codec.quantizers import usage
from codec.quantizers.usage import CodeUsage
from codec.tokenstore import TokenDataset
from codec.tokenstore.tokenizing import Options, tokenize

pytestmark = [
    pytest.mark.usefixtures("pretending"),
    pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated"),
]
PROCESSOR = torch.device("cpu")
RATE = 24_000
CHEAP = ["pesq", "stoi", "mel", "stft", "si-sdr", "level"]


@pytest.fixture
def utterance(speech: Tensor, tmp_path: Path) -> Utterance:
    """A second of real speech, as a file."""
    path = tmp_path / "speech.wav"
    audio.write(path, speech[12_000:36_000], RATE)
    return Utterance("one", path, 24_000, RATE, text="to be or not")


def test_waveforms_of_the_device_are_scored_as_those_of_the_processor(speech: Tensor) -> None:
    clip = speech[12_000:36_000]
    degraded = (clip + 0.01 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))).view(1, 1, -1)
    expected = Scorer(RATE, CHEAP).score(clip, degraded)
    found = Scorer(RATE, CHEAP, device=DEVICE).score(clip.to(DEVICE), degraded.to(DEVICE))
    assert found == expected and len(found.numbers) >= len(CHEAP) and not found.failures


@pytest.mark.parametrize("kind", ["{}", "bypass:{}"])
def test_a_model_there_is_scored_as_on_the_processor(kind: str, utterance: Utterance, tiny_model_dir: Path) -> None:
    here, there = (build_system(kind.format(tiny_model_dir), SystemOptions(RATE, place)) for place in ("cpu", DEVICE))
    metrics = build_metrics(["stoi", "mel"], MetricOptions(RATE))
    expected, found = (score_utterance(each, utterance, metrics) for each in (here, there))
    assert not expected.error and found.tokens == expected.tokens and found.file_bytes == expected.file_bytes
    assert found.scores == pytest.approx(expected.scores, rel=1e-2)


@pytest.mark.parametrize(
    ("spec", "save"), [("encodec:0.6@{}", save_encodec), ("dac:2@{}", save_dac), ("mimi:1@{}", save_mimi)]
)
def test_other_codecs_compute_there(
    spec: str, save: Callable[[Path], Path], utterance: Utterance, speech: Tensor, tmp_path: Path
) -> None:
    folder = save(tmp_path / "network")
    systems = [build_system(spec.format(folder), SystemOptions(RATE, place)) for place in ("cpu", DEVICE)]
    here, there = (system.reconstruct(utterance, speech[:24_000]) for system in systems)
    assert not isinstance(there.audio, There) and there.audio.shape == here.audio.shape
    assert float((there.audio - here.audio).norm() / here.audio.norm()) < 1e-3
    assert (there.tokens is None) == (here.tokens is None)
    if here.tokens is not None and there.tokens is not None:
        assert torch.equal(there.tokens, here.tokens)


@pytest.mark.parametrize("name", ["utmos", "wer", "sim", "f1"])
def test_networks_that_judge_compute_there(name: str, speech: Tensor, tmp_path: Path) -> None:
    clip = audio.resample(speech[12_000:24_000], RATE, 16_000)
    clip = clip[2000:4500] if name == "f1" else clip  # torchcrepe's own convolutions take long on a processor
    degraded = clip + 0.05 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))
    files: dict[str, Any] = {}
    if name == "utmos":
        files = {"utmos_weights": save_utmos(tmp_path / "utmos.pt")}
    elif name == "wer":
        files = {"recogniser": save_recogniser(tmp_path / "recogniser")}
    elif name == "sim":
        files = {"speaker_network": save_speaker_network(tmp_path / "speaker")}
    scores = []
    for place in ("cpu", DEVICE):
        (metric,) = build_metrics([name], MetricOptions(RATE, place, **files))
        assert metric.unavailable() is None and (metric.in_pool == (name == "f1" and place == "cpu"))
        scores.append(metric.score_with_text(clip, degraded, "to be or not"))
    assert scores[1] == pytest.approx(scores[0], rel=1e-3, abs=1e-3) and scores[0]


@pytest.mark.parametrize("dense", [True, False])
def test_codes_are_counted_there(dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not dense:
        monkeypatch.setattr(usage, "DENSE", 8)
    tokens = torch.randint(64, (3, 200), generator=torch.Generator().manual_seed(0))
    here, there = CodeUsage(64), CodeUsage(64, DEVICE)
    for part in tokens:
        here.update(part)
        there.update(part.to(DEVICE))
    there.update(*(part.cpu() for part in here.occurring()))  # as of a checkpoint
    here.update(*here.occurring())
    codes, times = there.occurring()
    assert isinstance(times, There) and torch.equal(codes.cpu(), here.occurring()[0])
    assert torch.equal(times.cpu(), here.occurring()[1]) and there.summary() == here.summary()


def test_a_corpus_is_tokenised_there_as_on_the_processor(
    tiny_codec: Codec, utterance: Utterance, speech: Tensor, tmp_path: Path
) -> None:
    audio.write(tmp_path / "other.wav", speech[:15_001], RATE)
    items = [utterance, Utterance("other", tmp_path / "other.wav", 15_001, RATE)]
    found = []
    for name, codec in (("here", tiny_codec), ("there", copy.deepcopy(tiny_codec).to(DEVICE))):
        tokenize(codec, "tiny", items, tmp_path / name, Options("npy", 1.0, 20.0, 2), state=PartialState(cpu=True))
        found.append({entry.id: entry.tokens.tolist() for entry in TokenDataset(tmp_path / name)})
    assert found[0] == found[1] and len(found[0]["one"]) == 75


def test_commands_take_the_device(
    tiny_model_dir: Path, utterance: Utterance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Encode, print tokens, decode and score; there and on the processor the same."""
    said = []
    for name, place in (("here", "cpu"), ("there", "pretended:0")):
        tokens, back = tmp_path / f"{name}.svq", tmp_path / f"{name}.wav"
        model = ["--model", str(tiny_model_dir), "--device", place]
        command("encode", utterance.path, *model, "-o", tokens)
        command("decode", tokens, *model, "-o", back)
        capsys.readouterr()
        command("tokens", utterance.path, *model, "--format", "json")
        command("score", utterance.path, back, "--metrics", "stoi,level", "--device", place, "--json")
        found, scores = capsys.readouterr().out.splitlines()
        said.append((tokens.read_bytes(), found, json.loads(scores)["scores"]))
    assert said[0][:2] == said[1][:2] and len(said[0][1]) > 75
    assert said[1][2] == pytest.approx(said[0][2], rel=1e-2, abs=1e-2)


def command(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert not ended.value.code


def test_graphs_are_written_from_the_processor(tiny_codec: Codec, speech: Tensor, tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="give codec"):
        export_onnx(copy.deepcopy(tiny_codec).to(DEVICE), tmp_path / "graphs", speech)
    assert not (tmp_path / "graphs").exists()


def test_clocks_wait_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever kind it is: MPS only queues what it is asked for, too."""
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    measure({"work": lambda: waited.append(PROCESSOR)}, DEVICE, runs=2)
    assert waited == [PROCESSOR] * 2 + [DEVICE, PROCESSOR, DEVICE] * 2
    waited.clear()
    monkeypatch.setattr(machine, "SIZE", 8)
    machine.matrix_rate(DEVICE, torch.float32, runs=1)
    assert waited == [DEVICE] * 2
