"""The evaluation protocol of Wimpff et al. 2024, for comparison with their tables; nothing here runs live."""
