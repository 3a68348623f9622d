"""Encoded audio, and how it goes into ``.svq`` files and comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from codec.bitstream import TokenFile
from codec.errors import CodecError
from codec.tensors import as_id_batch, as_lengths, as_token_ids, check_in_codebook


class Tokens(NamedTuple):
    """Encoded audio: what :meth:`codec.Codec.decode` needs to restore it to the sample."""

    tokens: Tensor  # (B, F) int64
    lengths: Tensor  # (B,) int64, samples at the codec's rate

    def frame_lengths(self, hop_length: int) -> Tensor:
        """Tokens of each item that are its own, (B,)."""
        return -(-self.lengths // hop_length)


AnyTokens = Tokens | TokenFile | Tensor | Sequence[Tensor | np.ndarray]


class Maker(Protocol):
    """What makes tokens: a :class:`codec.Codec`, as far as they are concerned."""

    @property
    def hop_length(self) -> int:
        """Samples a token."""

    @property
    def codebook_size(self) -> int:
        """Number of codes."""

    @property
    def token_fingerprint(self) -> str:
        """Of its tokens."""

    def decodes(self, fingerprint: str) -> bool:
        """Whether these are its tokens."""


def id_batch_of(codec: Maker, tokens: AnyTokens) -> tuple[Tensor, list[int]]:
    """What :meth:`codec.Codec.decode` takes, as (B, F) int64 within the codebook and the samples of each row.

    Raises:
        CodecError: wrong shape or type, no tokens, one outside the codebook, lengths that the tokens do not reach, or a
            file of another model.
    """
    if isinstance(tokens, TokenFile):
        tokens = tokens_of_file(tokens, codec)
    lengths = None
    if isinstance(tokens, Tokens):
        ids, lengths = as_token_ids(tokens.tokens, 2), tokens.lengths
    else:
        ids, own = as_id_batch(tokens, codec.hop_length)
    if ids.numel() == 0:
        raise CodecError("no tokens to decode; give at least one")
    check_in_codebook(ids, codec.codebook_size)
    if lengths is not None:
        own = as_lengths(lengths, len(ids), ids.shape[-1] * codec.hop_length, "tokens")
    return ids, own


def tokens_of_file(file: TokenFile, codec: Maker, name: str = "the token file") -> Tokens:
    """A recording that was read, as a batch of one.

    Args:
        file: what :func:`codec.bitstream.read_tokens` gives.
        codec: that is to decode it.
        name: of the file, in messages.

    Raises:
        CodecError: another model made it; it is damaged, or of no samples.
    """
    if not codec.decodes(file.header.fingerprint):
        raise CodecError(
            f"{name}: made by encoder {file.header.fingerprint}, but this model has encoder {codec.token_fingerprint}; "
            "decode with the model that encoded it"
        )
    if not file.is_whole:
        raise CodecError(f"{name}: {file.damage()}; get it again; codec decode --partial decodes what is whole")
    if not file.num_samples:
        raise CodecError(f"{name}: the recording has no samples; there is no frame to decode, encode it again")
    return Tokens(torch.from_numpy(file.tokens).unsqueeze(0), torch.tensor([file.num_samples]))
