"""Quality of cells: which of them look technically failed, by which criteria, and whether that is biology after all.

Read in this order:

- `statistics`: what raw counts say of a cell: total, genes seen, shares of mitochondrial, ribosomal, haemoglobin genes.
- `rule`: thresholds learnt from these on some cells, applied to any, measured or generated; written to JSON.
- `doublets`: one criterion that compares cells with each other (extra `doublets`).
- `settings`, `labels`: what can be said of a file, and the labels of its cells.
- `confounding`: do some perturbations fail more often than others? Then a label holds biology, and says so.

A label removes no cell. Models with artefacts learn from it; `PerturbationData.of_good_quality` takes failed cells out
of all splits for models without.
"""
