"""Model folders: finding them, on disk or on the hub, and reading what is in them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from codec.errors import CodecError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CHECKSUMS_FILE = "SHA256SUMS"  # of a shared model, in the format of sha256sum
TRAINING_FILE = "training.json"  # in best/ and last/ of a run: {"step": steps trained}
_REPOSITORY = r"[\w-][\w.-]*/[\w-][\w.-]*"  # owner/name


def find_model(name_or_dir: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: ``name_or_dir`` itself, or a hub repository's, fetched once.

    ``revision``: branch, tag or commit of a repository; None: its main branch.

    Raises:
        CodecError: no such folder, or a repository that cannot be had.
    """
    directory = Path(name_or_dir)
    if directory.is_dir():
        if revision is not None:
            raise CodecError(f"{directory}: is a folder, which has no revision {revision!r}; leave it out")
        return directory
    if re.fullmatch(_REPOSITORY, str(name_or_dir)):
        return _fetch(str(name_or_dir), revision)
    raise CodecError(f"{directory}: no such model folder; train one (make demo) or convert one (codec convert)")


def check_repository_name(repository: str) -> None:
    """Refuse what the hub would not take for a name.

    Raises:
        CodecError: not "owner/name".
    """
    if not re.fullmatch(_REPOSITORY, repository):
        raise CodecError(f"{repository!r}: not the name of a hub repository; expected owner/name")


def _fetch(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        patterns = [CONFIG_FILE, WEIGHTS_FILE, CHECKSUMS_FILE]
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError:
        reason = "not on this machine yet, and the hub cannot be reached (or HF_HUB_OFFLINE is set)"
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
    raise CodecError(f"{repository}: no such folder, and no model from the hub: {reason}; check name and connection")


def read_json(path: Path) -> Any:
    """The contents of a model's ``config.json``.

    Raises:
        CodecError: missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CodecError(f"{path.parent}: no readable {path.name} ({error.strerror}); not a model folder") from None
    except ValueError:
        raise CodecError(f"{path}: not JSON; save the model again") from None


def sha256_of(path: Path) -> str:
    """Checksum of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sums(directory: Path) -> None:
    """Compare a shared model's files with its ``SHA256SUMS``; a folder without it is taken as it is.

    Raises:
        CodecError: a file that is not the one that was shared.
    """
    try:
        lines = (directory / CHECKSUMS_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise CodecError(f"{directory / CHECKSUMS_FILE}: cannot be read ({error}); get the model again") from None
    sums = {name: digest for digest, name in (line.split(maxsplit=1) for line in lines if len(line.split()) == 2)}
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        path = directory / name
        if path.is_file() and sha256_of(path) != sums.get(name):
            raise CodecError(
                f"{path}: is not the file that {CHECKSUMS_FILE} beside it tells of (SHA-256 differs); get the model "
                f"again, or remove {CHECKSUMS_FILE} if the change was meant"
            )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file on the CPU.

    Raises:
        CodecError: missing or damaged.
    """
    if not path.is_file():
        raise CodecError(f"{path}: no such file; a model folder holds {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CodecError(f"{path}: damaged or not a safetensors file ({error}); copy it again") from None


def load_weights(module: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Put ``weights`` in the place of a module's own, in float32; every name and shape must fit.

    Raises:
        CodecError: names what is missing, unknown or of another shape.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    misshapen = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})"
        for names, what in ((missing, "missing"), (unknown, "unknown"), (misshapen, "of another shape"))
        if names
    ]
    if problems:
        raise CodecError(f"{where}: the weights do not fit the settings: {'; '.join(problems)}")
    floats = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    module.load_state_dict(floats, assign=True)
