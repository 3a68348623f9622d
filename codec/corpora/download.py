"""Large files from the network: resumed where they broke off, from whichever mirror answers, checked whole."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import requests
import urllib3

from codec.errors import CodecError
from codec.files import write_text

logger = logging.getLogger(__name__)

# Before each round over all mirrors; every attempt goes on where the one before broke off.
PAUSES_S = (0.0, 1.0, 5.0, 15.0, 30.0)
TIMEOUT_S = 60.0  # without a byte
BLOCK = 1 << 20  # bytes

Progress = Callable[[int, int], None]  # bytes done, bytes in all (0: the server does not tell)


@dataclass(frozen=True)
class RemoteFile:
    """A file that is the same at several places."""

    name: str
    checksum: str  # algorithm:hex, as in "sha256:da08..."; empty: nobody knows it, and it cannot be verified
    urls: tuple[str, ...]  # tried in this order


def download(file: RemoteFile, folder: str | Path, *, progress: Progress | None = None) -> Path:
    """Fetch a file into ``folder``, unless it is there and whole. What was fetched before is not fetched again.

    The part that is there waits as ``NAME.part``; under its own name there is never a file whose checksum is wrong.

    Args:
        file: what to fetch.
        folder: made when it is missing.
        progress: called with (bytes done, bytes in all).

    Raises:
        CodecError: no mirror could give the whole file, or it cannot be written; what came so far is kept.
    """
    folder = Path(folder)
    path = folder / file.name
    if _is_marked(file, path):
        return path
    part = path.with_name(f"{file.name}.part")
    reasons: dict[str, str] = {}  # the last one of each mirror
    for pause_s, url in ((pause_s, url) for pause_s in PAUSES_S for url in file.urls):
        if url == file.urls[0]:
            time.sleep(pause_s)
        try:
            # pooch compares checksums and moves the file to its place; the bytes come through _Resuming.
            pooch.retrieve(url, file.checksum or None, file.name, folder, downloader=_Resuming(part, progress))
        except CodecError:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            reasons[url] = _reason(error)
        except ValueError:  # pooch, of the checksum; the wrong bytes are gone by now
            reasons[url] = "what came has another checksum"
        except OSError as error:
            raise CodecError(
                f"{path}: cannot be written ({error.strerror}); make room, or choose another folder"
            ) from None
        else:
            _mark(file, path)
            return path
        logger.warning("%s: %s", url, reasons[url])
    kept = f"{part.stat().st_size:,} bytes are kept, run again to go on" if part.exists() else "run again later"
    told = "; ".join(f"{url}: {reason}" for url, reason in reasons.items())
    raise CodecError(f"{file.name}: could not be downloaded ({told}); {kept}, or put the file into {folder} yourself")


def verify(file: RemoteFile, folder: str | Path, *, progress: Progress | None = None) -> None:
    """Compare a file's checksum, once: the result is remembered as long as the file does not change.

    Args:
        file: what it should be.
        folder: where it lies.
        progress: called with (bytes read, bytes in all).

    Raises:
        CodecError: the file is missing, half-downloaded or damaged.
    """
    path = Path(folder) / file.name
    if _is_marked(file, path):
        return
    if not path.is_file():
        state = "is half-downloaded" if path.with_name(f"{file.name}.part").exists() else "is missing"
        raise CodecError(f"{path}: {state}; download it first")
    algorithm, _, expected = file.checksum.partition(":")
    found = _digest(path, algorithm, progress)
    if found != expected:
        raise CodecError(
            f"{path}: damaged or not whole ({algorithm} {found}, expected {expected}); delete it and download it again"
        )
    _mark(file, path)


def _digest(path: Path, algorithm: str, progress: Progress | None) -> str:
    digest, done, total = hashlib.new(algorithm), 0, path.stat().st_size
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            done += len(block)
            if progress is not None:
                progress(done, total)
    return digest.hexdigest()


class _Resuming:
    """What pooch calls to fetch a URL: appends to a part that stays when the connection does not."""

    def __init__(self, part: Path, progress: Progress | None) -> None:
        self._part = part
        self._progress = progress

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        start = self._part.stat().st_size if self._part.exists() else 0
        # identity: some servers take .gz for an encoding of theirs, which the client has to undo.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                if start != _total(response):
                    self._part.unlink()
                    raise requests.ConnectionError("the part that was here is longer than the file; begun again")
            else:
                response.raise_for_status()
                self._append(response, start)
        self._part.replace(output_file)

    def _append(self, response: requests.Response, start: int) -> None:
        resumed = response.status_code == requests.codes.partial_content
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise requests.ConnectionError(f"asked for bytes from {start}, got {response.headers.get('Content-Range')}")
        done, total = start if resumed else 0, _total(response)
        with self._part.open("ab" if resumed else "wb") as file:
            for block in response.raw.stream(BLOCK, decode_content=False):
                file.write(block)
                done += len(block)
                if self._progress is not None:
                    self._progress(done, total)
        if total and done != total:
            raise requests.ConnectionError(f"broke off after {done:,} of {total:,} bytes")


def _total(response: requests.Response) -> int:
    """Bytes of the whole file, whichever part of it this is; 0 where the server does not tell."""
    whole = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    return int(whole[1] if whole else response.headers.get("Content-Length", 0))


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, urllib3.exceptions.IncompleteRead):
        return "broke off"
    return " ".join(str(error).split()) or type(error).__name__


def _marker(path: Path) -> Path:
    return path.with_name(f".{path.name}.completed")


def _state(file: RemoteFile, path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"checksum": file.checksum, "size": status.st_size, "modified_ns": status.st_mtime_ns}


def _mark(file: RemoteFile, path: Path) -> None:
    write_text(_marker(path), json.dumps(_state(file, path)) + "\n")


def _is_marked(file: RemoteFile, path: Path) -> bool:
    try:
        return json.loads(_marker(path).read_text(encoding="utf-8")) == _state(file, path)
    except (OSError, ValueError):
        return False
