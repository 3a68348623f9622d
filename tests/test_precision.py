"""Full float32 where tokens are made, and the process' switches as they were afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from codec import Codec
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
