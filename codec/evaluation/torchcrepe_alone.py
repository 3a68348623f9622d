"""``torchcrepe``, whichever release of torch is there.

The package imports torchaudio to read files, which is never asked of it here. torchaudio has had its last release and
loads beside one release of torch only; without this, V/UV F1 would bind everyone to that one.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from codec.errors import CodecError, how_to_install


@cache
def torchcrepe() -> Any:
    """The package, loaded on first use.

    Raises:
        CodecError: it is not installed.
    """
    if find_spec("torchcrepe") is None:
        raise CodecError(f"the package torchcrepe is not installed: {how_to_install('torchcrepe', 'eval')}")
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError):  # not there; of another torch; of another CUDA
        # An empty module in its place while torchcrepe is imported, and not a moment longer.
        sys.modules["torchaudio"] = ModuleType("torchaudio")
        try:
            return importlib.import_module("torchcrepe")
        finally:
            del sys.modules["torchaudio"]
    return importlib.import_module("torchcrepe")
