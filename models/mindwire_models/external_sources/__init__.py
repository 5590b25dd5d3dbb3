"""Decoders of other packages, as graphs: networks of braindecode, exported programs of PyTorch."""
