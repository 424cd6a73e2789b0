"""Which models are held to the contract, with which guides and likelihoods, and data that each can be trained on."""

from dataclasses import replace

import numpy as np
import pytest

from samsjax.data import PerturbationData
from samsjax.data.encoding import Encoding, unique_combinations
from samsjax.likelihoods import LIKELIHOODS, models_counts
from samsjax.models import MODELS, ModelConfig
from tests import small

SIZES = {"n_latent": 4, "n_hidden": 8}
VARIANTS = {
    "sams_vae": [
        {"guide": "mean_field"},
        {"guide": "correlated", "embedding_n_hidden": 6},
        {"guide": "mean_field", "mean_field_encoder": True},
        {"feature_prior": True, "mask_prior_prob": 0.5},  # else no draw from a prior shows what it says of sizes
        {"inclusion": "per_latent"},
        {"feature_prior": True, "mask_prior_prob": 0.5, "inclusion": "global"},
    ],
    "sams_vae_beta_bernoulli": [
        {"guide": "mean_field_bernoulli"},
        {"guide": "correlated_bernoulli", "embedding_n_hidden": 6},
        {"guide": "mean_field_beta"},
    ],
    "cpa_vae": [{}, {"mean_field_encoder": True}],
    "svae_plus": [{}],
    "conditional_vae": [{}],
    "cradle_vae": [
        {},
        {"guide": "correlated", "embedding_n_hidden": 6, "composition": "concatenation"},
        {"indicators": "each", "artifact_posterior": "network", "embedding_n_hidden": 6},
        {"mean_field_encoder": True, "counterfactual_weight": 0.0},
        {"feature_prior": True, "mask_prior_prob": 0.5, "inclusion": "per_latent"},
    ],
    "gim": [],  # has no latent space and a training of its own: see test_gim
}
SLOW = (
    ("sams_vae", {"feature_prior": True, "mask_prior_prob": 0.5, "inclusion": "global"}),
    ("cradle_vae", {"feature_prior": True, "mask_prior_prob": 0.5, "inclusion": "per_latent"}),
)
"""Variants that join what others are held to one by one."""


def cases():
    """Every variant of every model with the first likelihood, and the first of each model with every other.

    Other likelihoods of other models than the first are slow: heads of decoders know nothing of the model before them.
    """
    first, *others = LIKELIHOODS
    for name in MODELS:
        variants = VARIANTS.get(name, [])
        for variant in variants:
            yield case(name, variant, first, slow=(name, variant) in SLOW)
        for likelihood in others if variants else ():
            yield case(name, variants[0], likelihood, slow=name != next(iter(MODELS)))


def trained_cases():
    """Every model and variant with the first likelihood, and the first model with the others.

    Variants but the first of each model, and likelihoods but one of each kind, are slow: the contract meets them, and
    they learn by the same code.
    """
    first, *others = LIKELIHOODS
    for name in MODELS:
        for place, variant in enumerate(VARIANTS.get(name, [])):
            yield case(name, variant, first, slow=place > 0)
    for likelihood in others:
        name = next(iter(MODELS))
        yield case(name, VARIANTS[name][0], likelihood, slow=likelihood != "normal")


def case(name, variant, likelihood, *, slow=False):
    """One configuration as a test parameter, named after its model, variant and likelihood."""
    # Continuous values may be negative, where the logarithm of the default is undefined.
    scale = {} if models_counts(likelihood) else {"normalization": "standardize"}
    config = MODELS[name].config(likelihood=likelihood, **SIZES, **variant, **scale)
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(config, id="-".join([name, *map(str, variant.values()), likelihood]), marks=marks)


def data_for(config: ModelConfig) -> PerturbationData:
    """The small screen as this model can be trained on it: continuous values, one perturbation per cell."""
    data = small.labelled(small.screen())
    if not models_counts(config.likelihood):
        data = _standardised(data)
    return small.featured(data if config.composes else _combinations_as_unique(data))


def _standardised(data: PerturbationData) -> PerturbationData:
    """log(1 + counts) of every gene with mean 0 and variance 1."""
    x = np.log1p(data.x.toarray())
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    ones = np.ones(data.n_cells, dtype=np.float32)
    return replace(data, x=x.astype(np.float32), library_size=ones, library_size_source="ones")


def _combinations_as_unique(data: PerturbationData) -> PerturbationData:
    """Every combination as a perturbation of its own, in one slot per cell."""
    encoding = unique_combinations(Encoding(data.perturbation_index, data.dosage, data.perturbation_names))
    return replace(data, **vars(encoding))
