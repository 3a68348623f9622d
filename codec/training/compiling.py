"""``training.compile``: torch.compile where the time goes, with a clear word where it cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._dynamo.exc import TorchDynamoException

from codec.errors import CodecError
from codec.model import Codec
from codec.training.discriminators import Discriminators


def compile_parts(codec: Codec, discriminators: Discriminators, device: torch.device) -> None:
    """Compile encoder, the decoder's backbone and discriminators in place; names in their state dicts stay.

    The decoder's head stays as it is: it computes with complex numbers, and for the backward pass of its overlap-add,
    sums into slices, torch 2.11 writes C++ in which a number stands where a vector is meant (``decltype(...)::blendv``
    of a float), which no compiler takes. The bottleneck stays as it is: its search is one matrix product a chunk, and
    its results must not depend on the compiler. Discriminators are compiled family by family: each signal then has a
    pass of its own, and a loss on one of them computes no gradients of zero for the other. Shapes are fixed, because
    crops are: another batch size is compiled once more.

    Args:
        codec: still on the CPU, or there already.
        discriminators: likewise.
        device: where they will run: whose compiler is tried first.

    Raises:
        CodecError: this machine cannot compile.
    """
    _try_compiler(device)
    # Two losses go backward through one pass of the discriminators: what was saved for the first must outlive it.
    torch._functorch.config.donated_buffer = False
    for part in (codec.encoder, codec.decoder.backbone, *discriminators.values()):
        part.compile(dynamic=False)


@contextmanager
def compile_errors_explained() -> Iterator[None]:
    """A part that torch.compile cannot translate (on the CPU torch 2.11 fails on some) becomes one line.

    Raises:
        CodecError: what failed, and the way round it.
    """
    try:
        yield
    except TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        raise CodecError(
            f"training.compile=true: torch {torch.__version__} cannot compile this model here ({reason}); set "
            "training.compile=false, and --resume goes on"
        ) from None


def _try_compiler(device: torch.device) -> None:
    try:
        torch.compile(_probe, dynamic=False)(torch.ones(4, device=device))
    except TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        raise CodecError(
            f"training.compile=true: torch.compile does not work here ({reason}); install a C++ compiler (g++, or name "
            "one in CXX), or set training.compile=false"
        ) from None


def _probe(x: torch.Tensor) -> torch.Tensor:
    return (x + 1).sin() * 2
