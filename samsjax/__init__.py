"""samsjax: sparse, uncertain, composable perturbation effects from single-cell screens, in JAX and NumPyro.

    import samsjax

    data = samsjax.from_anndata(adata, perturbation_key="perturbation", control="control")
    fitted = samsjax.fit(data, samsjax.SAMSVAEConfig(n_latent=20), seed=0)
    scores = samsjax.evaluate(fitted, data)
    samsjax.save(fitted, "model/")

Layers, each importing only those before it: `types`, `data`, `distributions`; `networks`, `normalization`, `effects`,
`rotation`; `likelihoods`; `models`; `inference`; `evaluation`; `reporting`. AnnData appears in `data.anndata` and
`reporting` only.
"""

from samsjax.data import (
    DataConfig,
    FeaturesConfig,
    PerturbationData,
    PerturbationFeatures,
    SimulationConfig,
    from_anndata,
    parse_treatment,
    read_h5ad,
    simulate,
    treatments,
    with_features,
)
from samsjax.errors import InputError
from samsjax.evaluation import (
    EffectsConfig,
    EvaluationConfig,
    counterfactual,
    data_effects,
    effect_scores,
    evaluate,
    gene_responses,
    mask_agreement,
    model_effects,
    posterior_effects,
    posterior_latents,
    predictive_iwelbo,
)
from samsjax.inference import (
    DivergenceError,
    Fitted,
    TrainConfig,
    fit,
    fit_many,
    load,
    log_weights,
    rotate,
    save,
    with_unseen,
)
from samsjax.models import (
    MODELS,
    ConditionalVAEConfig,
    CPAVAEConfig,
    CRADLEVAEConfig,
    GIMConfig,
    SAMSVAEBetaBernoulliConfig,
    SAMSVAEConfig,
    SVAEPlusConfig,
    build_model,
)

__version__ = "0.1.0"

__all__ = [
    "MODELS",
    "CPAVAEConfig",
    "CRADLEVAEConfig",
    "ConditionalVAEConfig",
    "DataConfig",
    "DivergenceError",
    "EffectsConfig",
    "EvaluationConfig",
    "FeaturesConfig",
    "Fitted",
    "GIMConfig",
    "InputError",
    "PerturbationData",
    "PerturbationFeatures",
    "SAMSVAEBetaBernoulliConfig",
    "SAMSVAEConfig",
    "SVAEPlusConfig",
    "SimulationConfig",
    "TrainConfig",
    "build_model",
    "counterfactual",
    "data_effects",
    "effect_scores",
    "evaluate",
    "fit",
    "fit_many",
    "from_anndata",
    "gene_responses",
    "load",
    "log_weights",
    "mask_agreement",
    "model_effects",
    "parse_treatment",
    "posterior_effects",
    "posterior_latents",
    "predictive_iwelbo",
    "read_h5ad",
    "rotate",
    "save",
    "simulate",
    "treatments",
    "with_features",
    "with_unseen",
]
