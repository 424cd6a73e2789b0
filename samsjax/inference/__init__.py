"""Fitting: from a model, data and a key to parameters.

- `config`: how to train. `objectives`, `optimizer`: NumPyro's bounds and optax's Adam by name; `published` has the
  importance-weighted and re-weighted objectives of the paper's code.
- `rows`: training only the rows of effects a batch needs, on large screens.
- `batching`: cells on the device and minibatches. `epochs`: compiled passes. `training`: the loop between them.
- `log_weights`: the one place that computes log p - log q; every bound is a reduction of it.
- `rotating`: the sparse rotation of latent space between epochs. `after_fit`: that of a fitted model.
- `constrained`: models with a graph have a training of their own: `contexts` is what it is given, `climbing` its steps.
- `fitted`: a trained model with its vocabulary. `checkpoint`: to disk and back.
- `unseen`: perturbations without cells, added to a fitted model by their features.
"""

from samsjax.inference.after_fit import rotate
from samsjax.inference.checkpoint import load, save
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import Fitted, Vocabulary, fit, fit_many
from samsjax.inference.log_weights import LogWeights, iwelbo, log_weights
from samsjax.inference.rotating import RotationReport
from samsjax.inference.training import DivergenceError, DivergenceWarning, FitResult
from samsjax.inference.unseen import with_unseen

__all__ = [
    "DivergenceError",
    "DivergenceWarning",
    "FitResult",
    "Fitted",
    "LogWeights",
    "RotationReport",
    "TrainConfig",
    "Vocabulary",
    "fit",
    "fit_many",
    "iwelbo",
    "load",
    "log_weights",
    "rotate",
    "save",
    "with_unseen",
]
