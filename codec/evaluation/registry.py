"""Metrics by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from codec.errors import CodecError
from codec.evaluation.dnsmos import DNSMOS
from codec.evaluation.level import LevelDifference
from codec.evaluation.mel import LogMelDistance
from codec.evaluation.metric import Metric
from codec.evaluation.pesq import NarrowBandPESQ, WideBandPESQ
from codec.evaluation.pitch import VoicingAndPitch
from codec.evaluation.protocol import Protocol
from codec.evaluation.si_sdr import SISDR
from codec.evaluation.sim import SpeakerSimilarity
from codec.evaluation.stft import MultiResolutionSTFT
from codec.evaluation.stoi import ESTOI, STOI
from codec.evaluation.utmos import UTMOS
from codec.evaluation.wer import WordErrorRate


@dataclass(frozen=True)
class MetricOptions:
    """What a metric may need to be built."""

    sample_rate: int  # Hz, of the system
    device: torch.device | str = "cpu"
    protocol: Protocol = Protocol.STRICT
    cache: Path | None = None  # folder for what depends on the references alone
    utmos_weights: Path | None = None
    recogniser: str | Path | None = None  # of transformers, for the word error rate; None: the default
    speaker_network: str | Path | None = None


# In the order of the report.
METRICS: dict[str, Callable[[MetricOptions], Metric]] = {
    UTMOS.name: lambda options: UTMOS(options.utmos_weights, options.device),
    DNSMOS.name: lambda options: DNSMOS(),
    WideBandPESQ.name: lambda options: WideBandPESQ(options.protocol.is_published),
    NarrowBandPESQ.name: lambda options: NarrowBandPESQ(options.protocol.is_published),
    STOI.name: lambda options: STOI(options.sample_rate, options.protocol.is_published),
    ESTOI.name: lambda options: ESTOI(options.sample_rate, options.protocol.is_published),
    VoicingAndPitch.name: lambda options: VoicingAndPitch(
        options.device, options.cache / "pitch" if options.cache else None, options.protocol.is_published
    ),
    LogMelDistance.name: lambda options: LogMelDistance(),
    MultiResolutionSTFT.name: lambda options: MultiResolutionSTFT(),
    SISDR.name: lambda options: SISDR(options.sample_rate),
    LevelDifference.name: lambda options: LevelDifference(options.sample_rate),
    WordErrorRate.name: lambda options: WordErrorRate(options.recogniser, options.device),
    SpeakerSimilarity.name: lambda options: SpeakerSimilarity(options.speaker_network, options.device),
}
EXTRAS = (WordErrorRate.name, SpeakerSimilarity.name)  # computed where they are asked for
DEFAULT = tuple(name for name in METRICS if name not in EXTRAS)
ALL = "all"


def check_names(names: Sequence[str]) -> list[str]:
    """Known names, each once, in the order of the report; ``all`` is every one.

    Raises:
        CodecError: no name, or an unknown one; the nearest known one is suggested.
    """
    if not names:
        raise CodecError(f"no metrics chosen; known metrics are {', '.join(METRICS)}")
    for name in names:
        if name not in METRICS and name != ALL:
            close = difflib.get_close_matches(name.lower(), METRICS, n=1, cutoff=0.4)
            hint = f"did you mean {close[0]}?" if close else f"known metrics are {', '.join(METRICS)}"
            raise CodecError(f"unknown metric {name!r}; {hint}")
    return [name for name in METRICS if name in names or ALL in names]


def build_metrics(names: Sequence[str], options: MetricOptions) -> list[Metric]:
    """Build the metrics called ``names``.

    Raises:
        CodecError: what :func:`check_names` raises.
    """
    metrics = [METRICS[name](options) for name in check_names(names)]
    for metric in metrics:
        if metric.trim == "reference":
            metric.trim = options.protocol.trim(metric.needs_reference)
    return metrics
