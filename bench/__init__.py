"""Benchmarks: training steps against PyTorch's, and the start of the command line. `python -m bench` runs them all."""
