"""Models that ship with the package: an index of names, and a model folder for each.

``recipes/release.py`` writes ``index.json``: name -> folder, fingerprints of the model and of its tokens, SHA-256 of
the folder's ``SHA256SUMS`` (which has those of the files), and a line of description.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, NamedTuple

from codec.errors import CodecError
from codec.files import write_text

FOLDER = Path(__file__).parent
INDEX_FILE = "index.json"
DEFAULT_MODEL = "simvq-24khz-0.9kbps"  # what the command line takes where no --model is given


class BundledModel(NamedTuple):
    """A line of the index."""

    name: str
    folder: Path
    fingerprint: str
    token_fingerprint: str  # as every .svq file made with it carries it
    sha256: str  # of the folder's SHA256SUMS
    description: str


def bundled_models() -> dict[str, BundledModel]:
    """Every model that ships, by name.

    Raises:
        CodecError: a damaged index.
    """
    path = FOLDER / INDEX_FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["models"]
        return {
            name: BundledModel(
                name,
                FOLDER / entry["folder"],
                entry["fingerprint"],
                entry["token_fingerprint"],
                entry["sha256"],
                entry["description"],
            )
            for name, entry in entries.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = type(error).__name__
        raise CodecError(f"{path}: no list of the models that ship ({reason}); install the package again") from None


def default_model() -> BundledModel:
    """The model of whoever names none.

    Raises:
        CodecError: it does not ship with this version.
    """
    model = bundled_models().get(DEFAULT_MODEL)
    if model is None:
        raise CodecError(
            f"{DEFAULT_MODEL}: no model of this name ships with this version; give one with --model DIR (make demo "
            "trains one, codec convert converts a published one)"
        )
    return model


def find_fingerprint(fingerprint: str) -> BundledModel | None:
    """The model whose tokens carry this fingerprint (or did, see :meth:`codec.Codec.decodes`), where it ships."""
    models = sorted(bundled_models().values(), key=lambda model: model.name != DEFAULT_MODEL)  # of several the default
    return next((model for model in models if fingerprint in (model.token_fingerprint, model.fingerprint)), None)


def token_fingerprint(fingerprint: str) -> str:
    """What files of tokens carry today, of one that files of an earlier version may carry for a model that ships."""
    model = find_fingerprint(fingerprint)
    return model.token_fingerprint if model else fingerprint


def model_of_fingerprint(made: str, fingerprint: str) -> BundledModel:
    """The model that made ``made``, by the fingerprint in it.

    Raises:
        CodecError: none of those that ship.
    """
    if model := find_fingerprint(fingerprint):
        return model
    known = ", ".join(bundled_models()) or "none does"
    raise CodecError(
        f"{made}: made by encoder {fingerprint}, which does not ship with this version (what ships: {known}); give the "
        "model that encoded it with --model DIR"
    )


def suggestion(name: str) -> str:
    """What to say of a name that nothing has: the nearest, and what there is."""
    models = bundled_models()
    close = difflib.get_close_matches(name.lower(), models, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    ships = f"models that ship: {', '.join(models)}; " if models else ""
    return f"{ships}train one (make demo) or convert one (codec convert)"


def add_to_index(model: BundledModel) -> None:
    """Write a model into the index, in the place of one of this name.

    Raises:
        CodecError: it cannot be read or written.
    """
    entries: dict[str, Any] = {
        known.name: {
            "folder": known.folder.name,
            "fingerprint": known.fingerprint,
            "token_fingerprint": known.token_fingerprint,
            "sha256": known.sha256,
            "description": known.description,
        }
        for known in sorted({**bundled_models(), model.name: model}.values())
    }
    write_text(FOLDER / INDEX_FILE, json.dumps({"models": entries}, indent=2) + "\n")
