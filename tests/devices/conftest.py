"""The pretended device, for the files of cases; imported where it is asked for alone, since importing changes torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from tiny import CORPUS
from torch import device, nn
from training.conftest import SETTINGS

from codec import RunConfig, audio
from codec.config import build, merge
from codec.manifest import Utterance, write_manifest

MakeAccelerator = Callable[[device], Accelerator]
MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def pretending(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``.to(DEVICE)`` leads to the device."""
    from pretended import Pretending

    from codec.quantizers.search import fused

    monkeypatch.setattr(fused, "unavailable", lambda device: "its kernels have tests of their own")
    with Pretending():
        yield


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """Settings of a small run on real speech, with changes on top; ``output`` is a folder below tmp_path."""
    files = sorted((CORPUS / "dev-mini").glob("**/*.flac"))
    known = [(file, audio.info(file)) for file in files]
    manifest = tmp_path / "dev.jsonl"
    write_manifest(manifest, [Utterance(file.stem, file, info.num_samples, info.sample_rate) for file, info in known])

    def make(output: str, **changes: Any) -> RunConfig:
        given = {"output": str(tmp_path / output), "data": {"train": [str(manifest)], "validation": [str(manifest)]}}
        return build(RunConfig, merge(merge(SETTINGS, given), changes))

    return make


@pytest.fixture
def accelerator_on(monkeypatch: pytest.MonkeyPatch) -> MakeAccelerator:
    """Makes an accelerator of a device, as in a process of its own, and trainers that begin their modules there.

    Optimizers are made before accelerate moves the modules, whose weights then stay the same objects: not here.
    """
    from codec.lm import trainer as lm_trainer
    from codec.training import trainer

    parts = [(trainer, "Codec"), (trainer, "Discriminators"), (lm_trainer, "build_language_model")]
    makers: list[tuple[object, str, Callable[..., nn.Module]]] = [(m, name, getattr(m, name)) for m, name in parts]

    def make(place: device) -> Accelerator:
        for shared in (AcceleratorState, GradientState, PartialState):
            shared._reset_state()
        accelerator = Accelerator(cpu=True)
        PartialState._shared_state["device"] = AcceleratorState._shared_state["device"] = place
        for module, name, made in makers:
            monkeypatch.setattr(module, name, lambda *given, _made=made, **named: _made(*given, **named).to(place))
        return accelerator

    return make
