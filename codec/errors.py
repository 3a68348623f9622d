"""The one exception for a user's mistake."""

from __future__ import annotations


class CodecError(ValueError):
    """A mistake of the caller: a missing file, a wrong setting, a damaged input.

    The message is one line: what was wrong, what was expected, what to do. The command line prints it without a
    traceback and exits with code 2 (:mod:`codec.cli`).
    """


def how_to_install(package: str, extra: str) -> str:
    """How to get a package that is asked for only where it is used; this package itself is on no index.

    Args:
        package: as pip calls it.
        extra: of this package's, that brings it and what goes with it.
    """
    return f"pip install -e '.[{extra}]' in the checkout, or pip install {package}"
