"""Folders: what is below one, and where what becomes of it goes in a mirrored one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from codec.audio.blocks import FOLDER_SUFFIXES
from codec.bitstream import SUFFIX
from codec.errors import CodecError
from codec.naming import member_key

LOSSLESS = (".wav", ".flac")  # what decoded audio is written as; nothing is gained by a second lossy coding


class Task(NamedTuple):
    """One file to make of another."""

    source: Path
    output: Path


class Plan(NamedTuple):
    """All that is to be done for a folder."""

    tasks: list[Task]
    unreadable: list[str]  # folders that could not be listed, and why; one line each


def by_length(tasks: Sequence[Task], durations_s: Sequence[float], batch_s: float) -> list[list[Task]]:
    """Tasks whose recordings may go through a model together: neighbours in length, so that little is padded.

    Args:
        tasks: in any order.
        durations_s: of each recording; infinite where it is not known, which stays alone.
        batch_s: most seconds of a group, padding included. A longer recording is a group of its own.

    Returns:
        Groups, the longest recordings first.
    """
    groups: list[list[Task]] = []
    longest_s = 0.0
    for duration_s, task in sorted(zip(durations_s, tasks, strict=True), reverse=True):
        if groups and (len(groups[-1]) + 1) * longest_s <= batch_s:
            groups[-1].append(task)
        else:
            groups.append([task])
            longest_s = duration_s
    return groups


def recordings_below(path: Path) -> list[Path]:
    """A recording, or all audio files below a folder, by path; links are followed.

    Raises:
        CodecError: nothing there, no audio below it, or a folder that cannot be listed.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CodecError(f"{path}: no such file or folder; give a recording or the folder that holds the recordings")
    return _all_below(path, FOLDER_SUFFIXES, "audio")


def token_files_below(folder: Path) -> list[Path]:
    """All .svq files below a folder, by path; links are followed.

    Raises:
        CodecError: none below it, or a folder that cannot be listed.
    """
    return _all_below(folder, (SUFFIX,), "token")


def _all_below(folder: Path, suffixes: Sequence[str], kind: str) -> list[Path]:
    files, unreadable = _files_below(folder, suffixes)
    if unreadable:
        raise CodecError(unreadable[0])
    if not files:
        raise CodecError(f"{folder}: no {kind} file below it; looked for {', '.join(suffixes)}")
    return files


def plan_encoding(folder: Path, output: Path) -> Plan:
    """``x/a.wav`` -> ``x/a.wav.svq``: the whole name is kept, so that ``a.wav`` and ``a.flac`` do not collide.

    Raises:
        CodecError: no audio below ``folder``, or an output folder that cannot be one.
    """
    return _plan(folder, output, FOLDER_SUFFIXES, lambda name: name + SUFFIX)


def plan_decoding(folder: Path, output: Path) -> Plan:
    """``x/a.wav.svq`` -> ``x/a.wav``, ``a.flac.svq`` -> ``a.flac``; anything else gets ``.wav``: ``a.mp3.wav``.

    Raises:
        CodecError: no token file below ``folder``, two that would become one file (``a.svq`` and ``a.wav.svq``), or an
            output folder that cannot be one.
    """

    return _plan(folder, output, (SUFFIX,), lambda name: _as_audio(name[: -len(SUFFIX)]))


def decoded_names(ids: Sequence[str]) -> list[str]:
    """:func:`decoded_name` of each; where two paths have one name, with the folders that tell them apart.

    ``x/a.wav`` and ``y/a.wav`` become themselves, and ``/data/x/a.wav`` and ``/data/y/a.wav`` the same.
    """
    names = [decoded_name(id_) for id_ in ids]
    places = [PurePath(os.path.normpath(id_)) for id_ in ids]
    if len(set(names)) == len(names) or len({place.is_absolute() for place in places}) > 1:
        return names
    parent = os.path.commonpath([place.parent for place in places])
    folders = [place.parent.relative_to(parent or ".") for place in places]
    if any(".." in folder.parts for folder in folders):
        return names
    return [str(folder / name) for folder, name in zip(folders, names, strict=True)]


def decoded_name(id_: str) -> str:
    """The audio file of a recording that has an id: ``ID.wav``, percent-encoded as those of token datasets are.

    Of an id that is the path of an audio or ``.svq`` file, as ``codec tokens`` gives to files, its name alone is kept,
    and renamed as :func:`plan_decoding` does.
    """
    name = Path(id_).name
    if name.lower().endswith(SUFFIX) and len(name) > len(SUFFIX):
        return _as_audio(name[: -len(SUFFIX)])
    if name.lower().endswith(FOLDER_SUFFIXES):
        return _as_audio(name)
    return member_key(id_) + ".wav"


def _as_audio(name: str) -> str:
    return name if name.lower().endswith(LOSSLESS) else name + ".wav"


def _plan(folder: Path, output: Path, suffixes: Sequence[str], rename: Callable[[str], str]) -> Plan:
    if output.exists() and not output.is_dir():
        raise CodecError(f"{output}: is a file; {folder} is a folder and needs a folder for its output")
    if os.path.realpath(output) == os.path.realpath(folder):
        raise CodecError(f"{output}: is the input folder; give another one for the output")
    sources, unreadable = _files_below(folder, suffixes, output)
    if not sources:
        more = f" ({unreadable[0]})" if unreadable else ""
        raise CodecError(f"{folder}: no file to read below it{more}; looked for {', '.join(suffixes)}")
    claimed: dict[Path, Path] = {}
    for source in sources:
        target = output / source.relative_to(folder).with_name(rename(source.name))
        if target in claimed:
            raise CodecError(f"{source} and {claimed[target]} would both become {target}; rename one of them")
        claimed[target] = source
    return Plan([Task(source, target) for target, source in claimed.items()], unreadable)


def _files_below(folder: Path, suffixes: Sequence[str], left_out: Path | None = None) -> tuple[list[Path], list[str]]:
    """Files by path, and what could not be listed. Links are followed, but no folder is entered twice.

    Hidden files and folders are passed over, and so is ``left_out``, the output of an earlier run.
    """
    files: list[Path] = []
    unreadable: list[str] = []

    def note(error: OSError) -> None:
        unreadable.append(f"{error.filename}: the folder cannot be listed ({error.strerror}); make it readable")

    # Not Path.resolve, which does not survive a link to itself.
    entered = set() if left_out is None else {os.path.realpath(left_out)}
    for root, folders, names in os.walk(folder, onerror=note, followlinks=True):
        real = os.path.realpath(root)
        if real in entered:  # a link to a folder above makes a loop, one beside it would be a second copy
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        wanted = (name for name in names if name.lower().endswith(tuple(suffixes)) and not name.startswith("."))
        files.extend(Path(root, name) for name in wanted)
    return sorted(files), unreadable
