"""Many files: what is below a folder, and where what becomes of each goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from codec.audio.blocks import FOLDER_SUFFIXES
from codec.bitstream import SUFFIX
from codec.errors import CodecError
from codec.naming import member_key

DECODED = ".decoded.wav"  # beside what is decoded: never the recording that was encoded
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
    return _plan_folder(folder, output, FOLDER_SUFFIXES, _encoded_name)


def plan_encoding_files(files: Sequence[Path], output: Path | None) -> Plan:
    """``x/a.wav`` -> ``output/a.wav.svq``; without ``output`` ``x/a.svq``, as one file by itself.

    Raises:
        CodecError: two files that would become one, or one of those that are read; a folder among them, or an output
            folder that cannot be one.
    """
    return _plan_files(files, output, _encoded_name, lambda file: file.with_suffix(SUFFIX))


def plan_decoding(folder: Path, output: Path) -> Plan:
    """``x/a.wav.svq`` -> ``x/a.wav``, ``a.flac.svq`` -> ``a.flac``; anything else gets ``.wav``: ``a.mp3.wav``.

    Raises:
        CodecError: no token file below ``folder``, two that would become one file (``a.svq`` and ``a.wav.svq``), or an
            output folder that cannot be one.
    """
    return _plan_folder(folder, output, (SUFFIX,), _decoded_name)


def plan_decoding_files(files: Sequence[Path], output: Path | None) -> Plan:
    """``x/a.svq`` -> ``output/a.wav``, named as by :func:`plan_decoding`; without ``output`` ``x/a.decoded.wav``.

    Raises:
        CodecError: two files that would become one, or one of those that are read; a folder among them, or an output
            folder that cannot be one.
    """
    return _plan_files(files, output, _decoded_name, lambda file: file.with_suffix(DECODED))


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
        return _decoded_name(name)
    if name.lower().endswith(FOLDER_SUFFIXES):
        return _as_audio(name)
    return member_key(id_) + ".wav"


def _encoded_name(name: str) -> str:
    return name + SUFFIX


def _decoded_name(name: str) -> str:
    return _as_audio(name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) else name)


def _as_audio(name: str) -> str:
    return name if name.lower().endswith(LOSSLESS) else name + ".wav"


def _plan_folder(folder: Path, output: Path, suffixes: Sequence[str], rename: Callable[[str], str]) -> Plan:
    _check_folder(output, f"{folder} is a folder and needs")
    if os.path.realpath(output) == os.path.realpath(folder):
        raise CodecError(f"{output}: is the input folder; give another one for the output")
    sources, unreadable = _files_below(folder, suffixes, output)
    if not sources:
        more = f" ({unreadable[0]})" if unreadable else ""
        raise CodecError(f"{folder}: no file to read below it{more}; looked for {', '.join(suffixes)}")
    targets = (output / source.relative_to(folder).with_name(rename(source.name)) for source in sources)
    return Plan(_tasks(sources, targets), unreadable)


def _plan_files(
    files: Sequence[Path], output: Path | None, rename: Callable[[str], str], beside: Callable[[Path], Path]
) -> Plan:
    for file in files:
        if file.is_dir():
            raise CodecError(f"{file}: is a folder, given beside {len(files) - 1} others; give a folder by itself")
    if output is not None:
        _check_folder(output, f"{len(files)} files need")
    tasks = _tasks(files, (beside(file) if output is None else output / rename(file.name) for file in files))
    read = {os.path.realpath(file) for file in files}
    for task in tasks:
        if os.path.realpath(task.output) in read:
            raise CodecError(f"{task.output}: is one of the files that are read, which stay as they are; give -o OUT")
    return Plan(tasks, [])


def _check_folder(output: Path, who: str) -> None:
    if output.exists() and not output.is_dir():
        raise CodecError(f"{output}: is a file; {who} a folder for the output")


def _tasks(sources: Iterable[Path], targets: Iterable[Path]) -> list[Task]:
    claimed: dict[Path, Path] = {}
    for source, target in zip(sources, targets, strict=True):
        if target in claimed:
            raise CodecError(f"{source} and {claimed[target]} would both become {target}; rename one of them")
        claimed[target] = source
    return [Task(source, target) for target, source in claimed.items()]


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
