"""The sparse rotation: effects in the basis of latent space in which they can be read.

Latent space can be rotated without changing what an additive model says about cells: z_basal R, effects W R, the
decoder's first kernel R' A. Only the masks notice, and training alone cannot turn all of them together, so effects end
up smeared over an arbitrary basis. Between epochs, or after training, we turn the model to the basis in which effects
are sparsest.

- `search`: the rotation with the lowest L1 norm of the effects, and how unique it is.
- `axes`: which parameters of a model carry the latent axis, declared by the model, and how they turn.
- `activity`: which entries of rotated effects stand out.

Source: our own method; no published model of this family has it.
"""

from samsjax.rotation.activity import inclusion_log_odds
from samsjax.rotation.axes import EffectParameters, EmbeddingOfMask, EmbeddingTables, LatentAxes
from samsjax.rotation.search import Search, search, smooth_l1, smooth_l1_gradient

__all__ = [
    "EffectParameters",
    "EmbeddingOfMask",
    "EmbeddingTables",
    "LatentAxes",
    "Search",
    "inclusion_log_odds",
    "search",
    "smooth_l1",
    "smooth_l1_gradient",
]
