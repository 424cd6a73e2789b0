"""Cells as they would have been measured in another quality: encoded as they are, decoded under other flags.

The basal state and the perturbation of a cell stay its own; only what artefacts do to it changes. So technical
artefacts are taken out of single cells, or put into them.

Source: the generation scheme of CRADLE-VAE, specification 5.1 and 16.7. Differs: the published code generates cells
from the prior, and never changes a measured one.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samsjax.data.artifacts import chosen_artifacts
from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError
from samsjax.evaluation.bounds import over_cells
from samsjax.evaluation.forward import forward_trace, has_own_totals, in_scale
from samsjax.evaluation.transforms import transform_named
from samsjax.inference.fitted import Fitted
from samsjax.inference.log_weights import traces
from samsjax.types import Batch, ModelGuide, Params

LATENT = "z_basal"


def counterfactual(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    cells: np.ndarray,
    fails: Sequence[str] | None = (),
    *,
    transform: str = "counts",
    n_particles: int = 16,
) -> Float[np.ndarray, "cell gene"]:
    """Expected expression of measured cells, had they failed the quality criteria `fails` and no others.

    Args:
        key: decides the draws of effects and basal states.
        fitted: a model that knows the quality of cells.
        data: the cells, labelled as the model's training cells were.
        cells: which of them, row numbers.
        fails: names among `fitted.vocabulary.artifacts`; () for cells of good quality, None for the quality they have.
        transform: scale of the result, a name in `TRANSFORMS`; expectations are transformed, there is no noise.
        n_particles: draws from the posterior to average over.

    Returns:
        float32 (cell, gene), at the library sizes the cells have.

    Raises:
        InputError: for a model that does not know quality, criteria it does not know, cells without quality labels,
            fewer than one particle, or an unknown transform.
    """
    names = fitted.vocabulary.artifacts
    if not names:
        raise InputError(f"the model {fitted.model_name!r} does not know the quality of cells: nothing to change")
    transform_named(transform)
    flags = None if fails is None else tuple(chosen_artifacts(fails, names).tolist())
    decode = _decoded_as(flags, transform, has_own_totals(fitted))
    return over_cells(key, fitted, data, cells, n_particles, decode)


@lru_cache  # the same function for equal settings, which compiled functions take as static
def _decoded_as(flags: tuple[float, ...] | None, transform: str, own_totals: bool) -> Callable[..., Array]:  # noqa: FBT001
    def of_batch(
        keys: jax.Array, model_guide: ModelGuide, params: Params, shared: dict[str, Array], batch: Batch
    ) -> Float[Array, "cell gene"]:
        assert batch.artifacts is not None  # the model knows quality
        wanted = batch.artifacts if flags is None else jnp.broadcast_to(jnp.asarray(flags), batch.artifacts.shape)
        changed = batch._replace(artifacts=wanted)

        def one(key: jax.Array, draws: dict[str, Array]) -> Float[Array, "cell gene"]:
            _, guide_trace = traces(key, model_guide, params, batch, draws)
            given = draws | {LATENT: guide_trace[LATENT]["value"]}
            genes = forward_trace(model_guide, key, params, given, changed)["x"]["fn"]
            return in_scale(genes.mean, batch.library_size, transform, own_totals)

        return jax.vmap(one)(keys, shared).mean(axis=0)

    return of_batch
