"""The models, one file each, and the table that names them.

To add a model: write `samsjax/models/my_model.py` with a docstring (the generative story, the guide, the source and
what differs from it), a frozen config dataclass that extends `base.ModelConfig` and validates itself in
`__post_init__`, and a `build(config, statistics)` that returns `ModelGuide(model, guide, *statistics.sizes)`: two
NumPyro programs over a `Batch`, and the sizes to run them without data. Put local sites in `effects.cells`, shared ones
in `effects.perturbations`, observe the genes at site "x" and record the decoder's input at site "z" (`parts` has pieces
for all of it; its networks see the covariates). If latent space can be rotated without changing the model, a
`latent_axes(config)` says which parameters turn with it. Effects on latents are read from the shared sites "mask" and
"E". A model that knows the quality of cells says in `quality_indicators` which labels it wants in `Batch.artifacts`,
has what artefacts do in `effects.artifacts`, and asks for reference cells by `ModelGuide.quality_training`. Write for
one particle. Then add one line to `MODELS`, one to `VARIANTS` of the contract test and one to the list of independent
models in `pyproject.toml`: fitting, bounds, treatment effects, saving and the command line pick the model up from
there.
"""

from functools import lru_cache, partial

from samsjax.errors import check_choice
from samsjax.models import conditional_vae, cpa_vae, cradle_vae, gim, sams_vae, sams_vae_beta_bernoulli, svae_plus
from samsjax.models.base import Build, DataStatistics, ModelConfig, ModelEntry
from samsjax.models.conditional_vae import ConditionalVAEConfig
from samsjax.models.cpa_vae import CPAVAEConfig
from samsjax.models.cradle_vae import CRADLEVAEConfig
from samsjax.models.gim_config import GIMConfig
from samsjax.models.sams_vae import SAMSVAEConfig
from samsjax.models.sams_vae_beta_bernoulli import SAMSVAEBetaBernoulliConfig
from samsjax.models.svae_plus import SVAEPlusConfig
from samsjax.rotation.axes import LatentAxes
from samsjax.types import ModelGuide

MODELS: dict[str, ModelEntry] = {
    "sams_vae": ModelEntry(SAMSVAEConfig, sams_vae.build, sams_vae.latent_axes),
    "sams_vae_beta_bernoulli": ModelEntry(
        SAMSVAEBetaBernoulliConfig, sams_vae_beta_bernoulli.build, sams_vae_beta_bernoulli.latent_axes
    ),
    "cpa_vae": ModelEntry(CPAVAEConfig, cpa_vae.build, cpa_vae.latent_axes),
    "svae_plus": ModelEntry(SVAEPlusConfig, svae_plus.build, svae_plus.latent_axes),
    "conditional_vae": ModelEntry(ConditionalVAEConfig, conditional_vae.build),
    "cradle_vae": ModelEntry(CRADLEVAEConfig, cradle_vae.build, cradle_vae.latent_axes),
    "gim": ModelEntry(GIMConfig, gim.build),
}


def model_name(config: ModelConfig) -> str:
    """The name under which a configuration's model stands in `MODELS`."""
    return next(name for name, entry in MODELS.items() if type(config) is entry.config)


def build_model(config: ModelConfig, statistics: DataStatistics) -> ModelGuide:
    """The programs of the model `config` belongs to, for data of these sizes."""
    return MODELS[model_name(config)].build(config, statistics)


def latent_axes(config: ModelConfig) -> LatentAxes | None:
    """How the model's latent space can be rotated; None where it cannot."""
    return MODELS[model_name(config)].latent_axes(config)


def described(config: ModelConfig) -> str:
    """The configuration's class and, if it has a choice of them, its guide: for messages."""
    guide = getattr(config, "guide", None)
    return type(config).__name__ + (f" with guide {guide!r}" if guide is not None else "")


@lru_cache
def builder(config: ModelConfig) -> Build:
    """`build_model` of this configuration; the same function for equal configurations."""
    return partial(build_model, config)


def config_class(name: str) -> type:
    """The configuration class of a model.

    Raises:
        InputError: for a name outside `MODELS`.
    """
    check_choice("model", name, list(MODELS))
    return MODELS[name].config


__all__ = [
    "MODELS",
    "CPAVAEConfig",
    "CRADLEVAEConfig",
    "ConditionalVAEConfig",
    "DataStatistics",
    "GIMConfig",
    "ModelConfig",
    "SAMSVAEBetaBernoulliConfig",
    "SAMSVAEConfig",
    "SVAEPlusConfig",
    "build_model",
    "builder",
    "config_class",
    "described",
    "latent_axes",
    "model_name",
]
