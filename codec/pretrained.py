"""Model folders: finding them, on disk, in the package or on the hub, and reading what is in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from codec import bundled
from codec.errors import CodecError
from codec.files import read_json, replacing, write_text

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
# Weights in several files, as the hub's libraries split them: the index says which file holds what.
PARTS_INDEX_FILE = "model.safetensors.index.json"
PARTS = "model-*-of-*.safetensors"
CHECKSUMS_FILE = "SHA256SUMS"  # of a shared model, in the format of sha256sum
TRAINING_FILE = "training.json"  # in best/ and last/ of a run: {"step": steps trained}
INNER = ("best", "last")  # models in the folder of a run
_REPOSITORY = r"[\w-][\w.-]*/[\w-][\w.-]*"  # owner/name


def find_model(name_or_dir: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: a folder of that name, else a model that ships with the package, else a hub repository's.

    ``revision``: branch, tag or commit of a repository; None: its main branch.

    Raises:
        CodecError: none of them (the nearest name that ships is suggested), a file, or a repository that cannot be had.
    """
    directory = Path(name_or_dir)
    name = str(name_or_dir)
    if not name:
        raise CodecError("the name of the model is empty; give a folder (. is the current one) or a name")
    shipped = None if directory.is_dir() else bundled.bundled_models().get(name)
    if directory.is_dir() or shipped:
        if revision is not None:
            raise CodecError(f"{name}: is no repository, and has no revision {revision!r}; leave it out")
        if shipped:
            return bundled_folder(shipped)
        for inner in INNER:
            if not (directory / CONFIG_FILE).exists() and (directory / inner / CONFIG_FILE).exists():
                raise CodecError(f"{name}: is the folder of a run; its model is {directory / inner}")
        return directory
    if directory.is_file():
        raise CodecError(f"{name}: is a file; give the folder of a model, or a name")
    if re.fullmatch(_REPOSITORY, name):
        return _fetch(name, revision)
    raise CodecError(f"{name}: no such model folder, and no model that ships has this name; {bundled.suggestion(name)}")


def bundled_folder(model: bundled.BundledModel) -> Path:
    """The folder of a model that ships, after a look at its list of checksums; :func:`check_sums` looks at the files.

    Raises:
        CodecError: it is not there, or not what was released.
    """
    sums = model.folder / CHECKSUMS_FILE
    if not sums.is_file():
        raise CodecError(f"{model.name}: {sums} is missing; install the package again")
    if sha256_of(sums) != model.sha256:
        raise CodecError(f"{model.name}: {sums} is not what was released (SHA-256 differs); install the package again")
    return model.folder


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
        patterns = [CONFIG_FILE, WEIGHTS_FILE, PARTS_INDEX_FILE, PARTS, CHECKSUMS_FILE]
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError:
        reason = "not on this machine yet, and the hub cannot be reached (or HF_HUB_OFFLINE is set)"
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
    raise CodecError(f"{repository}: no such folder, and no model from the hub: {reason}; check name and connection")


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
    for name in (CONFIG_FILE, *weight_files(directory)):
        path = directory / name
        if path.is_file() and sha256_of(path) != sums.get(name):
            raise CodecError(
                f"{path}: is not the file that {CHECKSUMS_FILE} beside it tells of (SHA-256 differs); get the model "
                f"again, or remove {CHECKSUMS_FILE} if the change was meant"
            )


def weight_files(directory: Path) -> list[str]:
    """Names of the files with a model's weights: one, or the index of several and these.

    Raises:
        CodecError: an index that cannot be read.
    """
    if (directory / WEIGHTS_FILE).is_file() or not (directory / PARTS_INDEX_FILE).is_file():
        return [WEIGHTS_FILE]
    places = read_json(directory / PARTS_INDEX_FILE, "get the model again").get("weight_map")
    names = sorted(set(places.values())) if isinstance(places, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).match(PARTS) and "/" not in name for name in names):
        raise CodecError(f"{directory / PARTS_INDEX_FILE}: tells of no files {PARTS} beside it; get the model again")
    return [PARTS_INDEX_FILE, *names]


def read_model_weights(directory: Path) -> dict[str, Tensor]:
    """All weights of a model folder, on the CPU, in float32.

    Raises:
        CodecError: a file that is missing or damaged.
    """
    weights: dict[str, Tensor] = {}
    for name in weight_files(directory):
        if name != PARTS_INDEX_FILE:
            weights |= read_weights(directory / name, torch.float32)
    return weights


@contextmanager
def replacing_model(directory: Path, names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Yield a temporary path for each file of a model; together they replace the model in ``directory``.

    They do so when the block ends well; until then, and when it fails, the folder is as it was. Whoever reads
    meanwhile, or after a kill, finds the old model, the new one, or files that ``SHA256SUMS`` refuses: never a mix.

    Args:
        directory: of the model.
        names: of all files, the settings among them.

    Raises:
        CodecError: the folder cannot be written.
    """
    with ExitStack() as stack:
        # Renamed in the reverse order: the settings, without which nothing is a model, come last.
        order = sorted(names, key=lambda name: name != CONFIG_FILE)
        paths = {name: stack.enter_context(replacing(directory / name)) for name in order}
        yield paths
        before = directory / CONFIG_FILE
        same = before.is_file() and before.read_bytes() == paths[CONFIG_FILE].read_bytes()
        if before.is_file() and not (same and WEIGHTS_FILE in names):  # else one renaming is all that counts
            write_sums(directory, paths)
        (directory / TRAINING_FILE).unlink(missing_ok=True)  # is told of the old model
    for path in (directory / WEIGHTS_FILE, directory / PARTS_INDEX_FILE, *directory.glob(PARTS)):
        if path.name not in names:
            path.unlink(missing_ok=True)
    (directory / CHECKSUMS_FILE).unlink(missing_ok=True)


def write_sums(folder: Path, files: Mapping[str, Path]) -> None:
    """Write ``SHA256SUMS`` into a folder, as ``sha256sum -c`` reads it; ``files``: names there, and where each lies."""
    write_text(folder / CHECKSUMS_FILE, "".join(f"{sha256_of(path)}  {name}\n" for name, path in files.items()))


def read_weights(path: Path, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Read a safetensors file on the CPU.

    Args:
        path: of the file.
        dtype: of all that is floating point; None: as it was saved. Tensor by tensor: never is all of it there twice.

    Raises:
        CodecError: missing or damaged.
    """
    if not path.is_file():
        raise CodecError(f"{path}: no such file; a model folder holds {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        with safe_open(path, "pt") as file:
            found = ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118 - no mapping
            return {name: value.to(dtype) if value.is_floating_point() else value for name, value in found}
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
