"""One recording as it is stored in a shard: bytes of FLAC or Opus."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType

import soundfile

from codec.audio.blocks import opened, reading, reason_of
from codec.audio.resampling import resampled_length
from codec.errors import CodecError
from codec.manifest import Utterance

OPUS_RATES = (8000, 12_000, 16_000, 24_000, 48_000)  # Hz
CODINGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"flac": ("PCM_16", "FLAC"), "opus": ("OPUS", "OGG")}  # as libsndfile calls them
)

Encoded = tuple[bytes, Utterance] | CodecError


def encode_ahead(
    items: Sequence[Utterance], format_name: str, pool: ThreadPoolExecutor, ahead: int
) -> Iterator[tuple[Utterance, Encoded]]:
    """Encode recordings in order, ``ahead`` of them in work before they are asked for."""
    waiting: deque[tuple[Utterance, Future[Encoded]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(encode_recording, item, format_name)))
            if len(waiting) >= ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def encode_recording(item: Utterance, format_name: str) -> Encoded:
    """A recording as bytes of FLAC or Opus, with its facts as stored; or why not."""
    try:
        if format_name == "flac" and (copied := _as_it_is(item)) is not None:
            return copied, item
        rate = item.sample_rate
        if format_name == "opus" and rate not in OPUS_RATES:
            rate = next((known for known in OPUS_RATES if known >= rate), OPUS_RATES[-1])
        stored = replace(item, num_samples=resampled_length(item.num_samples, item.sample_rate, rate), sample_rate=rate)
        buffer = io.BytesIO()
        coding, container = CODINGS[format_name]
        with (
            reading(item.path, rate) as reader,
            soundfile.SoundFile(buffer, "w", rate, 1, coding, format=container) as file,
        ):
            if reader.native_rate != item.sample_rate:
                raise CodecError(_broken_promise(item, f"has {reader.native_rate} Hz"))
            for block in reader.blocks():
                file.write(block.clamp(-1.0, 1.0).numpy())
        content = buffer.getvalue()
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if file.frames != stored.num_samples:
                raise CodecError(_broken_promise(item, f"gave {file.frames} of {stored.num_samples} at {rate} Hz"))
        return content, stored
    except CodecError as error:
        return error
    except soundfile.LibsndfileError as error:
        return CodecError(f"{item.path}: cannot be stored as {format_name} ({reason_of(error)})")


def _as_it_is(item: Utterance) -> bytes | None:
    """The bytes of a file that is what a shard holds already."""
    with opened(item.path) as file:
        if file.format != "FLAC" or file.channels != 1:
            return None
        if (file.frames, file.samplerate) != (item.num_samples, item.sample_rate):
            raise CodecError(_broken_promise(item, f"has {file.frames} at {file.samplerate} Hz"))
    with reading(item.path, item.sample_rate) as reader:  # a file that was cut short has the header of a whole one
        if (found := sum(len(block) for block in reader.blocks())) != item.num_samples:
            raise CodecError(_broken_promise(item, f"gave {found} at {item.sample_rate} Hz"))
    try:
        return item.path.read_bytes()
    except OSError as error:
        raise CodecError(f"{item.path}: cannot be read ({error.strerror})") from None


def _broken_promise(item: Utterance, found: str) -> str:
    return (
        f"{item.path}: the manifest promises {item.num_samples} samples at {item.sample_rate} Hz, the file {found}; "
        "prepare the corpus again"
    )
