"""Systems by name, as ``--system`` takes them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from codec.bundled import bundled_models
from codec.errors import CodecError
from codec.evaluation.neural_peers import DAC, EnCodec, Mimi
from codec.evaluation.peers import Codec2, NarrowSpeex, Opus, Speex
from codec.evaluation.protocol import Protocol
from codec.evaluation.reconstructed_files import ReconstructedFiles
from codec.evaluation.systems import BypassedModel, GroundTruth, ModelSystem, Resampling, System


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


def _kbps(text: str, spec: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CodecError(f"{spec}: {text!r} is no rate in kbit/s; {EXAMPLES}") from None


def _source(argument: str) -> tuple[str, str | None]:
    """Of ``6@DIR``, what stands before and after."""
    value, _, source = argument.partition("@")
    return value, source or None


def _encodec(argument: str, spec: str, options: SystemOptions) -> System:
    value, source = _source(argument)
    return EnCodec(_kbps(value, spec), source, options.sample_rate, options.device)


def _residual(kind: type[DAC] | type[Mimi], argument: str, spec: str, options: SystemOptions) -> System:
    value, source = _source(argument)
    return kind(_integer(value, spec) if value else None, source, options.sample_rate, options.device)


def _model(name: str | Path, options: SystemOptions) -> System:
    return ModelSystem(name, options.device, whole_frames=options.protocol.is_published)


# What stands before the colon -> system of what stands after it.
WITH_ARGUMENT: dict[str, Callable[[str, str, SystemOptions], System]] = {
    "model": lambda text, spec, options: _model(text, options),
    "bypass": lambda text, spec, options: BypassedModel(text, options.device),
    "files": lambda text, spec, options: ReconstructedFiles(text, options.sample_rate),
    "resample": lambda text, spec, options: Resampling(_integer(text, spec), options.sample_rate),
    "opus": lambda text, spec, options: Opus(_kbps(text, spec), options.sample_rate),
    "codec2": lambda text, spec, options: Codec2(_integer(text, spec), options.sample_rate),
    "speex": lambda text, spec, options: Speex(_integer(text, spec), options.sample_rate),
    "speex-nb": lambda text, spec, options: NarrowSpeex(_integer(text, spec), options.sample_rate),
    "encodec": _encodec,
    "dac": lambda text, spec, options: _residual(DAC, text, spec, options),
    "mimi": lambda text, spec, options: _residual(Mimi, text, spec, options),
}
ARGUMENTS = {  # an example of what stands after the colon
    **{"model": "NAME", "bypass": "NAME", "files": "DIR", "resample": "16000", "opus": "6", "codec2": "1300"},
    **{"speex": "1", "speex-nb": "0"},
    **{"encodec": "6", "dac": "9", "mimi": "8"},
}
WHOLE = ("dac", "mimi")  # may stand without a colon: with all codebooks
GROUND_TRUTH = "ground-truth"
EXAMPLES = (
    "systems are a model folder or a shipped model, model:NAME, bypass:NAME (a model without its bottleneck), a "
    "published SimVQ or WavTokenizer checkpoint, ground-truth, files:DIR, resample:16000, opus:6 (kbit/s), codec2:1300 "
    "(bit/s), speex:1 and speex-nb:0 (wide-band and narrow-band quality), encodec:6 (kbit/s), dac:9 and mimi:8 "
    "(codebooks)"
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
    if head in WITH_ARGUMENT and (colon or head in WHOLE):
        return WITH_ARGUMENT[head](argument, spec, options)
    path = Path(spec)
    if path.is_dir() or (not path.exists() and spec in bundled_models()):
        return _model(spec, options)
    if path.is_file():
        return ModelSystem.from_checkpoint(path, options.device, whole_frames=options.protocol.is_published)
    # What is named before a colon is suggested with what was given behind it, or with an example.
    known = {GROUND_TRUTH: GROUND_TRUTH, **{name: name for name in bundled_models()}}
    known |= {f"{name}:": f"{name}:{argument or example}" for name, example in ARGUMENTS.items()}
    close = difflib.get_close_matches(f"{head}{colon}".lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {known[close[0]]}?" if close else EXAMPLES
    raise CodecError(f"unknown system {spec!r}, and no such folder or file; {hint}")
