"""Decoders: from windows to logits, by ONNX Runtime or PyTorch."""
