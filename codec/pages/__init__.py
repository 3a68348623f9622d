"""HTML pages that are one file: style, pictures and sounds within, nothing from any network."""

from __future__ import annotations

from codec.pages.boxes import Group, box_chart
from codec.pages.document import data_uri, document, duration, flac, json_script

__all__ = ["Group", "box_chart", "data_uri", "document", "duration", "flac", "json_script"]
