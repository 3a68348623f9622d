from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from codec import Codec
from codec.audio import load
from codec.bitstream import SUFFIX, Header, read_tokens, write_tokens


def facts(out: str) -> dict[str, str]:
    """The lines below the title, ``name  value``."""
    lines = [line.strip().split("  ", 1) for line in out.splitlines()[1:]]
    return {name: value.strip() for name, value in lines}


def test_a_token_file(cli, tmp_path: Path, stereo_path: Path, tiny_codec: Codec, tiny_model_dir: Path) -> None:
    path = tmp_path / f"a{SUFFIX}"
    cli("encode", stereo_path, "-o", path, "--model", tiny_model_dir)
    outcome = cli("info", path)
    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == f"{path}: token file"
    size = 48 + 6 + 150 * 6 // 8 + 1 + 22
    assert facts(outcome.out) == {
        "encoder": tiny_codec.token_fingerprint,
        "sample rate": "24000 Hz",
        "frame rate": "75 tokens/s (hop 320)",
        "codebook": "64 codes, 6 bits a token",
        "tokens": "150",
        "samples": "48000",
        "bytes": str(size),
        "duration": "2.000 s",
        "rate": f"{4 * size} bit/s",
    }


def test_files_one_behind_the_other_are_noticed(cli, tmp_path: Path, stereo_path: Path, tiny_model_dir: Path) -> None:
    """Only the first is read, and its rate is its own."""
    path, two = tmp_path / "a.svq", tmp_path / "two.svq"
    cli("encode", stereo_path, "-o", path, "--model", tiny_model_dir)
    two.write_bytes(2 * path.read_bytes())
    says = f"warning: {two}: {path.stat().st_size} bytes behind its end are not read"
    told = cli("info", two)
    assert told.code == 0 and facts(told.out) == facts(cli("info", path).out)
    assert told.err.startswith(says)
    assert cli("tokens", two).out == cli("tokens", path).out
    assert cli("tokens", two).err.startswith(says)
    decoded = cli("decode", two, "-o", tmp_path / "two.wav", "--model", tiny_model_dir)
    assert decoded.code == 0 and says in decoded.err
    assert "behind its end" not in cli("info", path).err + cli("tokens", path).err


def test_a_damaged_token_file(cli, tmp_path: Path, stereo_path: Path, tiny_model_dir: Path) -> None:
    path = tmp_path / "a.svq"
    cli("encode", stereo_path, "-o", path, "--model", tiny_model_dir)
    path.write_bytes(path.read_bytes()[:-30])
    outcome = cli("info", path)
    assert outcome.code == 2
    assert facts(outcome.out)["samples"] == "48000"
    assert outcome.err == (
        f"error: {path}: it ends early, after 0 frames (0.00 s) of 150; "
        "get it again; codec decode --partial decodes what is whole\n"
    )


def test_a_token_file_by_content(cli, tmp_path: Path, stereo_path: Path, tiny_model_dir: Path) -> None:
    cli("encode", stereo_path, "-o", tmp_path / "a.svq", "--model", tiny_model_dir)
    (tmp_path / "a.svq").rename(tmp_path / "unnamed")
    assert facts(cli("info", tmp_path / "unnamed").out)["tokens"] == "150"


def test_a_token_file_on_standard_input(
    cli, tmp_path: Path, stereo_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("encode", stereo_path, "-o", tmp_path / "a.svq", "--model", tiny_model_dir)
    by_name, content = cli("info", tmp_path / "a.svq").out, (tmp_path / "a.svq").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))
    assert facts(cli("info", "-").out) == facts(by_name)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"RIFF" * 30), isatty=lambda: False))
    cli("info", "-").must_be_mistake("standard input: not a .svq file")


def test_a_folder_of_token_files(
    cli, tmp_path: Path, stereo_path: Path, tiny_codec: Codec, tiny_model_dir: Path
) -> None:
    for name in ("a", "below/b"):
        cli("encode", stereo_path, "-o", tmp_path / f"{name}{SUFFIX}", "--model", tiny_model_dir)
    size = (tmp_path / f"a{SUFFIX}").stat().st_size
    outcome = cli("info", tmp_path)
    assert outcome.code == 0 and outcome.out.splitlines()[0] == f"{tmp_path}: folder of token files"
    shares = np.unique(read_tokens(tmp_path / f"a{SUFFIX}").tokens, return_counts=True)[1] / 150
    both = {"encoder": tiny_codec.token_fingerprint, "tokens": "300", "bytes": str(2 * size), "duration": "4.00 s"}
    both["codebook"] = f"64 codes, {len(shares)} used"
    both["entropy"] = f"{-(shares * np.log2(shares)).sum():.2f} bits a token"
    assert facts(outcome.out) == {"files": "2", **both, "rate": f"{4 * size} bit/s"}
    (tmp_path / f"torn{SUFFIX}").write_bytes((tmp_path / f"a{SUFFIX}").read_bytes()[:-30])
    outcome = cli("info", tmp_path)
    assert outcome.code == 2 and f"torn{SUFFIX}" in outcome.err
    assert facts(outcome.out) == {"files": "3, of which 1 cannot be read", **both, "rate": f"{4 * size} bit/s"}
    write_tokens(tmp_path / f"torn{SUFFIX}", Header("f" * 16, 24_000, 320, 64, 5), np.zeros(1, np.int64))
    outcome = cli("info", tmp_path)
    assert "of several encoders" in outcome.err and "entropy" not in facts(outcome.out)
    shutil.copytree(tiny_model_dir, tmp_path / "run" / "best")
    shutil.copy(tmp_path / f"a{SUFFIX}", tmp_path / "run" / f"sample{SUFFIX}")
    cli("info", tmp_path / "run").must_be_mistake("is the folder of a run; its model is", "run/best")
    (tmp_path / "empty").mkdir()
    outcome = cli("info", tmp_path / "empty")
    assert outcome.code == 2 and "no model, as it has no config.json" in outcome.err and "no token file" in outcome.err


def test_a_model(cli, tiny_codec: Codec, tiny_model_dir: Path) -> None:
    outcome = cli("info", tiny_model_dir)
    assert outcome.code == 0
    assert facts(outcome.out) == {
        "model": tiny_codec.fingerprint,
        "encoder": tiny_codec.token_fingerprint,
        "sample rate": "24000 Hz",
        "frame rate": "75 tokens/s (hop 320)",
        "codebook": "64 codes",
        "rate": "450 bit/s",
        "latent width": "16",
        "causal": "no",
        "parameters": f"{sum(parameter.numel() for parameter in tiny_codec.parameters()):,}",
    }


def test_audio(cli, stereo_path: Path) -> None:
    outcome = cli("info", stereo_path)
    assert outcome.code == 0
    assert facts(outcome.out) == {
        "sample rate": "8000 Hz",
        "channels": "2",
        "samples": "16000",
        "duration": "2.000 s",
    }


def test_mistakes(cli, tmp_path: Path) -> None:
    (tmp_path / "empty.svq").touch()
    (tmp_path / "text").write_text("nothing of ours")
    (tmp_path / "folder").mkdir()
    cli("info", tmp_path / "empty.svq").must_be_mistake("empty.svq", "0 bytes", "expected a .svq file")
    cli("info", tmp_path / "missing").must_be_mistake("missing", "No such file")
    cli("info", tmp_path / "text").must_be_mistake("text", "not audio")
    cli("info", tmp_path / "folder").must_be_mistake("folder", "config.json")


def test_a_name_that_no_model_has_gets_a_suggestion(cli, tmp_path: Path) -> None:
    cli("info", "simvq-24khz-0.9kbs").must_be_mistake("no such file", "did you mean simvq-24khz-0.9kbps?")
    cli("info", "simvq").must_be_mistake("no such file", "models that ship: simvq-24khz-0.9kbps")
    assert "ship" not in cli("info", tmp_path / "gone.wav").err


def test_a_list_of_tokens(cli, tmp_path: Path, stereo_path: Path, tiny_codec: Codec, tiny_model_dir: Path) -> None:
    (tmp_path / "a.jsonl").write_text(2 * cli("tokens", stereo_path, "--model", tiny_model_dir, "--format", "json").out)
    tokens = tiny_codec.encode(load(stereo_path, 24_000)).tokens
    outcome = cli("info", tmp_path / "a.jsonl")
    assert (outcome.code, outcome.out.splitlines()[0]) == (0, f"{tmp_path / 'a.jsonl'}: list of tokens")
    assert facts(outcome.out) == {
        "recordings": "2",
        "tokens": f"300, from {tokens.min()} to {tokens.max()}",
        "encoder": tiny_codec.token_fingerprint,
    }
    np.save(tmp_path / "a.npy", tokens.numpy())
    assert "not told" in facts(cli("info", tmp_path / "a.npy").out)["encoder"]
