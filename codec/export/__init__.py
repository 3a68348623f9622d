"""A codec as ONNX graphs, which need neither PyTorch nor this package (docs/export.md)."""

from __future__ import annotations

from codec.export.onnx import DECODER_FILE, ENCODER_FILE, OPSET, export_onnx

__all__ = ["DECODER_FILE", "ENCODER_FILE", "OPSET", "export_onnx"]
