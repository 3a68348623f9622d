"""Networks of the ``transformers`` library: found on disk, never fetched while something is scored.

A network is named by a folder, or by a repository of the Hugging Face hub that ``codec fetch`` (or anything else) has
put into the hub's cache. The library itself comes with the extra ``eval``: ``pip install -e '.[eval]'``.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError

from codec.errors import CodecError, how_to_install
from codec.evaluation.unavailable import SystemUnavailableError
from codec.files import read_json

if TYPE_CHECKING:
    from types import ModuleType

# What codec fetch calls it -> the repository that is taken where none is named.
REPOSITORIES = {
    "wer": "facebook/hubert-large-ls960-ft",
    "sim": "microsoft/wavlm-base-plus-sv",
    "encodec": "facebook/encodec_24khz",
    "dac": "descript/dac_24khz",
    "mimi": "kyutai/mimi",
}
WEIGHTS = ("*.safetensors", "*.bin")
SETTINGS = ("*.json", "*.txt")  # of network, feature extractor and tokeniser
UNUSED = "masked_spec_embed"  # of training; some published files lack it


def transformers() -> ModuleType:
    """The library, loaded on first use.

    Raises:
        SystemUnavailableError: it is not installed.
    """
    try:
        import transformers as library
    except ImportError:
        raise SystemUnavailableError(
            f"the package transformers is not installed: {how_to_install('transformers', 'eval')}"
        ) from None
    # Its bars and reports are for people who load one network; what matters in them is checked in load().
    library.utils.logging.disable_progress_bar()
    library.utils.logging.set_verbosity_error()
    return library


def find(name: str | Path, fetch_as: str) -> Path:
    """The folder of a network: ``name`` itself, or its snapshot in the hub's cache.

    Raises:
        CodecError: what can only be a folder is none: a mistake, not a network that is still to be fetched.
        SystemUnavailableError: neither is there; names the command that fetches it.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    try:
        # By one file that every network has: who has fetched it otherwise need not have all that a repository holds.
        settings = try_to_load_from_cache(str(name), "config.json")
    except HFValidationError:
        raise CodecError(f"{name}: no such folder; give one, or a repository of the hub (owner/name)") from None
    if not isinstance(settings, str):
        which = "" if str(name) == REPOSITORIES[fetch_as] else f" --repository {name}"
        raise SystemUnavailableError(f"{name} is not on this machine; run codec fetch {fetch_as}{which}")
    return Path(settings).parent


def load_settings(settings_class: Any, folder: Path) -> Any:
    """A feature extractor or tokeniser.

    Raises:
        SystemUnavailableError: the folder has none, or a damaged one.
    """
    try:
        return settings_class.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SystemUnavailableError(f"{folder}: no {settings_class.__name__} ({reason}); fetch it again") from None


def check_rate(rate: int, expected: int, folder: Path) -> None:
    """Refuse a network made for another sample rate.

    Raises:
        SystemUnavailableError: it is.
    """
    if rate != expected:
        raise SystemUnavailableError(f"{folder}: made for {rate} Hz, expected {expected} Hz; name another network")


def load(model_class: Any, folder: Path, device: torch.device) -> Any:
    """A network in float32, ready for inference.

    Args:
        model_class: of the library, with ``from_pretrained``.
        folder: see :func:`find`.
        device: where it computes.

    Raises:
        SystemUnavailableError: no settings or weights of such a network in the folder, damaged ones, or not all of
            them (the library itself fills up with random numbers).
    """
    expected = getattr(getattr(model_class, "config_class", None), "model_type", None)  # None: any that has such a head
    found = read_json(folder / "config.json", "give the folder of a network").get("model_type")
    if expected is not None and found != expected:
        raise SystemUnavailableError(f"{folder}: holds a network of type {found}, expected {expected}; name another")
    try:
        network, report = model_class.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SystemUnavailableError(
            f"{folder}: {model_class.__name__} cannot be loaded ({reason}); fetch it again"
        ) from None
    lacking = sorted(name for name in report["missing_keys"] if not name.endswith(UNUSED))
    if lacking:
        raise SystemUnavailableError(
            f"{folder}: no {model_class.__name__}: {len(lacking)} weights missing ({lacking[0]}, ...)"
        )
    return network.to(device).eval().requires_grad_(False)


def fingerprint(folder: Path) -> str:
    """SHA-256 over the weight files of a network, in the order of their names.

    Raises:
        SystemUnavailableError: there is none.
    """
    files = [file for pattern in WEIGHTS for file in sorted(folder.glob(pattern))]
    if not files:
        raise SystemUnavailableError(f"{folder}: no weights ({', '.join(WEIGHTS)}); fetch it again")
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def fetch(repository: str, endpoint: str | None = None) -> Path:
    """Put a network into the hub's cache: settings, and its weights once (safetensors where there are any).

    The hub's client compares what comes with the checksums that the hub has.

    Args:
        repository: ``owner/name``.
        endpoint: of another hub; None: the one of ``HF_ENDPOINT``, else huggingface.co.

    Raises:
        CodecError: no such repository, or no connection.
    """
    hub = HfApi(endpoint=endpoint)
    try:
        for pattern in WEIGHTS:
            folder = Path(hub.snapshot_download(repository, allow_patterns=[*SETTINGS, pattern]))
            if any(folder.glob(pattern)):
                return folder
    except LocalEntryNotFoundError:
        reason = "the hub cannot be reached"
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
    else:
        raise CodecError(f"{repository}: holds no weights ({', '.join(WEIGHTS)}); name another repository")
    raise CodecError(f"{repository}: cannot be fetched ({reason}); check name and connection")
