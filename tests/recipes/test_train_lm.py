"""recipes/train_lm.py, evaluate_lm.py and generate.py as a person starts them, one after the other."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from accelerate import PartialState

import codec.audio as audio_io
from codec import Codec, bitstream
from codec.cli import run
from codec.manifest import Utterance
from codec.tokenstore.tokenizing import Options, tokenize

ROOT = Path(__file__).parents[2]

SETTINGS = """
output: {output}
model: {{context: 64, layers: 1, dim: 16, heads: 2, mlp_dim: 32}}
data: {{train: [{tokens}], validation: [{tokens}], batch_size: 2}}
optimizer: {{lr: 1e-2, warmup_steps: 1}}
training: {{steps: 4, log_every: 1, validate_every: 2, checkpoint_every: 2}}
"""


def recipe(name: str) -> typer.Typer:
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", ROOT / "recipes" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app: typer.Typer = module.app
    return app


def call(name: str, *arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        run(recipe(name), [str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def tokens(tiny_codec: Codec, speech_path: Path, tmp_path: Path) -> Path:
    info = audio_io.info(speech_path)
    utterances = [Utterance("u", speech_path, info.num_samples, info.sample_rate)]
    tokenize(tiny_codec, "tiny", utterances, tmp_path / "tokens", Options("jsonl"), state=PartialState(cpu=True))
    return tmp_path / "tokens"


def test_train_score_and_speak(
    tokens: Path,
    tiny_codec: Codec,
    tiny_model_dir: Path,
    speech_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, lm = tmp_path / "lm.yaml", tmp_path / "run" / "best"
    config.write_text(SETTINGS.format(output=tmp_path / "run", tokens=tokens), encoding="utf-8")
    trained = subprocess.run(
        [sys.executable, str(ROOT / "recipes" / "train_lm.py"), "--config", str(config), "training.seed=1"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=200,
    )
    assert trained.returncode == 0, trained.stderr
    assert str(lm) in trained.stdout
    assert "step 4: validation" in trained.stderr

    file = tmp_path / "score" / "simvq.json"
    given = ("--model", lm, "--tokens", tokens, "--train", tokens, "--device", "cpu")
    assert call("evaluate_lm", *given, "-o", file) == 0
    scores = json.loads(file.read_text())
    assert scores["uniform_bits"] == 6.0
    assert 0 < scores["entropy_bits"] < scores["order0_bits"] < 6.0 < scores["bits_a_token"] + 3
    validations = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    best = min(entry["bits_a_token"] for entry in validations if entry["kind"] == "validation")
    assert scores["bits_a_token"] == pytest.approx(best, rel=1e-5)
    capsys.readouterr()
    assert call("evaluate_lm", "--table", file) == 0
    assert f"| score | tiny | 64 | {scores['tokens']} | 6.000 |" in capsys.readouterr().out
    monkeypatch.chdir(file.parent)  # a system is called as its folder is, be it this one
    assert call("evaluate_lm", "--table", file.name) == 0
    assert "| score | tiny |" in capsys.readouterr().out

    out = tmp_path / "out"
    speak = ("--model", lm, "--codec", tiny_model_dir, "--device", "cpu", "-o", out, "--seconds", "0.2", "--count", "2")
    prompted = ("--prompt", speech_path, "--prompt-s", "0.4")
    assert call("generate", *speak, *prompted) == 0
    facts = json.loads((out / "samples.json").read_text())
    speech = audio_io.load(speech_path, 24_000)[:9600]
    for number, sample in enumerate(facts["samples"]):
        saved = bitstream.read_tokens(out / f"{number:03}.svq")
        back = torch.from_numpy(saved.tokens.astype("int64"))
        assert sample["prompt_tokens"] == 30
        assert 30 <= len(back) == sample["tokens"] <= 45
        assert torch.equal(back[:30], tiny_codec.encode(speech).tokens[0])
        assert saved.header.fingerprint == tiny_codec.token_fingerprint
        assert audio_io.info(out / f"{number:03}.wav").num_samples == 320 * len(back)

    assert call("generate", *speak) == 2  # what is there is kept
    assert "exists already" in capsys.readouterr().err
    assert call("generate", *speak, "--force") == 0
    assert json.loads((out / "samples.json").read_text())["samples"][0]["prompt_tokens"] == 0

    torch.manual_seed(5)
    Codec(tiny_codec.config).save_pretrained(tmp_path / "other")
    wrong = ("--model", lm, "--codec", tmp_path / "other", "--device", "cpu", "-o", tmp_path / "none")
    capsys.readouterr()
    assert call("generate", *wrong) == 2
    assert f"speaks the tokens of {tiny_codec.token_fingerprint}" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "none").exists()
