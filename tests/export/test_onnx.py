from __future__ import annotations

import copy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY
from torch import Tensor

from codec import Codec, CodecError, ModelConfig
from codec.audio import load
from codec.config import TransformerConfig
from codec.export import graphs, onnx
from codec.export.onnx import compare, export_onnx

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def speech(speech_path: Path) -> Tensor:
    """Three seconds of real speech, (72000,), at 24 kHz."""
    return load(speech_path, 24_000)[:72_000]


def changed(**changes: dict) -> Codec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = {name: getattr(TINY, name).model_copy(update=change) for name, change in changes.items()}
        return Codec(ModelConfig(**{**dict(TINY), **parts})).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, speech: Tensor) -> tuple[Codec, Path]:
    codec, folder = changed(), tmp_path_factory.mktemp("onnx") / "new"
    comparison = export_onnx(codec, folder, speech)
    assert comparison.tokens > 225 and comparison.audio_difference < 1e-5
    assert sorted(path.name for path in folder.iterdir()) == ["codec.json", "decoder.onnx", "encoder.onnx"]
    return codec, folder


def test_graphs_take_every_length_and_batches(exported: tuple[Codec, Path], speech: Tensor) -> None:
    codec, folder = exported
    encode, decode = (onnxruntime.InferenceSession(str(folder / name)) for name in ("encoder.onnx", "decoder.onnx"))
    seen = set()
    for batch, T in [(1, 1), (1, 2), (3, 319), (1, 320), (2, 321), (1, 1111), (4, 9_999), (1, 60_001)]:
        audio = torch.stack([speech[7_000 * row : 7_000 * row + T] for row in range(batch)])
        (tokens,) = encode.run(None, {"audio": audio.numpy()})
        assert tokens.dtype == np.int64
        assert tokens.tolist() == codec.encode(audio).tokens.tolist()
        (waveform,) = decode.run(None, {"tokens": tokens})
        expected = codec.decode(torch.from_numpy(tokens))[:, 0]
        np.testing.assert_allclose(waveform, expected, rtol=0, atol=1e-4)
        seen |= set(tokens.ravel().tolist())
    assert len(seen) > 30


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": {"causal": False}},
        {"encoder": {"unit_norm": True, "lstm_layers": 0}},
        {"decoder": {"attention": False, "n_fft": 640}},
        {"encoder": {"strides": (7, 7, 3, 3)}, "decoder": {"n_fft": 4 * 441}},
    ],
    ids=["not causal", "unit norm, no LSTM", "no attention", "odd hop"],
)
def test_other_settings(tmp_path: Path, speech: Tensor, changes: dict) -> None:
    assert export_onnx(changed(**changes), tmp_path, speech).audio_difference < 1e-5


def test_a_codebook_in_pieces(tmp_path: Path, speech: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "CODES_AT_ONCE", 25)
    assert export_onnx(changed(), tmp_path, speech).tokens > 225


def test_graphs_that_differ_are_not_kept(
    tmp_path: Path, speech: Tensor, monkeypatch: pytest.MonkeyPatch, exported: tuple[Codec, Path]
) -> None:
    codec, folder = exported
    other = changed(encoder={"init_gain": 1.2})
    with pytest.raises(CodecError, match=r"gives other tokens than PyTorch: \d+ of"):
        compare(other, folder / "encoder.onnx", folder / "decoder.onnx", speech)
    monkeypatch.setattr(graphs, "MAX_LOG_MAGNITUDE", -3.0)
    with pytest.raises(CodecError, match=r"audio differs by .* from PyTorch's"):
        export_onnx(codec, tmp_path / "new", speech)
    assert not (tmp_path / "new").exists()


def test_ties_are_counted_and_not_refused(tmp_path: Path, speech: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = changed()
    with torch.no_grad():
        codec.quantizer.codebook[1::2] = codec.quantizer.codebook[::2]  # every code twice
        twins = copy.deepcopy(codec)
        twins.quantizer.codebook[::2] *= 1 + 1e-6  # a rounding away
    export_onnx(codec, tmp_path, speech)
    comparison = compare(twins, tmp_path / "encoder.onnx", tmp_path / "decoder.onnx", speech)
    assert 0 < comparison.ties < comparison.tokens
    monkeypatch.setattr(onnx, "ROUNDING", 1e-9)
    with pytest.raises(CodecError, match="gives other tokens than PyTorch"):
        compare(twins, tmp_path / "encoder.onnx", tmp_path / "decoder.onnx", speech)


def test_a_transformer_is_refused_at_once(tmp_path: Path, speech: Tensor) -> None:
    codec = changed(encoder={"transformer": TransformerConfig(layers=1, heads=2, window=8)})
    with pytest.raises(CodecError, match=r"encoder.transformer.layers=1: .* \(layers=0\) can be exported"):
        export_onnx(codec, tmp_path / "new", speech)
    assert not (tmp_path / "new").exists()


def test_what_onnxruntime_refuses_is_one_line(tmp_path: Path, exported: tuple[Codec, Path], speech: Tensor) -> None:
    codec, folder = exported
    damaged = tmp_path / "encoder.onnx"
    damaged.write_bytes((folder / "encoder.onnx").read_bytes()[:1000])
    with pytest.raises(CodecError, match=r"cannot run the exported encoder \(.*\); please report"):
        compare(codec, damaged, folder / "decoder.onnx", speech)
    with pytest.raises(CodecError, match=r"cannot run the exported decoder \(.*\); please report"):  # takes audio
        shutil.copy(folder / "encoder.onnx", tmp_path / "decoder.onnx")
        compare(codec, folder / "encoder.onnx", tmp_path / "decoder.onnx", speech)


def test_mistakes(tmp_path: Path, tiny_codec: Codec, speech: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CodecError, match=r"0.50 s of speech .* at least 2 s"):
        export_onnx(tiny_codec, tmp_path, speech[:12_000])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        CodecError, match=r"export needs onnxruntime; pip install -e '\.\[export\]' .*pip install onnxr"
    ):
        export_onnx(tiny_codec, tmp_path, speech)
    assert not list(tmp_path.iterdir())
