"""Benchmarks: compiled training steps against PyTorch's, and the command line's start. `python -m bench` runs them all."""
