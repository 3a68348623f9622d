"""torch.compile as a setting: the same names and training up to rounding, and a clear word where it cannot work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from codec import CodecError, RunConfig
from codec.training import compiling
from codec.training.trainer import Trainer

FEW = {
    "model": {
        "encoder": {"channels": 2, "strides": [8, 40], "lstm_layers": 0, "init_gain": 1.3},
        "decoder": {"dropout": 0.0, "residual_blocks": 0, "attention": False},
    },
    "discriminators": {"periods": [2], "resolutions": [], "dac_periods": [], "dac_fft_sizes": []},
    "data": {"validation": []},
    "optimizer": {"lr": 1e-4},
    "training": {
        "steps": 2,
        "log_every": 1,
        "validate_every": 2,
        "sample_every": 2,
        "checkpoint_every": 1,
        "discriminator_start": 1,
        "bottleneck_warmup": {"share": 0.0},
    },
}


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_compiled_training_is_the_same_training_under_the_same_names(
    make_config: Callable[..., RunConfig], make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced, but run without generated code, which would take minutes to make: nothing may differ at all then."""
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(compiling, "_try_compiler", lambda device: None)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part, **how: compile_module(part, backend="eager", **how))
    plain = make_trainer(make_config("plain", **FEW))
    plain.fit()
    torch._dynamo.utils.counters.clear()
    config = make_config("compiled", **{**FEW, "training": {**FEW["training"], "compile": True}})
    make_trainer(config).fit(stop_at=1)
    assert torch._dynamo.utils.counters["frames"]["ok"] >= 2
    # A compiled run is resumed uncompiled.
    resumed = make_trainer(config.model_copy(update={"training": plain.config.training}), resume=True)
    resumed.fit()
    for ours, theirs in (
        (plain.plain_codec, resumed.plain_codec),
        (plain.plain_discriminators, resumed.plain_discriminators),
    ):
        expected, found = ours.state_dict(), theirs.state_dict()
        assert expected.keys() == found.keys()
        assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def test_a_machine_without_a_compiler_is_told(
    make_config: Callable[..., RunConfig], make_trainer: Callable[..., Trainer]
) -> None:
    from torch._inductor import config as inductor

    config = make_config(**{**FEW, "training": {**FEW["training"], "compile": True}})
    says = r"training\.compile=true: torch\.compile does not work here \(.*install a C\+\+ compiler .*compile=false"
    with (
        inductor.patch({"cpp.cxx": ("/nowhere/g++",), "force_disable_caches": True}),
        pytest.raises(CodecError, match=says),
    ):
        make_trainer(config)
    assert not Path(config.output).exists()
