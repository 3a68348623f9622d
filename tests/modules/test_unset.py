"""Networks that are built to be filled from a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import TINY

from codec import Codec
from codec.config import ModelConfig, build, merge
from codec.config.quantizers import SYSTEMS
from codec.modules.unset import UnsetWeights, truncated_normal_
from codec.pretrained import load_weights


@pytest.mark.parametrize("system", SYSTEMS)
def test_filled_they_are_what_drawn_ones_are(system: str) -> None:
    """Weights and buffers, those that no file holds among them, of every bottleneck; and no random number is drawn."""
    changes = {"quantizer": {"name": system, "codebook_size": 64}}
    config = build(ModelConfig, merge({**TINY.model_dump(mode="json"), "quantizer": {}}, changes))
    drawn = Codec(config).eval()
    before = torch.get_rng_state()
    with UnsetWeights():
        filled = Codec(config)
    assert torch.equal(torch.get_rng_state(), before)
    load_weights(filled, drawn.state_dict(), "the drawn one")
    filled.eval()
    for kind in ("named_parameters", "named_buffers"):
        theirs = dict(getattr(drawn, kind)())
        ours = dict(getattr(filled, kind)())
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert {p.requires_grad for p in filled.parameters()} == {p.requires_grad for p in drawn.parameters()}
    speech = 0.1 * torch.randn(9600, generator=torch.Generator().manual_seed(0))
    assert torch.equal(filled.encode(speech).tokens, drawn.encode(speech).tokens)


def test_loading_imports_no_compiler(tiny_model_dir: Path) -> None:
    code = (
        "import sys; from codec import Codec; Codec.from_pretrained(sys.argv[1], 'cpu'); "
        "print([name for name in ('sympy', 'torch._dynamo', 'torch._inductor') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tiny_model_dir)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_truncated_normal_is_not_drawn_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """From torch 2.13 on it draws again until every value fits: memory that is never set would do so for ever."""

    def draws_again(*_: object, **__: object) -> None:
        raise AssertionError("it would not end")

    monkeypatch.setattr(torch.nn.init, "trunc_normal_", draws_again)
    with UnsetWeights():
        far = torch.full((3,), 1e9)
        assert truncated_normal_(far, std=0.02) is far and bool((far == 1e9).all())
        Codec(TINY)
    with pytest.raises(AssertionError, match="would not end"):
        Codec(TINY)


def test_drawn_it_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours = truncated_normal_(torch.empty(100), std=0.02)
    torch.manual_seed(0)
    assert torch.equal(ours, torch.nn.init.trunc_normal_(torch.empty(100), std=0.02))
