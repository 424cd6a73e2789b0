"""Measurements: `python -m benchmarks step`, `python -m benchmarks recovery` and `python -m benchmarks together`.

Each case times compiled calls after a warm-up, waits for their results, reports compile time apart from steady state
and quality beside speed, and compares within one run, because machines are noisy. The first line says which machine.
"""
