"""Recordings to tokens, many at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

import codec.audio as audio_io
from codec.audio.blocks import reading
from codec.audio.resampling import resampled_length
from codec.errors import CodecError
from codec.manifest import Utterance
from codec.model import Codec
from codec.streaming import encode_chunks

LONG_S = 60.0  # what is longer goes through the encoder piece by piece
AHEAD = 2  # batches that are read while one is encoded

Outcome = tuple[Tensor, int] | CodecError  # tokens (F,) int64 on the CPU and samples at the codec's rate, or why not


def default_batch_s(device: torch.device) -> float:
    """Seconds of audio that keep a device busy, in a few GB at `reference` sizes."""
    return 20.0 if device.type == "cpu" else 400.0


class BatchEncoder:
    """Encodes lists of utterances; tokens are those of :meth:`Codec.encode` on each alone.

    Recordings of similar length share a padded batch; long ones go through in pieces, in constant memory.

    Args:
        codec: in eval mode.
        batch_s: seconds of audio in a batch, padding included; at least one recording.
        threads: that read audio ahead.
    """

    def __init__(self, codec: Codec, batch_s: float, threads: int) -> None:
        self.codec, self.batch_s, self.threads = codec, batch_s, threads

    def encode(self, utterances: Sequence[Utterance]) -> Iterator[tuple[int, Outcome]]:
        """Yield (place in ``utterances``, outcome), in an order that follows from the lengths alone."""
        batches = self._batches(utterances)
        with ThreadPoolExecutor(max(1, self.threads)) as pool:
            waiting: deque[tuple[list[int], list[Future[Tensor | CodecError]]]] = deque()
            try:
                for batch in batches:
                    is_long = utterances[batch[0]].duration_s > LONG_S
                    waiting.append((batch, [] if is_long else [pool.submit(self._load, utterances[i]) for i in batch]))
                    if len(waiting) > AHEAD:
                        yield from self._encode_batch(utterances, *waiting.popleft())
                while waiting:
                    yield from self._encode_batch(utterances, *waiting.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def _batches(self, utterances: Sequence[Utterance]) -> list[list[int]]:
        """Places of the utterances of each batch: longest first, so that memory is at its peak at once."""
        longest_first = sorted(range(len(utterances)), key=lambda i: (-utterances[i].duration_s, i))
        batches: list[list[int]] = []
        for place in longest_first:
            first = utterances[batches[-1][0]].duration_s if batches else 0.0
            if batches and first <= LONG_S and (len(batches[-1]) + 1) * first <= self.batch_s:
                batches[-1].append(place)
            else:
                batches.append([place])
        return batches

    def _load(self, utterance: Utterance) -> Tensor | CodecError:
        """(T,) at the codec's rate."""
        rate = self.codec.sample_rate
        try:
            audio = audio_io.load(utterance.path, rate)
            _check_length(utterance, audio.shape[-1], rate)
            return audio
        except CodecError as error:
            return error

    def _encode_batch(
        self, utterances: Sequence[Utterance], batch: list[int], loading: Sequence[Future[Tensor | CodecError]]
    ) -> Iterator[tuple[int, Outcome]]:
        if not loading:
            yield batch[0], self._encode_long(utterances[batch[0]])
            return
        padded: list[tuple[int, Tensor]] = []
        for place, future in zip(batch, loading, strict=True):
            audio = future.result()
            if isinstance(audio, CodecError):
                yield place, audio
            else:
                padded.append((place, audio))
        if padded:
            lengths = [len(audio) for _, audio in padded]
            rows = pad_sequence([audio for _, audio in padded], batch_first=True)  # (B, T)
            tokens = self.codec.encode(rows, lengths=torch.tensor(lengths)).tokens.cpu()
            for (place, _), row, length in zip(padded, tokens, lengths, strict=True):
                yield place, (row[: -(-length // self.codec.hop_length)].clone(), length)

    def _encode_long(self, utterance: Utterance) -> Outcome:
        try:
            with reading(utterance.path, self.codec.sample_rate) as reader:
                tokens = torch.cat([part.cpu() for part in encode_chunks(self.codec, reader.blocks())])
            _check_length(utterance, reader.num_given, self.codec.sample_rate)
            return tokens, reader.num_given
        except CodecError as error:
            return error


def _check_length(utterance: Utterance, num_samples: int, rate: int) -> None:
    promised = resampled_length(utterance.num_samples, utterance.sample_rate, rate)
    if num_samples != promised:
        raise CodecError(
            f"{utterance.path}: {num_samples / rate:.3f} s long, the manifest promises {promised / rate:.3f} s; "
            "prepare the corpus again"
        )
