from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import torch
from doubles import RATE
from golden_weights import GOLDEN, golden_state, golden_values, golden_weight, relative_error
from torch import Tensor

from codec import Codec, CodecError
from codec.bitstream import Header, write_tokens
from codec.convert import convert_simvq
from codec.evaluation import SystemOptions, build_system, system_names
from codec.evaluation.reconstructed_files import ReconstructedFiles
from codec.evaluation.systems import GroundTruth, ModelSystem, Resampling
from codec.manifest import Utterance


def test_model_folder(
    tiny_codec: Codec, tiny_model_dir: Path, utterances: list[Utterance], clips: list[Tensor]
) -> None:
    system = ModelSystem(tiny_model_dir, "cpu")
    result = system.reconstruct(utterances[0], clips[0])
    tokens = tiny_codec.encode(clips[0])
    assert result.tokens is not None and torch.equal(result.tokens, tokens.tokens[0])
    assert torch.equal(result.audio, tiny_codec.decode(tokens)[0, 0])
    assert result.audio.shape == clips[0].shape and not result.from_file
    assert system.sample_rate == RATE
    assert system.rate.codebook_size == 64 and system.rate.bitrate_bps == 450
    assert system.identity == f"model {tiny_codec.fingerprint}"
    header = Header(tiny_codec.token_fingerprint, RATE, 320, 64, len(clips[0]))
    assert result.file_bytes == write_tokens(io.BytesIO(), header, result.tokens.numpy())
    assert result.encode_s is not None and result.decode_s is not None
    assert result.encode_s > 0 and result.decode_s > 0


def test_model_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="no such model folder"):
        ModelSystem(tmp_path / "none", "cpu")


def test_a_bypassed_bottleneck_leaves_encoder_and_decoder(
    tiny_codec: Codec, tiny_model_dir: Path, utterances: list[Utterance], clips: list[Tensor]
) -> None:
    system = build_system(f"bypass:{tiny_model_dir}", SystemOptions())
    result = system.reconstruct(utterances[0], clips[0])  # 26,000 samples: 81.25 frames
    with torch.no_grad():
        expected = tiny_codec.decoder(tiny_codec.encoder(clips[0][None, None]))[0, 0, : len(clips[0])]
    torch.testing.assert_close(result.audio, expected, atol=1e-5, rtol=0)
    coded = ModelSystem(tiny_model_dir, "cpu")
    assert not torch.allclose(result.audio, coded.reconstruct(utterances[0], clips[0]).audio, atol=1e-3)
    assert system.rate is None and result.tokens is None and result.file_bytes is None
    assert system.identity != coded.identity


def test_ground_truth(utterances: list[Utterance], clips: list[Tensor]) -> None:
    assert torch.equal(GroundTruth(RATE).reconstruct(utterances[0], clips[0]).audio, clips[0])


def test_resampling_loses_what_lies_above_half_the_rate(utterances: list[Utterance]) -> None:
    time = torch.arange(RATE) / RATE
    kept, lost = torch.sin(2 * torch.pi * 3000 * time), torch.sin(2 * torch.pi * 5000 * time)
    found = Resampling(8000, RATE).reconstruct(utterances[0], 0.4 * kept + 0.4 * lost).audio
    assert found.shape == kept.shape
    middle = slice(2000, -2000)
    torch.testing.assert_close(found[middle], 0.4 * kept[middle], atol=1e-3, rtol=0)


def test_a_published_checkpoint_is_converted_on_the_fly(tmp_path: Path, utterances: list[Utterance]) -> None:
    state = golden_state("simvq_keys.json", "generator")
    torch.save({"state_dict": state}, tmp_path / "published.ckpt")
    convert_simvq(tmp_path / "published.ckpt", tmp_path / "converted")
    system = build_system(str(tmp_path / "published.ckpt"), SystemOptions(device="cpu"))
    assert system.identity == ModelSystem(tmp_path / "converted", "cpu").identity
    assert system.name.endswith("published.ckpt")
    tone = torch.sin(torch.arange(3201) / 20)
    assert system.reconstruct(utterances[0], tone).audio.shape == tone.shape


def test_a_published_wavtokenizer_is_told_apart(tmp_path: Path, utterances: list[Utterance]) -> None:
    shapes = json.loads((GOLDEN / "wavtokenizer_keys.json").read_text())
    state = {name: golden_weight(name, shape, seed=0) for name, shape in shapes.items()}
    state["head.istft.window"] = torch.hann_window(len(state["head.istft.window"]))
    torch.save({"state_dict": state}, tmp_path / "wavtokenizer.ckpt")
    system = build_system(str(tmp_path / "wavtokenizer.ckpt"), SystemOptions(device="cpu"))
    golden = golden_values("wavtokenizer_seed0.npz")
    result = system.reconstruct(utterances[0], golden["audio"])
    assert result.tokens is not None and torch.equal(result.tokens, golden["indices"][0])
    assert relative_error(result.audio, golden["reconstruction"][0, : len(golden["audio"])]) <= 1e-4


def test_a_shipped_model_is_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_names, "bundled_models", lambda: {"simvq-24khz-0.9kbps": None})
    with pytest.raises(CodecError, match=r"did you mean simvq-24khz-0\.9kbps\?"):
        build_system("simvq-24khz-0.9kbp", SystemOptions())


def test_systems_by_name(tmp_path: Path, tiny_model_dir: Path) -> None:
    options = SystemOptions(16_000, "cpu")
    assert isinstance(build_system("ground-truth", options), GroundTruth)
    assert isinstance(build_system(f"files:{tmp_path}", options), ReconstructedFiles)
    narrow = build_system("resample:8000", options)
    assert isinstance(narrow, Resampling) and narrow.sample_rate == 16_000
    for spec in (str(tiny_model_dir), f"model:{tiny_model_dir}"):
        model = build_system(spec, options)
        assert isinstance(model, ModelSystem) and model.sample_rate == RATE and model.name == str(tiny_model_dir)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ground-thruth", "did you mean ground-truth?"),
        ("opsu:6", "did you mean opus:6?"),
        ("opsu", "did you mean opus:6?"),
        ("opus", "did you mean opus:6?"),
        ("Codec2", "did you mean codec2:1300?"),
        ("opus:six", "'six' is no rate in kbit/s"),
        ("opus:5", "opusenc takes 6 to 256 kbit/s"),
        ("codec2:1200", "known are codec2:3200, codec2:2400, codec2:1300, codec2:700"),
        ("codec2:", "'' is no whole number"),
        ("speex:11", "give speex:0 to speex:10"),
        ("resample:-1", "give rates that are positive whole numbers"),
        ("model:gone", "gone: no such model"),
        ("exp/gone", "no such folder or file; systems are a model folder"),
    ],
)
def test_wrong_names(spec: str, message: str) -> None:
    with pytest.raises(CodecError, match=re.escape(message)):
        build_system(spec, SystemOptions())
