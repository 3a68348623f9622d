"""Full float32 where tokens are made, and the process' switches as they were afterwards."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.nn import functional

from codec import Codec
from codec.audio import resample
from codec.precision import _switches, full_float32
from codec.streaming import encode_chunks

WAIT_S = 20.0  # none of these waits ends by the clock unless something is broken


@pytest.fixture(autouse=True)
def switches_as_they_were() -> Iterator[None]:
    overall, tf32 = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    before = [switch.fp32_precision for switch in _switches()]
    yield
    torch.set_float32_matmul_precision(overall)
    torch.backends.cudnn.allow_tf32 = tf32
    for switch, precision in zip(_switches(), before, strict=True):
        switch.fp32_precision = precision


@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_is_off_inside_and_as_it_was_behind(tf32: bool) -> None:
    torch.backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high")
    before = [switch.fp32_precision for switch in _switches()]
    with full_float32():
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
        assert {switch.fp32_precision for switch in _switches()} <= {"none", "ieee"}
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert torch.get_float32_matmul_precision() == "high"
    assert [switch.fp32_precision for switch in _switches()] == before


def test_single_switches_of_a_caller_stay_his() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = "tf32"  # type: ignore[attr-defined]
    with full_float32():
        assert {switch.fp32_precision for switch in _switches()} <= {"none", "ieee"}
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"  # type: ignore[attr-defined]
    assert torch.backends.cudnn.rnn.fp32_precision == "tf32"  # type: ignore[attr-defined]


@pytest.mark.parametrize("switch", ["", "cudnn", "cudnn.conv", "cudnn.rnn", "cuda.matmul", "mkldnn"])
def test_the_newer_switches_for_many_are_off_inside_too(switch: str) -> None:
    """Each in a process of its own: of some of these there is no way back to how torch starts."""
    program = f"""
import torch
from codec.precision import _switches, full_float32
part = torch.backends
for name in {switch.split(".") if switch else []}:
    part = getattr(part, name)
part.fp32_precision = "tf32" if {switch!r} != "mkldnn" else "bf16"
before = [switch.fp32_precision for switch in _switches()]
with full_float32():
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    inside = [switch.fp32_precision for switch in _switches()]
    assert set(inside) <= {{"none", "ieee"}}, inside
after = [switch.fp32_precision for switch in _switches()]
assert after == before, (before, after)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_bottlenecks_and_resampling_run_in_it(tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def call(*arguments: object, **named: object) -> torch.Tensor:
            seen.append(torch.get_float32_matmul_precision())
            return function(*arguments, **named)

        return call

    torch.set_float32_matmul_precision("medium")
    quantizer = tiny_codec.quantizer
    monkeypatch.setattr(quantizer, "search_rows", watched(quantizer.search_rows))
    monkeypatch.setattr(quantizer, "look_up", watched(quantizer.look_up))
    monkeypatch.setattr(functional, "conv1d", watched(functional.conv1d))
    tokens = quantizer.encode(torch.randn(1, tiny_codec.latent_dim, 4))
    quantizer.decode(tokens)
    resample(torch.randn(1000), 16_000, 24_000)
    assert seen == ["highest"] * 3
    assert torch.get_float32_matmul_precision() == "medium"


def test_the_encoder_runs_in_it(tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN's convolutions are in TF32 otherwise, and a GPU gives other tokens than a CPU."""
    assert torch.backends.cudnn.allow_tf32
    seen = []
    takes = type(tiny_codec.encoder).forward
    steps = type(tiny_codec.encoder).step

    def forward(self: torch.nn.Module, *arguments: object, **named: object) -> object:
        seen.append(torch.backends.cudnn.allow_tf32)
        return takes(self, *arguments, **named)  # type: ignore[arg-type]

    def step(self: torch.nn.Module, *arguments: object, **named: object) -> object:
        seen.append(torch.backends.cudnn.allow_tf32)
        return steps(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(type(tiny_codec.encoder), "forward", forward)
    monkeypatch.setattr(type(tiny_codec.encoder), "step", step)
    audio = 0.1 * torch.randn(2, 1000)  # so short that the modules themselves run
    tiny_codec.encode(audio)
    tiny_codec.encode(audio, lengths=torch.tensor([1000, 700]))
    list(encode_chunks(tiny_codec, list(audio)))
    assert len(seen) >= 4 and not any(seen)
    assert torch.backends.cudnn.allow_tf32


def test_full_float32_ends_with_the_last_of_overlapping_threads() -> None:
    """The first to enter leaves first: what the second found on entry is not what the caller had set."""
    before = torch.get_float32_matmul_precision()
    inside, first_has_left = threading.Event(), threading.Event()
    seen = []

    def second() -> None:
        with full_float32():
            inside.set()
            first_has_left.wait(WAIT_S)
            seen.append(torch.get_float32_matmul_precision())

    try:
        torch.set_float32_matmul_precision("medium")
        thread = threading.Thread(target=second)
        with full_float32():
            thread.start()
            assert inside.wait(WAIT_S)
        first_has_left.set()
        thread.join(WAIT_S)
        assert seen == ["highest"]
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
