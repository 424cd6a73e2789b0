"""The doors: `python -m experiments.fit`, `experiments.evaluate` and `experiments.predict`. Each has `--help`."""
