"""Whether a file is whole, where libsndfile does not tell: damage is refused, other things are warned of."""

from __future__ import annotations

import logging
from typing import BinaryIO

from soundfile import SoundFile

from codec.audio import mpeg_frames, ogg_pages
from codec.audio.chunk_headers import missing_bytes
from codec.errors import CodecError

logger = logging.getLogger(__name__)

_TRIMMED = 2 * 4095  # samples at the two ends of an MP3 that its header may leave out


def check_whole(file: BinaryIO, name: str, sound: SoundFile) -> int:
    """Look through an audio file, which costs little beside decoding it; its position is kept.

    A file that was cut short, or has more than libsndfile reads, is warned of: what can be had is read.

    Args:
        file: its bytes.
        name: what messages call it.
        sound: the same file, opened for decoding.

    Returns:
        How many samples can be read: where no header counts them, ``sound.frames`` is an estimate.

    Raises:
        CodecError: a page of an Ogg file is damaged or missing.
    """
    place, num_samples = file.tell(), sound.frames
    if sound.format == "OGG":
        _check_pages(file, name)
    elif sound.subtype == "MPEG_LAYER_III":
        num_samples = _check_frames(file, name, sound)
    elif missing := missing_bytes(file):
        logger.warning("%s: was cut short, its header promises %d bytes more; get it again", name, missing)
    file.seek(place)
    return num_samples


def _check_pages(file: BinaryIO, name: str) -> None:
    pages = ogg_pages.examine(file)
    if pages.damage:
        raise CodecError(f"{name}: {pages.damage}; the file is damaged, get it again")
    if not pages.complete:
        logger.warning("%s: was cut short, its last page is missing; get it again", name)
    if pages.followed:
        logger.warning("%s: only the first of several recordings in it is read; convert it to wave first", name)


def _check_frames(file: BinaryIO, name: str, sound: SoundFile) -> int:
    frames = mpeg_frames.examine(file)
    if frames.num_samples > sound.frames + _TRIMMED:
        reason = "its header counts no more" if frames.counted else "no header counts its samples"
        read_s, there_s = sound.frames / sound.samplerate, frames.num_samples / sound.samplerate
        logger.warning(
            "%s: only %.2f s of %.2f s are read, as %s; convert it to wave first", name, read_s, there_s, reason
        )
    exact = frames.counted or not frames.num_samples
    return sound.frames if exact else min(sound.frames, frames.num_samples)
