"""Systems by name, as ``--system`` takes them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from codec.errors import CodecError
from codec.evaluation.peers import Codec2, Opus, Speex
from codec.evaluation.protocol import Protocol
from codec.evaluation.systems import GroundTruth, ModelSystem, ReconstructedFiles, Resampling, System


@dataclass(frozen=True)
class SystemOptions:
    """What a system may need to be built."""

    sample_rate: int = 24_000  # Hz at which everything but a model is compared; a model has its own
    device: torch.device | str = "cpu"
    protocol: Protocol = Protocol.STRICT


def _integer(text: str, spec: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise CodecError(f"{spec}: {text!r} is no whole number; {EXAMPLES}") from None


def _opus(text: str, spec: str, options: SystemOptions) -> System:
    try:
        kbps = float(text)
    except ValueError:
        raise CodecError(f"{spec}: {text!r} is no rate in kbit/s; {EXAMPLES}") from None
    return Opus(kbps, options.sample_rate)


def _model(name: str | Path, options: SystemOptions) -> System:
    return ModelSystem(name, options.device, whole_frames=options.protocol.is_published)


# What stands before the colon -> system of what stands after it.
WITH_ARGUMENT: dict[str, Callable[[str, str, SystemOptions], System]] = {
    "model": lambda text, spec, options: _model(text, options),
    "files": lambda text, spec, options: ReconstructedFiles(text, options.sample_rate),
    "resample": lambda text, spec, options: Resampling(_integer(text, spec), options.sample_rate),
    "opus": _opus,
    "codec2": lambda text, spec, options: Codec2(_integer(text, spec), options.sample_rate),
    "speex": lambda text, spec, options: Speex(_integer(text, spec), options.sample_rate),
}
GROUND_TRUTH = "ground-truth"
EXAMPLES = (
    "systems are a model folder, model:NAME, a published SimVQ checkpoint, ground-truth, files:DIR, resample:16000, "
    "opus:6 (kbit/s), codec2:1300 (bit/s), speex:1 (wide-band quality)"
)


def build_system(spec: str, options: SystemOptions) -> System:
    """The system that ``spec`` names.

    Raises:
        CodecError: no such name, folder or file (the nearest name is suggested), a program that is not installed, or
            what the system itself raises.
    """
    head, colon, argument = spec.partition(":")
    if spec == GROUND_TRUTH:
        return GroundTruth(options.sample_rate)
    if colon and head in WITH_ARGUMENT:
        return WITH_ARGUMENT[head](argument, spec, options)
    path = Path(spec)
    if path.is_dir():
        return _model(path, options)
    if path.is_file():
        return ModelSystem.from_checkpoint(path, options.device, whole_frames=options.protocol.is_published)
    known = [GROUND_TRUTH, *(f"{name}:" for name in WITH_ARGUMENT)]
    close = difflib.get_close_matches(f"{head}{colon}".lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}{argument}?" if close else EXAMPLES
    raise CodecError(f"unknown system {spec!r}, and no such folder or file; {hint}")
