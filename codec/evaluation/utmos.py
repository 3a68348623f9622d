"""UTMOS22-strong, a predictor of mean opinion scores (Saeki et al. 2022, arXiv 2204.02152), by ``utmos-pytorch``."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from utmos_pytorch.utmos_torch import UTMOSModel, UTMOSScoreTorch

from codec.errors import CodecError
from codec.evaluation.metric import Metric, MetricError, Value
from codec.torch_files import read_torch_file

SHORTEST_S = 0.05  # two frames of the network
HINT = "run codec fetch utmos, or give --utmos-weights"


class UTMOS(Metric):
    """Predicted opinion of listeners, about 1 to 5, of the reconstruction alone; one utterance at a time.

    Listener 288 in domain 0 and the mean over frames, as every codec paper's number. Calibration: the recordings of
    LibriTTS test-clean reach 4.056.

    Args:
        weights: the converted state dictionary (``codec fetch utmos``); None: there are none.
        device: of the network.
    """

    name: ClassVar[str] = "utmos"
    values: ClassVar[Mapping[str, Value]] = {"utmos": Value("UTMOS", "higher")}
    sample_rate: ClassVar[int] = 16_000
    needs_reference: ClassVar[bool] = False

    def __init__(self, weights: Path | None, device: torch.device | str = "cpu") -> None:
        self._path = weights
        self._device = torch.device(device)
        self._network: UTMOSScoreTorch | None = None

    @property
    def in_pool(self) -> bool:
        """See :meth:`Metric.in_pool`. One network is enough, and belongs on the accelerator."""
        return False

    def unavailable(self) -> str | None:
        """See :meth:`Metric.unavailable`. Loads the weights, so that a damaged file shows before anything is scored."""
        if self._network is None:
            if self._path is None or not self._path.is_file():
                return f"no weights; {HINT}"
            try:
                self.weights = _check(self._path)
                self._network = _load(self._path, self._device)
            except CodecError as error:
                return str(error)
        return None

    @torch.inference_mode()
    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        assert self._network is not None, "unavailable() comes first"
        if degraded.shape[-1] < SHORTEST_S * self.sample_rate:
            raise MetricError(f"shorter than {SHORTEST_S:g} s")
        return {"utmos": float(self._network.score(degraded.to(self._device)))}


def _check(path: Path) -> str:
    """SHA-256 of the weights, which must be those of the network: the package itself ignores what does not fit.

    Raises:
        CodecError: damaged, or other weights.
    """
    state = read_torch_file(path, HINT)
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore", FutureWarning)  # the package's weight norm is torch's old one
        expected = {name: value.shape for name, value in UTMOSModel().state_dict().items()}
    found = (
        {str(name): getattr(value, "shape", "no tensor") for name, value in state.items()}
        if isinstance(state, Mapping)
        else {}
    )
    if found != expected:
        wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise CodecError(f"{path} holds other weights: {len(wrong)} differ in name or shape ({wrong[0]}, ...); {HINT}")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: Path, device: torch.device) -> UTMOSScoreTorch:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # torch reads no file onto the "cpu:1" of a second process.
        return UTMOSScoreTorch(str(path), "cpu" if device.type == "cpu" else str(device)).requires_grad_(False)
