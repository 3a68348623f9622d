"""The one exception for a user's mistake."""

from __future__ import annotations


class CodecError(ValueError):
    """A mistake of the caller: a missing file, a wrong setting, a damaged input.

    The message is one line: what was wrong, what was expected, what to do. The command line prints it without a
    traceback and exits with code 2 (:mod:`codec.cli`).
    """
