"""AttentionBaseNet and the other decoders, and their weights."""
