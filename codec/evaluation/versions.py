"""What computed a number: the versions of the libraries, and of the programs that a system runs."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib import metadata

import soundfile

import codec
from codec.evaluation.systems import System

LIBRARIES = (
    "torch",
    "accelerate",
    "numpy",
    "scipy",
    "librosa",
    "pesq",
    "pystoi",
    "utmos-pytorch",
)
OPTIONAL = ("torchcrepe", "speechmos", "onnxruntime", "transformers")  # without them their metrics say so


def versions(system: System) -> dict[str, str]:
    """Of everything that has a part in the scores of ``system`` here and now."""
    found = {"codec": codec.__version__, "python": platform.python_version()}
    for library in LIBRARIES:
        found[library] = metadata.version(library)
    for library in OPTIONAL:
        with suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    found["soundfile"] = metadata.version("soundfile")
    found["libsndfile"] = soundfile.__libsndfile_version__
    return {**found, **getattr(system, "versions", {})}  # programs that a system runs are of it alone
