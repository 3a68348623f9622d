"""PESQ, wide-band (ITU-T P.862.2), by the ``pesq`` package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pesq import NoUtterancesError, PesqError, pesq
from torch import Tensor

from codec.evaluation.metric import Metric, MetricError, Value, require_sound

SHORTEST_S = 0.25  # below it the reference program refuses


class WideBandPESQ(Metric):
    """Mean opinion score, listening quality objective, about 1.04 to 4.64.

    Fails where the program has an error code for it. Averaged as if they were scores, those codes (-7 to -1) are what
    makes published means incomparable.
    """

    name: ClassVar[str] = "pesq"
    values: ClassVar[Mapping[str, Value]] = {"pesq_wb": Value("PESQ-WB", "higher")}
    sample_rate: ClassVar[int] = 16_000

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        require_sound(reference, degraded, self.sample_rate, SHORTEST_S)
        try:
            value = pesq(self.sample_rate, reference.numpy(), degraded.numpy(), "wb")
        except NoUtterancesError:
            raise MetricError("PESQ finds no utterance") from None
        except PesqError as error:
            raise MetricError(f"PESQ: {_text(error)}") from None
        except ValueError:  # a NaN inside the program: one side is all but silent
            raise MetricError("PESQ gives no number") from None
        return {"pesq_wb": float(value)}


def _text(error: PesqError) -> str:
    message = error.args[0] if error.args else type(error).__name__
    return message.decode() if isinstance(message, bytes) else str(message)
