"""The models, one file each, and the table that names them.

To add a model: write `samsjax/models/my_model.py` with a docstring (the generative story, the guide, the source and
what differs from it), a frozen config dataclass with at least `n_latent`, `likelihood` and `normalization` that
validates itself in `__post_init__`, and a `build(config, statistics) -> ModelGuide` returning two NumPyro programs over
a `Batch`. Put local sites in `effects.cells`, shared ones in `effects.perturbations`, observe the genes at site "x",
and record the decoder's input as the deterministic site "z". Write for one particle. Then add one line to `MODELS`:
fitting, bounds, treatment effects, saving and the command line pick the model up from there.
"""

from samsjax.errors import check_choice
from samsjax.models import sams_vae
from samsjax.models.base import DataStatistics, ModelConfig, ModelEntry
from samsjax.models.sams_vae import SAMSVAEConfig
from samsjax.types import ModelGuide

MODELS: dict[str, ModelEntry] = {
    "sams_vae": ModelEntry(SAMSVAEConfig, sams_vae.build),
}


def model_name(config: ModelConfig) -> str:
    """The name under which a configuration's model stands in `MODELS`."""
    return next(name for name, entry in MODELS.items() if type(config) is entry.config)


def build_model(config: ModelConfig, statistics: DataStatistics) -> ModelGuide:
    """The programs of the model `config` belongs to, for data of these sizes."""
    return MODELS[model_name(config)].build(config, statistics)


def config_class(name: str) -> type:
    """The configuration class of a model.

    Raises:
        InputError: for a name outside `MODELS`.
    """
    check_choice("model", name, list(MODELS))
    return MODELS[name].config


__all__ = ["MODELS", "DataStatistics", "ModelConfig", "SAMSVAEConfig", "build_model", "config_class", "model_name"]
