"""EnCodec, DAC and Mimi as systems, by tiny networks of the real classes, against transformers called directly."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import transformers
from doubles import RATE
from huggingface_hub import constants
from tiny_networks import save_dac, save_encodec, save_mimi
from torch import Tensor
from torch.nn import functional as F

from codec import CodecError, audio
from codec.evaluation import MetricOptions, SystemOptions, build_metrics, build_system, evaluate, summarize
from codec.evaluation.neural_peers import Mimi
from codec.evaluation.unavailable import SystemUnavailableError
from codec.manifest import Utterance

OPTIONS = SystemOptions(RATE, "cpu")


@pytest.fixture(scope="module")
def encodec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encodec(tmp_path_factory.mktemp("encodec"))


@pytest.fixture(scope="module")
def dac(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dac(tmp_path_factory.mktemp("dac"))


@pytest.fixture(scope="module")
def mimi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mimi(tmp_path_factory.mktemp("mimi"))


@torch.no_grad()
def test_encodec_is_the_librarys(encodec: Path, utterances: list[Utterance], clips: list[Tensor]) -> None:
    clip = clips[1]  # no whole number of frames
    system = build_system(f"encodec:0.6@{encodec}", OPTIONS)
    result = system.reconstruct(utterances[1], clip)
    network = transformers.EncodecModel.from_pretrained(encodec).eval()
    both = network(clip[None, None], bandwidth=0.6)
    assert both.audio_codes.shape[-2] == 2
    assert torch.equal(result.audio, both.audio_values[0, 0, : len(clip)])
    assert result.tokens is None and result.file_bytes is None and not result.from_file
    assert result.encode_s is not None and result.encode_s > 0
    assert (system.name, system.sample_rate) == ("encodec:0.6", RATE)
    assert system.rate.bitrate_bps == 600 and system.rate.codebook_size is None
    lowest = build_system(f"encodec:0.3@{encodec}", OPTIONS)
    one = lowest.reconstruct(utterances[1], clip)
    assert one.tokens is not None and torch.equal(one.tokens, network.encode(clip[None, None]).audio_codes[0, 0, 0])
    assert (lowest.rate.bitrate_bps, lowest.rate.codebook_size, lowest.rate.frame_rate) == (300, 16, 75)
    assert not torch.equal(one.audio, result.audio) and lowest.identity != system.identity


@torch.no_grad()
def test_dac_is_the_librarys(dac: Path, utterances: list[Utterance], clips: list[Tensor]) -> None:
    clip = clips[1]
    system = build_system(f"dac:2@{dac}", OPTIONS)
    network = transformers.DacModel.from_pretrained(dac).eval()
    whole = F.pad(clip, (0, -len(clip) % 320))
    both = network(whole[None, None], n_quantizers=2)
    found = system.reconstruct(utterances[1], clip).audio
    torch.testing.assert_close(found, both.audio_values.flatten()[: len(clip)])
    assert found.std() > 0 and len(found) == len(clip)
    assert system.rate.bitrate_bps == 600
    everything = build_system(f"dac:@{dac}", OPTIONS)
    assert everything.rate.bitrate_bps == 1200 and everything.name == "dac"


@torch.no_grad()
def test_mimi_is_the_librarys(mimi: Path, utterances: list[Utterance], clips: list[Tensor]) -> None:
    clip = clips[1]
    system = build_system(f"mimi:3@{mimi}", OPTIONS)
    network = transformers.MimiModel.from_pretrained(mimi).eval()
    codes = network.encode(clip[None, None], num_quantizers=3).audio_codes
    expected = network.decode(codes).audio_values.flatten()
    found = system.reconstruct(utterances[1], clip).audio
    torch.testing.assert_close(found, expected[: len(clip)])
    assert found.std() > 0 and len(found) == len(clip)
    assert system.rate.bitrate_bps == 3 * 12.5 * 4
    one = build_system(f"mimi:1@{mimi}", OPTIONS).reconstruct(utterances[1], clip)
    assert one.tokens is not None and torch.equal(one.tokens, codes[0, 0])


@torch.no_grad()
def test_a_network_of_another_rate_is_fed_and_read_through_a_resampler(
    tmp_path: Path, utterances: list[Utterance], clips: list[Tensor]
) -> None:
    folder = save_dac(tmp_path, sampling_rate=16_000)
    system = build_system(f"dac:4@{folder}", OPTIONS)
    clip = clips[0]
    network = transformers.DacModel.from_pretrained(folder).eval()
    narrow = audio.resample_sharply(clip, RATE, 16_000)
    expected = network(F.pad(narrow, (0, -len(narrow) % 320))[None, None]).audio_values.flatten()
    found = system.reconstruct(utterances[0], clip).audio
    torch.testing.assert_close(found, audio.resample_sharply(expected, 16_000, RATE)[: len(clip)])
    assert (system.sample_rate, system.rate.bitrate_bps) == (RATE, 4 * 50 * 4)


def test_they_are_scored_as_every_system(mimi: Path, utterances: list[Utterance], tmp_path: Path) -> None:
    system = build_system(f"mimi:1@{mimi}", OPTIONS)
    outcome = evaluate(system, utterances[:2], build_metrics(["mel"], MetricOptions(RATE)), tmp_path)
    summary = summarize(system, outcome, "two")
    assert summary["metrics"]["mel_distance"]["n_ok"] == 2 and outcome.speed.utterances == 1  # the first is a warm-up
    assert summary["rate"]["bitrate_bps"] == 50 and summary["rate"]["codes_used"] > 1
    assert "file_bps" not in summary["rate"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("encodec:7@{encodec}", "known are encodec:0.3, encodec:0.6, encodec:1.2"),
        ("encodec:six@{encodec}", "'six' is no rate in kbit/s"),
        ("dac:5@{dac}", "give dac:1 to dac:4"),
        ("mimi:0@{mimi}", "give mimi:1 to mimi:4"),
        ("mimi:x@{mimi}", "'x' is no whole number"),
        ("mimi:2@{dac}", "holds a network of type dac, expected mimi"),
        ("dca:9", "did you mean dac:9?"),
    ],
)
def test_wrong_names(spec: str, message: str, encodec: Path, dac: Path, mimi: Path) -> None:
    with pytest.raises(CodecError, match=re.escape(message)):
        build_system(spec.format(encodec=encodec, dac=dac, mimi=mimi), OPTIONS)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("encodec:6", "facebook/encodec_24khz is not on this machine; run codec fetch encodec"),
        ("dac", "descript/dac_24khz is not on this machine; run codec fetch dac"),
        ("mimi:8", "kyutai/mimi is not on this machine; run codec fetch mimi"),
        ("mimi:8@me/mine", "run codec fetch mimi --repository me/mine"),
    ],
)
def test_missing_weights_are_named(spec: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", tmp_path)
    with pytest.raises(SystemUnavailableError, match=re.escape(reason)):
        build_system(spec, OPTIONS)


def test_a_folder_that_is_none_is_a_mistake_not_a_gap_in_the_table(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match=re.escape(f"{tmp_path}/gone: no such folder")) as caught:
        build_system(f"dac:2@{tmp_path}/gone", OPTIONS)
    assert not isinstance(caught.value, SystemUnavailableError)


def test_weights_that_are_not_all_there_are_not_filled_up(mimi: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((mimi / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(SystemUnavailableError, match="weights missing"):
        Mimi(2, tmp_path, RATE, "cpu")
    (tmp_path / "config.json").unlink()
    with pytest.raises(CodecError, match=r"config\.json: cannot be read"):
        Mimi(2, tmp_path, RATE, "cpu")
