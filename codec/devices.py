"""Which device to work on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Its functions have the process group of the moment it is imported as default argument. TorchDynamo imports it, in the
# middle of a run: the group then outlives destroy_process_group, and its threads are killed with the interpreter, which
# now and then aborts the process. Imported here, before there is a group, it holds none.
import torch.distributed.nn
from accelerate.utils import parse_flag_from_env
from torch import Tensor

from codec.errors import CodecError


def on_cpu() -> bool:
    """Whether Accelerate is to use the CPU. Unless told so it takes each of several CPU processes for the only one."""
    return bool(parse_flag_from_env("ACCELERATE_USE_CPU")) or not torch.accelerator.is_available()


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """``auto`` -> CUDA, else MPS, else the CPU; anything else must exist here.

    Raises:
        CodecError: an unknown or absent device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        if device.type == "meta":
            raise RuntimeError("it holds no numbers")
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without CUDA
        reason = str(error).splitlines()[0]
        raise CodecError(f"device {str(name)!r} cannot be used here ({reason}); use auto or cpu") from None
    return device


def get_random_state(device: torch.device) -> Tensor:
    """What the generator is at that the device draws its random numbers from."""
    if device.type == "cpu":
        return torch.get_rng_state()
    state: Tensor = torch.get_device_module(device).get_rng_state(device)
    return state


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Go on from what :func:`get_random_state` gave."""
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within, what is drawn on the processor and on the device follows from the seed; behind it, theirs is what it was.

    Generators of other devices are left with the seed: torch sets them all.
    """
    both = {place.type: place for place in (torch.device("cpu"), device)}.values()
    before = [(place, get_random_state(place)) for place in both]
    torch.manual_seed(seed)
    try:
        yield
    finally:
        for place, state in before:
            set_random_state(place, state)
