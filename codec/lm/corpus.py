"""Recordings as one array of tokens, and the marks around them."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codec.errors import CodecError
from codec.tokenstore import Model, TokenDataset
from codec.tokenstore.entry import token_dtype

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Vocabulary:
    """What the model predicts: the K codes under their own numbers, then begin and end of a recording."""

    codebook_size: int  # K

    @property
    def begin(self) -> int:
        """The mark before the first token."""
        return self.codebook_size

    @property
    def end(self) -> int:
        """The mark behind the last token."""
        return self.codebook_size + 1

    @property
    def size(self) -> int:
        """K + 2."""
        return self.codebook_size + 2

    def marked(self, tokens: Tensor) -> Tensor:
        """(F,) int64 -> (F + 2,): between its marks."""
        return torch.cat([torch.tensor([self.begin]), tokens, torch.tensor([self.end])])


class TokenCorpus:
    """All recordings of some token datasets, in memory: 2 bytes a token up to 65,536 codes, 4 beyond.

    An hour at 75 tokens a second takes 0.54 MB (1.08), so 1,000 hours about half a gigabyte in each process.

    Args:
        folders: of recipes/tokenize.py, or of ``.svq`` files, all by the same codec.

    Raises:
        CodecError: none, one that cannot be read, tokens of different codecs, tokens outside the codebook, or none.
    """

    def __init__(self, folders: Sequence[str | Path]) -> None:
        if not folders:
            raise CodecError("no token datasets given; make one with recipes/tokenize.py")
        places = [Path(folder).resolve() for folder in folders]
        if len(set(places)) < len(places):
            twice = next(str(folder) for folder, place in zip(folders, places, strict=True) if places.count(place) > 1)
            logger.warning("%s: given twice, so that its recordings count double", twice)
        datasets = [TokenDataset(folder) for folder in folders]
        # Folders of .svq files are read with what is below them.
        files = [place for data, place in zip(datasets, places, strict=True) if data.index is None]
        for outer in files:
            if any(outer in inner.parents for inner in files):
                logger.warning("%s: holds another of the folders given, whose recordings count double", outer)
        self.model: Model = datasets[0].model
        for data in datasets[1:]:
            if data.model.fingerprint != self.model.fingerprint:
                raise CodecError(
                    f"{data.folder}: made by encoder {data.model.fingerprint}, but {datasets[0].folder} by "
                    f"{self.model.fingerprint}; tokenise both with one model"
                )
        self.vocabulary = Vocabulary(self.model.codebook_size)
        total = sum(shard.tokens for data in datasets for shard in data.shards)
        self._tokens = np.empty(total, token_dtype(self.model.codebook_size))
        lengths = []
        filled = 0
        for data in datasets:
            for entry in data:
                if entry.num_tokens == 0:
                    continue
                if not 0 <= int(entry.tokens.min()) <= int(entry.tokens.max()) < self.model.codebook_size:
                    raise CodecError(
                        f"{data.folder}: {entry.id} has tokens outside 0 to {self.model.codebook_size - 1}; make the "
                        "dataset again with recipes/tokenize.py"
                    )
                self._tokens[filled : filled + entry.num_tokens] = entry.tokens.numpy()
                filled += entry.num_tokens
                lengths.append(entry.num_tokens)
        if not lengths:
            raise CodecError(f"{datasets[0].folder}: holds no tokens; tokenise some speech first")
        self.lengths = np.array(lengths, np.int64)  # (recordings,)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        """Of all recordings, marks not counted."""
        return int(self._starts[-1])

    def recording(self, place: int) -> Tensor:
        """Tokens (F,) int64 of one recording."""
        own = self._tokens[self._starts[place] : self._starts[place + 1]]
        return torch.from_numpy(own.astype(np.int64))

    def identity(self) -> dict[str, int | str]:
        """What a run on these tokens is known by (:mod:`codec.training.identity`): the codec, and every token."""
        crc = zlib.crc32(self._tokens[: self.num_tokens].data, zlib.crc32(self.lengths.data))
        return {"from": f"codec {self.model.fingerprint}", "recordings": len(self), "crc32": f"{crc:08x}"}

    def counts(self) -> Tensor:
        """How often each code occurs, (K,) int64."""
        used = self._tokens[: self.num_tokens]
        return torch.from_numpy(np.bincount(used, minlength=self.model.codebook_size))

    def check_model(self, model: Model, name: str) -> None:
        """Make sure that these are the tokens which a language model ``name`` was trained on the like of.

        Raises:
            CodecError: they are another codec's.
        """
        if model.fingerprint != self.model.fingerprint:
            raise CodecError(
                f"{name}: speaks the tokens of codec {model.fingerprint} ({model.name}), but these were made by "
                f"{self.model.fingerprint} ({self.model.name}); tokenise with the codec of the language model"
            )
