"""Where the weights of learned metrics come from, and where they lie."""

from __future__ import annotations

import re
from pathlib import Path

import requests

from codec.corpora.download import TIMEOUT_S, Progress, RemoteFile, download
from codec.errors import CodecError

CACHE = Path("~/.cache/simvq-codec")
UTMOS_FILE = "utmos_state_dict.pt"
UTMOS_URL = f"https://huggingface.co/Blinorot/UTMOS-PyTorch/resolve/main/{UTMOS_FILE}"  # 413 MB


def fetch_utmos(
    folder: str | Path, *, url: str = UTMOS_URL, sha256: str | None = None, progress: Progress | None = None
) -> Path:
    """Download the weights of UTMOS22-strong, unless they are there and whole.

    Args:
        folder: where they go.
        url: of the file.
        sha256: that it must have; None: the one that the host itself names for it.
        progress: called with (bytes done, bytes in all).

    Returns:
        Path of the file.

    Raises:
        CodecError: the host cannot be reached or names no checksum, or what comes is not the file.
    """
    digest = sha256.lower() if sha256 is not None else published_sha256(url)
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise CodecError(f"{digest!r}: not a SHA-256; expected 64 hexadecimal digits")
    return download(RemoteFile(UTMOS_FILE, f"sha256:{digest}", (url,)), folder, progress=progress)


def published_sha256(url: str) -> str:
    """SHA-256 of a large file as the Hugging Face hub publishes it, in the header of its answer.

    Raises:
        CodecError: no answer, or no checksum in it.
    """
    try:
        # The redirect leads to a store that knows nothing of the checksum.
        answer = requests.head(url, allow_redirects=False, timeout=TIMEOUT_S)
        answer.raise_for_status()
    except requests.RequestException as error:
        reason = " ".join(str(error).split())
        raise CodecError(
            f"{url}: cannot be reached ({reason}); run again with a connection, or give another place with --url"
        ) from None
    digest = answer.headers.get("X-Linked-ETag", "").strip('"')
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise CodecError(f"{url}: the host names no SHA-256 for it; give the one you trust with --sha256")
    return digest
