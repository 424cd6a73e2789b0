"""The doors, each with `--help`, and the experiments of the papers.

- `python -m experiments.fit`, `experiments.evaluate`, `experiments.predict`, `experiments.pathways`: one run.
- `experiments.stability`: several fits of one screen, and how well their masks agree.
- `experiments.sweep`, `experiments.summarize`: many runs, and one table of them.
- `experiments.counterfactual`: cells of a stored model's screen without their artefacts.
- `experiments.norman_ood`, `norman_data_efficiency`, `replogle`, `simulation`, `cradle_norman`, `cradle_dixit`,
  `cradle_replogle`, `cradle_adamson`: presets, the sweeps of the papers.
- `experiments.unseen`, `experiments.gim_synthetic`, `experiments.sciplex`: presets of ours, for perturbations without
  cells, on the simulation from a causal model, and for held-out doses, drugs and pathways of sci-Plex 3.
- `experiments.sachs`: a causal model of the Sachs study against its known graph and targets.
"""
