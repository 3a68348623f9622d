"""``report.html``: several systems in one file, to be read, compared and heard without any network."""

from __future__ import annotations

from codec.evaluation.page.document import write_page

__all__ = ["write_page"]
