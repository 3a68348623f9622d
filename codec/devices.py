"""Which device to work on."""

from __future__ import annotations

import torch

# Its functions have the process group of the moment it is imported as default argument. TorchDynamo imports it, in the
# middle of a run: the group then outlives destroy_process_group, and its threads are killed with the interpreter, which
# now and then aborts the process. Imported here, before there is a group, it holds none.
import torch.distributed.nn
from accelerate.utils import parse_flag_from_env

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
