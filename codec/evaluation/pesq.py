"""PESQ, wide-band (ITU-T P.862.2) and narrow-band (P.862), by the ``pesq`` package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pesq import NoUtterancesError, PesqError, pesq
from torch import Tensor

from codec.evaluation.metric import Metric, MetricError, Value, require_sound

SHORTEST_S = 0.25  # below it the reference program refuses
# P.862 is made for 8 to 20 s, and the program keeps 50 stretches of speech between pauses: where it finds more, it
# writes beyond its arrays, for scores of chance or the end of the process. Read speech of 60 s has half as many.
LONGEST_S = 60.0
MOST_STRETCHES = 50
FRAME_S = 0.004  # of its voice activity detection
PAUSE_FRAMES = 50  # shorter pauses join what is beside them
STRETCH_FRAMES = 50  # shorter stretches do not count
LEVELS_DB = range(-50, 1, 2)  # of the threshold relative to the mean power: its own is adaptive, and lies among these


class _PESQ(Metric):
    """Mean opinion score, listening quality objective.

    Fails where the program has an error code for it, and where it could crash (``LONGEST_S``). Averaged as if they were
    scores, those codes (-7 to -1) are what makes published means incomparable.
    """

    sample_rate: ClassVar[int]
    mode: ClassVar[Literal["wb", "nb"]]

    def __init__(self, error_codes: bool = False) -> None:
        """``error_codes``: give the program's error codes as scores, as the published protocol does."""
        self._error_codes = error_codes

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        if reference.shape[-1] > LONGEST_S * self.sample_rate:
            raise MetricError(f"longer than {LONGEST_S:g} s")
        if _stretches(reference, self.sample_rate) > MOST_STRETCHES:
            raise MetricError(f"more than {MOST_STRETCHES} stretches of speech")
        if self._error_codes:
            on_error = PesqError.RETURN_VALUES
            value = pesq(self.sample_rate, reference.numpy(), degraded.numpy(), self.mode, on_error=on_error)
            return {f"pesq_{self.mode}": float(value)}
        require_sound(reference, degraded, self.sample_rate, SHORTEST_S)
        try:
            value = pesq(self.sample_rate, reference.numpy(), degraded.numpy(), self.mode)
        except NoUtterancesError:
            raise MetricError("PESQ finds no utterance") from None
        except PesqError as error:
            raise MetricError(f"PESQ: {_text(error)}") from None
        except ValueError:  # a NaN inside the program: one side is all but silent
            raise MetricError("PESQ gives no number") from None
        return {f"pesq_{self.mode}": float(value)}


class WideBandPESQ(_PESQ):
    """Of 50 to 7000 Hz; about 1.04 to 4.64."""

    name: ClassVar[str] = "pesq"
    values: ClassVar[Mapping[str, Value]] = {"pesq_wb": Value("PESQ-WB", "higher")}
    sample_rate: ClassVar[int] = 16_000
    mode: ClassVar[Literal["wb", "nb"]] = "wb"


class NarrowBandPESQ(_PESQ):
    """Of the telephone band, 300 to 3400 Hz; about 1.02 to 4.55."""

    name: ClassVar[str] = "pesq-nb"
    values: ClassVar[Mapping[str, Value]] = {"pesq_nb": Value("PESQ-NB", "higher")}
    sample_rate: ClassVar[int] = 8_000
    mode: ClassVar[Literal["wb", "nb"]] = "nb"


def _stretches(audio: Tensor, sample_rate: int) -> int:
    """Stretches of speech that the program may find in a reference (T,): at the threshold that makes most of them."""
    length = round(FRAME_S * sample_rate)
    frames = audio[: len(audio) // length * length].view(-1, length)
    power = frames.double().square().mean(-1).numpy()  # (F,)
    if len(power) * FRAME_S <= MOST_STRETCHES * (PAUSE_FRAMES + STRETCH_FRAMES) * FRAME_S:
        return 0  # there is no room for as many
    return max(_stretches_above(power, power.mean() * 10 ** (level / 10)) for level in LEVELS_DB)


def _stretches_above(power: np.ndarray, threshold: float) -> int:
    """Runs of frames (F,) above a threshold, joined over short pauses, that are long enough to count."""
    loud = np.flatnonzero(power > threshold)
    if not len(loud):
        return 0
    breaks = np.flatnonzero(np.diff(loud) > PAUSE_FRAMES)
    first, last = loud[np.r_[0, breaks + 1]], loud[np.r_[breaks, len(loud) - 1]]
    return int(np.count_nonzero(last - first + 1 >= STRETCH_FRAMES))


def _text(error: PesqError) -> str:
    message = error.args[0] if error.args else type(error).__name__
    return message.decode() if isinstance(message, bytes) else str(message)
