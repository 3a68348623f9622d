"""Modules of a user's own that register bottlenecks (:func:`codec.quantizers.register`), named in the environment."""

from __future__ import annotations

import importlib
import os

from codec.errors import CodecError

VARIABLE = "CODEC_PLUGINS"  # modules, commas between them
_loaded: set[str] = set()


def load_plugins() -> None:
    """Import the modules that ``CODEC_PLUGINS`` names, each once.

    From the environment, so that every command and process of a run knows them, and from nowhere else: settings and
    models come from strangers too, and must not say what is imported.

    Raises:
        CodecError: there is no such module.
    """
    for name in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        if name in _loaded:
            continue
        _loaded.add(name)  # before: the module may build settings itself
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            _loaded.remove(name)
            raise CodecError(
                f"{VARIABLE}={os.environ[VARIABLE]}: cannot import {name} ({error}); give names of modules, with "
                "their folder in PYTHONPATH"
            ) from None
