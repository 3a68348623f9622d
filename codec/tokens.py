"""Encoded audio, and how it goes into ``.svq`` files and comes back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from codec.bitstream import TokenFile
from codec.errors import CodecError


class Tokens(NamedTuple):
    """Encoded audio: what :meth:`codec.Codec.decode` needs to restore it to the sample."""

    tokens: Tensor  # (B, F) int64
    lengths: Tensor  # (B,) int64, samples at the codec's rate

    def frame_lengths(self, hop_length: int) -> Tensor:
        """Tokens of each item that are its own, (B,)."""
        return -(-self.lengths // hop_length)


def tokens_of_file(file: TokenFile, fingerprint: str, name: str = "the token file") -> Tokens:
    """A recording that was read, as a batch of one.

    Args:
        file: what :func:`codec.bitstream.read_tokens` gives.
        fingerprint: of the model that is to decode it.
        name: of the file, in messages.

    Raises:
        CodecError: another model made it; it is damaged, or of no samples.
    """
    if file.header.fingerprint != fingerprint:
        raise CodecError(
            f"{name}: made by model {file.header.fingerprint}, but this is model {fingerprint}; decode with the model "
            "that encoded it"
        )
    if not file.is_whole:
        raise CodecError(f"{name}: {file.damage()}; get it again; codec decode --partial decodes what is whole")
    if not file.num_samples:
        raise CodecError(f"{name}: the recording has no samples; there is no frame to decode, encode it again")
    return Tokens(torch.from_numpy(file.tokens).unsqueeze(0), torch.tensor([file.num_samples]))
