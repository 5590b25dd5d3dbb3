"""ONNX graphs: folding, streaming, building and checking."""
