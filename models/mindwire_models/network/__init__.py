"""AttentionBaseNet and the other decoders, and how weights reach them."""
