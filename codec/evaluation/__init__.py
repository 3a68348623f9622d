"""Evaluation with declared policies: what is scored, at which rate, how it is trimmed, and what counts as a failure."""

from __future__ import annotations

from codec.evaluation.metric import Metric, MetricError, Value
from codec.evaluation.protocol import Protocol
from codec.evaluation.reconstructed_files import ReconstructedFiles
from codec.evaluation.registry import METRICS, MetricOptions, build_metrics
from codec.evaluation.report import write_report
from codec.evaluation.runner import Outcome, evaluate, score_utterance
from codec.evaluation.scoring import Scorer
from codec.evaluation.summary import summarize
from codec.evaluation.system_names import SystemOptions, build_system
from codec.evaluation.systems import GroundTruth, ModelSystem, Reconstruction, System

__all__ = [
    "METRICS",
    "GroundTruth",
    "Metric",
    "MetricError",
    "MetricOptions",
    "ModelSystem",
    "Outcome",
    "Protocol",
    "ReconstructedFiles",
    "Reconstruction",
    "Scorer",
    "System",
    "SystemOptions",
    "Value",
    "build_metrics",
    "build_system",
    "evaluate",
    "score_utterance",
    "summarize",
    "write_report",
]
