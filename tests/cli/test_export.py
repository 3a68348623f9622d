from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")


def test_export(cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path) -> None:
    command = ("export", tiny_model_dir, "-o", tmp_path / "onnx", "--speech", speech_path)
    outcome = cli(*command)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{tmp_path / 'onnx'}: onnx (opset 17); ")
    cli(*command).must_be_mistake("encoder.onnx: exists already", "--force")
