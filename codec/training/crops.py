"""Cutting one crop out of one recording."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

import codec.audio as audio_io
from codec.errors import CodecError
from codec.manifest import Utterance
from codec.training.recordings import Recording


def _read_file(recording: Recording, start: int, num_samples: int) -> tuple[Tensor, int]:
    return audio_io.read(recording.path, start, num_samples)


def read_crop(
    utterance: Recording,
    sample_rate: int,
    num_samples: int,
    where: float,
    read: Callable[[Recording, int, int], tuple[Tensor, int]] = _read_file,
) -> Tensor:
    """Read (num_samples,) at ``sample_rate``; ``where`` in [0, 1) places the crop between start and end.

    ``read`` gives a segment of a recording, as :func:`codec.audio.read` does of a file.
    """
    native = -(-num_samples * utterance.sample_rate // sample_rate)  # samples in the file
    spare = max(0, utterance.num_samples - native)
    start = int(where * (spare + 1))
    wanted = min(native, utterance.num_samples)
    name, index = (utterance.path, "manifest") if isinstance(utterance, Utterance) else (utterance, "shard's index")
    promised = f"the {index} promises {utterance.num_samples} samples at {utterance.sample_rate} Hz"
    try:
        channels, rate = read(utterance, start, wanted)
    except CodecError as error:
        raise CodecError(f"{error} ({promised})") from None
    if rate != utterance.sample_rate or channels.shape[-1] < wanted:
        raise CodecError(
            f"{name}: {promised}, the file gave {start + channels.shape[-1]} at {rate} Hz; prepare the corpus again"
        )
    crop = audio_io.resample(audio_io.to_mono(channels), rate, sample_rate)
    repeats = -(-num_samples // crop.shape[-1])
    return crop.repeat(repeats)[:num_samples]
