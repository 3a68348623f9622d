"""Metrics by a network of the ``transformers`` library that is loaded when it is first asked for."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch

from codec.errors import CodecError
from codec.evaluation.metric import Metric


class NetworkMetric(Metric):
    """Beside the system in its own process: a network is too large for every worker of the pool.

    Args:
        source: folder, or repository in the hub's cache.
        device: of the network.
    """

    def __init__(self, source: str | Path, device: torch.device | str = "cpu") -> None:
        self._source = source
        self._device = torch.device(device)
        self._network: Any = None

    @property
    def in_pool(self) -> bool:
        """See :meth:`Metric.in_pool`."""
        return False

    def unavailable(self) -> str | None:
        """See :meth:`Metric.unavailable`. Loads the network."""
        if self._network is None:
            try:
                self._load()
            except CodecError as error:
                return str(error)
        return None

    @abstractmethod
    def _load(self) -> None:
        """Set ``_network``, ``weights`` and whatever else scoring needs; raises CodecError where that cannot be."""
