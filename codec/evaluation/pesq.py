"""PESQ, wide-band (ITU-T P.862.2) and narrow-band (P.862), by the ``pesq`` package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pesq import NoUtterancesError, PesqError, pesq
from torch import Tensor

from codec.evaluation.metric import Metric, MetricError, Value, require_sound

SHORTEST_S = 0.25  # below it the reference program refuses
# It keeps 50 stretches of speech between pauses and writes beyond its arrays where it finds more: scores of chance, or
# the end of the process. Read speech of 60 s has half as many; P.862 itself is made for 8 to 20 s.
LONGEST_S = 60.0


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


def _text(error: PesqError) -> str:
    message = error.args[0] if error.args else type(error).__name__
    return message.decode() if isinstance(message, bytes) else str(message)
