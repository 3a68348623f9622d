"""What some of the Pythons that the package runs on cannot do."""

from __future__ import annotations

import tarfile

import pytest

needs_unpacking = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="archives are unpacked from Python 3.11.4 on"
)
