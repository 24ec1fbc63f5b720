"""Benchmarks: each prints its figure, the baseline's and their ratio, from the same run."""
