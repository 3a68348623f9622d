"""Ids as names within archives and folders."""

from __future__ import annotations

from urllib.parse import quote, unquote


def member_key(id_: str) -> str:
    """An id as a name: percent-encoded, so that there is no slash, and no dot, at which webdataset would cut it."""
    return quote(id_, safe="").replace(".", "%2E")


def id_of(key: str) -> str:
    """The inverse of :func:`member_key`."""
    return unquote(key)
