"""A bottleneck from outside of the package, as docs/bottlenecks.md has it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import TINY

from codec import Codec, CodecError, load_run_config
from codec.config import SimVQConfig, VQConfig, dump_yaml
from codec.config.quantizers import SYSTEMS
from codec.config.run import add_system
from codec.quantizers import REGISTRY, Quantizer, register
from codec.quantizers.vq import VQ

PAGE = Path(__file__).parents[2] / "docs" / "bottlenecks.md"
NAME = "outside_of_the_package"  # as no module is called that a test before has imported


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's module, where Python finds it; forgotten again in the end."""
    (code,) = (
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "register" in block
    )
    path = tmp_path / f"{NAME}.py"
    path.write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("codec.config.plugins._loaded", set())
    yield path
    for known in (REGISTRY, SYSTEMS):
        known.pop("nearest", None)
    sys.modules.pop(NAME, None)
    add_system("simvq", SimVQConfig)  # builds the settings of models without it


def test_it_is_chosen_saved_and_loaded_as_any_other(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "run.yaml"
    settings.write_text(f"model: {TINY.model_dump_json()}")
    choice = ["model.quantizer.name=nearest", "model.quantizer.scale=0.25"]
    with pytest.raises(CodecError, match=r"name='nearest' is not known; .* once CODEC_PLUGINS names the module"):
        load_run_config(settings, choice)
    monkeypatch.setenv("CODEC_PLUGINS", f"{NAME}, ")
    run = load_run_config(settings, choice)
    assert run.model.quantizer.model_dump() == {
        "name": "nearest",
        "codebook_size": 64,
        "commitment": 0.25,
        "scale": 0.25,
    }
    settings.write_text(dump_yaml(run))
    assert load_run_config(settings) == run
    with pytest.raises(CodecError, match=r"unknown setting model.quantizer.scal; did you mean model.quantizer.scale\?"):
        load_run_config(settings, ["model.quantizer.scal=1"])

    torch.manual_seed(0)
    codec = Codec(run.model).eval()
    assert type(codec.quantizer).__module__ == NAME
    codec.save_pretrained(tmp_path / "model")
    back = Codec.from_pretrained(tmp_path / "model", device="cpu")
    audio = torch.randn(4_000)
    assert torch.equal(back.encode(audio).tokens, codec.encode(audio).tokens)
    assert back.fingerprint == codec.fingerprint


def test_it_holds_the_contract(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's example is one to begin with."""
    monkeypatch.setenv("CODEC_PLUGINS", NAME)
    load_run_config(Path(__file__).parents[2] / "egs" / "mini" / "conf" / "tiny.yaml", ["model.quantizer.name=nearest"])
    quantizer: Quantizer[SimVQConfig] = REGISTRY["nearest"](8, SYSTEMS["nearest"](codebook_size=40))
    rows = torch.randn(300, 8)
    quantizer.initialize(rows, "kmeans", torch.Generator().manual_seed(0))
    latent = rows[:12].view(2, 6, 8).transpose(1, 2).requires_grad_()
    out = quantizer(latent)
    assert torch.equal(quantizer.encode(quantizer.decode(out.tokens)), out.tokens)
    (out.quantized.sum() + out.loss).backward()
    assert latent.grad is not None and torch.equal(latent.grad, torch.ones_like(latent))
    assert all(weight.grad is not None for weight in quantizer.parameters())


def test_mistakes(module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEC_PLUGINS", "no_such_module_anywhere")
    with pytest.raises(CodecError, match=r"CODEC_PLUGINS=no_such_module_anywhere: cannot import .* in PYTHONPATH"):
        Codec.from_pretrained("simvq-24khz-0.9kbps")
    with pytest.raises(CodecError, match=r"a bottleneck 'vq' is there already \(codec.quantizers.vq\)"):
        register(VQConfig, REGISTRY["ema"])
    register(VQConfig, VQ)  # a notebook's cell may run twice
