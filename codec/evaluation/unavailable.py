"""Systems that cannot be scored here, for want of weights or a program: a line in the table rather than a gap."""

from __future__ import annotations

import json
from pathlib import Path

from codec.errors import CodecError
from codec.files import write_text

UNAVAILABLE_FILE = "not_available.json"


class SystemUnavailableError(CodecError):
    """A system whose weights or program are not installed; the message says how to get them."""


def write_unavailable(folder: str | Path, system: str, reason: str) -> None:
    """Leave a note in a result folder, for the table.

    Raises:
        CodecError: the folder cannot be written to.
    """
    facts = {"system": system, "reason": reason}
    write_text(Path(folder) / UNAVAILABLE_FILE, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def read_unavailable(folder: str | Path) -> tuple[str, str] | None:
    """(system, reason) of a result folder that has a note instead of scores; None: it has none.

    Raises:
        CodecError: a damaged note.
    """
    path = Path(folder) / UNAVAILABLE_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return str(facts["system"]), str(facts["reason"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CodecError(f"{path}: cannot be read ({error.strerror}); check the disk") from None
    except (ValueError, KeyError, TypeError):
        raise CodecError(f"{path}: not a note of recipes/evaluate.py; remove it, or score again") from None
