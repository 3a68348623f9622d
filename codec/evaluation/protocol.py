"""The two ways of scoring: ours, and the published one with its flaws, so that published tables can be met."""

from __future__ import annotations

from enum import StrEnum

from codec.evaluation.metric import Trim


class Protocol(StrEnum):
    """How waveforms are cut before they are compared, and what a failure counts.

    ``published`` is the evaluation script that came with SimVQ, as it is: reconstructions keep the frames' padding,
    both sides are cut to the shorter one after resampling, error codes of PESQ and placeholders of STOI are averaged
    as scores, and an utterance without a frame that is voiced in both signals leaves the mean of F1. Numbers of the two
    are never to be compared with each other.
    """

    STRICT = "strict"
    PUBLISHED = "published"

    @property
    def is_published(self) -> bool:
        """Whether flaws are repeated."""
        return self is Protocol.PUBLISHED

    @property
    def peak(self) -> float:
        """Of full scale, at which reconstructions are clipped before they are rounded to 16 bits."""
        return 0.99 if self.is_published else 1.0

    def trim(self, needs_reference: bool) -> Trim:
        """Of metrics that are trimmed at all; those that hear the reconstruction alone get it as it is."""
        if not self.is_published:
            return "reference"
        return "shorter" if needs_reference else "none"
