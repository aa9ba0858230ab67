"""Claims of the papers as experiments that can fail: ``python -m benchmarks.theory``."""
