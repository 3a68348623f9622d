"""DNSMOS, predictors of listeners' opinions, by the package ``speechmos``, which carries their weights.

Reddy et al. 2021 (arXiv 2010.15258): one network for ITU-T P.808, overall opinion. Reddy et al. 2022 (arXiv
2110.01763): one for ITU-T P.835, of the speech itself (SIG), of the background (BAK), and overall (OVRL).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from codec.evaluation.metric import SILENT_PEAK, Metric, MetricError, Value

SHORTEST_S = 0.25  # shorter ones are repeated for 9 s like any other, and sound like a buzz
PACKAGES = ("speechmos", "onnxruntime")
# In the package: SIG, BAK and OVRL; and P.808. Not those for personal noise suppression.
P835, P808 = "dnsmos_models/sig_bak_ovr.onnx", "dnsmos_models/model_v8.onnx"


class DNSMOS(Metric):
    """Predicted opinions, about 1 to 5, of the reconstruction alone; one utterance at a time.

    Windows of 9.01 s, a second apart, averaged; what is shorter is repeated until it fills one. So the package does it,
    and every published number. The networks were trained on noisy speech and its suppression, not on codecs: they hear
    noise and distortion, not whether it is the same voice or the same words.
    """

    name: ClassVar[str] = "dnsmos"
    values: ClassVar[Mapping[str, Value]] = {
        "dnsmos_ovrl": Value("DNSMOS OVRL", "higher"),
        "dnsmos_sig": Value("DNSMOS SIG", "higher"),
        "dnsmos_bak": Value("DNSMOS BAK", "higher"),
        "dnsmos_p808": Value("DNSMOS P.808", "higher"),
    }
    sample_rate: ClassVar[int] = 16_000
    needs_reference: ClassVar[bool] = False

    def __init__(self) -> None:
        self._networks: Any = None

    def unavailable(self) -> str | None:
        """See :meth:`Metric.unavailable`. Loads no network, so that the metric can be sent to other processes."""
        missing = [package for package in PACKAGES if find_spec(package) is None]
        if missing:
            return f"needs {' and '.join(missing)}; pip install {' '.join(missing)}"
        digest = hashlib.sha256()
        for file in _files():
            digest.update(file.read_bytes())
        self.weights = digest.hexdigest()
        return None

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        if degraded.shape[-1] < SHORTEST_S * self.sample_rate:
            raise MetricError(f"shorter than {SHORTEST_S:g} s")
        if float(degraded.abs().max()) < SILENT_PEAK:
            raise MetricError("the reconstruction is silent")
        if self._networks is None:
            self._networks = _load()
        # Resampling may overshoot; the package refuses that.
        found = self._networks(degraded.clamp(-1, 1).numpy(), self.sample_rate, is_personalized_MOS=False)
        return {key: float(found[f"{key.removeprefix('dnsmos_')}_mos"]) for key in self.values}


def _files() -> tuple[Path, Path]:
    spec = find_spec("speechmos.dnsmos")
    assert spec is not None and spec.origin is not None, "unavailable() comes first"
    folder = Path(spec.origin).parent
    return folder / P835, folder / P808


def _load() -> Any:
    """The package's scorer, with each network on one thread: scores of one process are those of several."""
    import onnxruntime
    from speechmos import dnsmos as package

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    p835, p808 = map(str, _files())
    networks = package.DNSMOS(p835, p808)
    networks.onnx_sess = onnxruntime.InferenceSession(p835, options, providers=["CPUExecutionProvider"])
    networks.p808_onnx_sess = onnxruntime.InferenceSession(p808, options, providers=["CPUExecutionProvider"])
    return networks
