"""The recordings of a test set: whether they are what the manifest says, and what was scored before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from codec import audio as audio_io
from codec.audio.blocks import opened
from codec.audio.files import read_segment
from codec.errors import CodecError
from codec.evaluation.records import Store
from codec.manifest import Utterance

SECTION = 4096  # samples read at both ends and in the middle of a recording


def fingerprint(utterance: Utterance) -> str:
    """Of a recording's samples, wherever and in whatever lossless format it lies: 16 hexadecimal digits.

    Of three sections and the length: a test set is to be looked through in seconds.

    Raises:
        CodecError: it cannot be read.
    """
    last = max(0, utterance.num_samples - SECTION)
    digest = hashlib.sha256(f"{utterance.num_samples} {utterance.sample_rate}".encode())
    with opened(utterance.path) as file:
        for start in sorted({0, last // 2, last}):
            digest.update(read_segment(file, str(utterance.path), start, SECTION).numpy().tobytes())
    return digest.hexdigest()[:16]


def check_unchanged(store: Store, utterances: Sequence[Utterance]) -> None:
    """Refuse to go on where a recording is another one than was scored. One that has gone is no reason.

    Raises:
        CodecError: which.
    """
    records = store.records()
    changed = [
        utterance.id
        for utterance in utterances
        if (record := records.get(utterance.id)) is not None
        and record.recording is not None
        and _differs(utterance, record.recording)
    ]
    if changed:
        raise CodecError(
            f"{store.folder}: holds scores of other recordings of the same ids ({changed[0]}"
            f"{f' and {len(changed) - 1} more' if len(changed) > 1 else ''}); choose another folder, or --overwrite"
        )


def _differs(utterance: Utterance, recording: str) -> bool:
    try:
        return fingerprint(utterance) != recording
    except CodecError:  # gone or damaged since: what is scored is, and the rest will say so
        return False


def check_file(utterance: Utterance) -> None:
    """Refuse a recording that is another than the manifest's: its length is what shares, rates and speeds rest on."""
    found = audio_io.info(utterance.path)
    if (found.num_samples, found.sample_rate) == (utterance.num_samples, utterance.sample_rate):
        return
    said, has = f"{utterance.num_samples} samples", str(found.num_samples)
    if found.sample_rate != utterance.sample_rate:
        said, has = f"{said} at {utterance.sample_rate} Hz", f"{has} at {found.sample_rate} Hz"
    raise CodecError(f"{utterance.path}: manifest says {said}, the file has {has}; prepare the manifest again")
