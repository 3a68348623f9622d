"""``dtype`` and ``compile``, from Python and from the command line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from codec import Codec, CodecError, audio
from codec.cli import main
from codec.inference import takes_graphs
from codec.streaming import decode_chunks


def test_dtype_changes_the_audio_a_little_and_no_token(tiny_model_dir: Path, speech: Tensor) -> None:
    full, half = (Codec.from_pretrained(tiny_model_dir, "cpu", dtype=name) for name in ("float32", "bfloat16"))
    tokens = full.encode(speech)
    assert torch.equal(tokens.tokens, half.encode(speech).tokens)
    one, other = full.decode(tokens), half.decode(tokens)
    assert other.dtype == torch.float32
    assert 1e-5 < (one - other).norm() / one.norm() < 0.1
    assert half.fingerprint == full.fingerprint  # a file of one is read by the other
    half.save_pretrained(tiny_model_dir / "again")
    assert Codec.from_pretrained(tiny_model_dir / "again", "cpu").fingerprint == full.fingerprint


def test_dtype_is_that_of_batches_of_different_lengths_too(tiny_model_dir: Path, speech: Tensor) -> None:
    full, half = (Codec.from_pretrained(tiny_model_dir, "cpu", dtype=name) for name in ("float32", "bfloat16"))
    lengths = [48_000, 20_000, 48_000, 7_001]
    batch = torch.stack([speech, speech, speech.flip(0), speech])
    tokens = full.encode(batch, lengths=torch.tensor(lengths))
    decoded, other = half.decode(tokens), full.decode(tokens)
    assert decoded.shape == other.shape and decoded.dtype == torch.float32
    for row, length in enumerate(lengths):
        alone = half.decode(full.encode(batch[row, :length]))[0]
        torch.testing.assert_close(decoded[row, :, :length], alone, atol=1e-3, rtol=0)
        away = (decoded[row] - other[row]).norm() / other[row].norm()
        assert 1e-5 < away < 0.1
        assert not decoded[row, :, length:].any()


def test_a_prepared_codec_can_still_be_trained(tiny_model_dir: Path, speech: Tensor) -> None:
    codec = Codec.from_pretrained(tiny_model_dir, "cpu", dtype="bfloat16")
    before = codec.encode(speech)
    optimizer = torch.optim.SGD(codec.parameters(), lr=1.0)
    codec.train()(speech.view(1, 1, -1)).audio.square().mean().backward()
    optimizer.step()
    codec.eval()
    plain = codec.quantizer.encode(codec.encoder(speech.view(1, 1, -1)).detach())
    assert torch.equal(codec.encode(speech).tokens, plain)
    assert not torch.equal(plain, before.tokens)


def test_cuda_graphs_are_for_the_first_thread() -> None:
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(takes_graphs(torch.device("cuda"))))
    thread.start()
    thread.join()
    assert seen == [False]
    assert takes_graphs(torch.device("cuda")) and not takes_graphs(torch.device("cpu"))


def test_compile_is_asked_for_once_and_gives_the_same(
    tiny_model_dir: Path, speech: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the compiler, which takes a minute: what is compiled, how often, and what is done with the result."""
    compiled: list[nn.Module] = []

    def compile_(module: nn.Module, **_: object) -> Callable[..., Tensor]:
        compiled.append(module)
        return module.forward

    monkeypatch.setattr(torch, "compile", compile_)
    plain, codec = (
        Codec.from_pretrained(tiny_model_dir, "cpu"),
        Codec.from_pretrained(tiny_model_dir, "cpu", compile=True),
    )
    tokens = codec.encode(torch.stack([speech, speech.flip(0)]), lengths=torch.tensor([48_000, 20_000]))
    assert torch.allclose(codec.decode(tokens), plain.decode(tokens), atol=1e-4)
    windows = torch.cat(list(decode_chunks(codec, [tokens.tokens[0]])))
    assert torch.allclose(windows, plain.decode(tokens.tokens[:1])[0, 0], atol=1e-4)
    assert compiled == [codec.decoder.backbone]


def test_what_does_not_go_together_is_refused(tiny_model_dir: Path) -> None:
    with pytest.raises(CodecError, match="dtype='int8': expected float32 or bfloat16"):
        Codec.from_pretrained(tiny_model_dir, "cpu", dtype="int8")
    with pytest.raises(CodecError, match="compile with dtype=bfloat16"):
        Codec.from_pretrained(tiny_model_dir, "cpu", dtype="bfloat16", compile=True)


def test_from_the_command_line(
    tiny_model_dir: Path, speech_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_model_dir), "--device", "cpu"]

    def call(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *model])
        return int(ended.value.code or 0)

    svq, full, half = (str(tmp_path / name) for name in ("a.svq", "full.wav", "half.wav"))
    assert call("encode", str(speech_path), "-o", svq) == 0
    assert call("decode", svq, "-o", full) == 0
    assert call("decode", svq, "-o", half, "--dtype", "bfloat16") == 0
    one, other = (audio.load(path, 24_000) for path in (full, half))
    assert one.shape == other.shape and not torch.equal(one, other)
    assert (one - other).norm() / one.norm() < 0.1
    assert call("decode", svq, "-o", str(tmp_path / "no.wav"), "--dtype", "float8") == 2
    assert "dtype='float8': expected float32 or bfloat16" in capsys.readouterr().err
    assert not (tmp_path / "no.wav").exists()


def test_bench_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "--stage", "decode", "--size", "tiny", "--codebook", "16", "--seconds", "0.3"]
    arguments += ["--runs", "1", "--threads", "1", "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "-o", str(tmp_path / "bench.json")])
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert "GFLOP/s" in printed and "| decode, tiny | 16 | 1 x 0.3 | 1 | float32 |" in printed
    assert (tmp_path / "bench.json").is_file()
