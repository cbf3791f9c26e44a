"""How fast and how small the product is, as ratios to floors that are timed in the same run. `python -m benchmarks`."""
