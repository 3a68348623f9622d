"""What a format of token shards is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from codec.errors import CodecError
from codec.tokenstore.entry import TokenEntry
from codec.tokenstore.index import Model

AGAIN = "get it again, or delete it and run recipes/tokenize.py again"  # what to do about a damaged shard


class ShardReader(ABC):
    """An open shard. Opening reads where the entries are; tokens are read when they are asked for."""

    @abstractmethod
    def ids(self) -> Sequence[str]:
        """Of all entries, in order."""

    @abstractmethod
    def read(self, row: int) -> TokenEntry:
        """The entry at ``row``, from 0 on."""


def _nothing() -> None:
    """The standard library is enough."""


@dataclass(frozen=True)
class Format:
    """How entries become a file and come back."""

    suffix: str  # of the file that the index names
    write: Callable[[Path, Sequence[TokenEntry], Model], None]  # files are whole or not there
    open: Callable[[Path], ShardReader]
    side_suffix: str | None = None  # of the file beside it; written first, so that the other one never lacks it
    check: Callable[[], None] = _nothing  # raises where a package is missing

    def files(self, path: Path) -> list[Path]:
        """A shard and what is beside it."""
        return [path, path.with_suffix(self.side_suffix)] if self.side_suffix else [path]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a shard into one line.

    Raises:
        CodecError: the file is missing, or is not what the format says.
    """
    try:
        yield
    except FileNotFoundError:
        raise CodecError(f"{path}: the shard is missing; run recipes/tokenize.py again, which makes it") from None
    except OSError as error:
        raise CodecError(f"{path}: the shard cannot be read ({error.strerror or error}); {AGAIN}") from None
    except (ValueError, KeyError, TypeError, EOFError) as error:
        if isinstance(error, CodecError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CodecError(f"{path}: the shard is damaged ({reason}); {AGAIN}") from None
