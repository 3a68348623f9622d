"""The frame of a page, and what stands in it as data."""

from __future__ import annotations

import base64
import io
import json
from html import escape
from pathlib import Path
from typing import Any

import soundfile
from torch import Tensor


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """A whole HTML document, light or dark as the reader's device is.

    Args:
        title: plain text.
        body: HTML.
        style: CSS after that of all pages (``page.css``).
        script: JavaScript, run when the body is there.
    """
    shared = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{shared}{style}</style></head>"
        f"<body><main>{body}</main>{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )


def data_uri(kind: str, content: bytes) -> str:
    """Bytes of a media type as the value of ``src``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def json_script(id_: str, content: Any) -> str:
    """Data for a script of the page. No text within can end the element early: ``<`` is escaped.

    Raises:
        ValueError: NaN or an infinity, which JSON does not have.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{escape(id_)}">{text}</script>'


def flac(samples: Tensor, sample_rate: int) -> bytes:
    """(T,) or (T, channels) float as 16-bit FLAC: no second codec is heard, and every browser since 2017 plays it."""
    data = io.BytesIO()
    soundfile.write(data, samples.clamp(-1, 1).numpy(), sample_rate, format="FLAC", subtype="PCM_16")
    return data.getvalue()


def duration(seconds: float) -> str:
    """45 s, 6.2 min, 7 min, 1.4 h."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            return f"{round(seconds / unit, 1):g} {name}"
    return f"{seconds:.0f} s"
