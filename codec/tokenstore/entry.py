"""One recording as tokens, with what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codec.config.quantizers import MAX_CODES
from codec.errors import CodecError
from codec.model import Tokens


@dataclass(frozen=True)
class TokenEntry:
    """A recording of a token dataset."""

    id: str
    tokens: Tensor  # (F,) int64
    num_samples: int  # at the codec's rate; what decoding restores
    text: str | None = None
    speaker: str = ""
    split: str = ""

    @property
    def num_tokens(self) -> int:
        """F."""
        return len(self.tokens)

    def encoded(self) -> Tokens:
        """As :meth:`codec.Codec.encode` gives it: a batch of one, for :meth:`codec.Codec.decode`."""
        return Tokens(self.tokens.unsqueeze(0), torch.tensor([self.num_samples]))

    def facts(self) -> dict[str, Any]:
        """All but the tokens, ready for JSON."""
        return {
            "id": self.id,
            "num_samples": self.num_samples,
            "num_tokens": self.num_tokens,
            "text": self.text,
            "speaker": self.speaker,
            "split": self.split,
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], tokens: np.ndarray) -> TokenEntry:
        """The inverse of :meth:`facts`; ``tokens`` of any integer type."""
        return cls(
            id=facts["id"],
            tokens=torch.from_numpy(np.asarray(tokens).astype(np.int64)),
            num_samples=int(facts["num_samples"]),
            text=facts["text"],
            speaker=facts["speaker"],
            split=facts["split"],
        )


def token_dtype(codebook_size: int) -> np.dtype[Any]:
    """The smallest common type that holds every token: 2 bytes up to 65,536 codes, else 4.

    Raises:
        CodecError: more codes than 4 bytes can tell apart.
    """
    if codebook_size > MAX_CODES:
        raise CodecError(f"codebook_size={codebook_size}: tokens are written in 31 bits, {MAX_CODES} codes at most")
    return np.dtype("<u2") if codebook_size <= 1 << 16 else np.dtype("<i4")
