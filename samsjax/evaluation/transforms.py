"""Scales in which expression and treatment effects are stated: a table of named transforms of (x, total).

`total` is the same kind of exposure for data and model: a cell's row sum against a draw's row sum, or, where totals
were given by key, the scaled total against the exposure the draw was made with. Mixing the two kinds shifts every
effect by the share of the transcriptome that is off the panel.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samsjax.errors import check_choice

Values = Array | np.ndarray


class Transform(NamedTuple):
    """A named scale. `of(x, total)` maps values (..., gene) with totals (...) elementwise; zero stays zero."""

    of: Callable[[Values, Values], Values]
    unit: str


def _counts(x: Float[Values, "... gene"], total: Float[Values, "..."]) -> Float[Values, "... gene"]:
    del total
    return x


def _cp10k(x: Float[Values, "... gene"], total: Float[Values, "..."]) -> Float[Values, "... gene"]:
    # A draw without any count has no profile; it counts as zero everywhere.
    return 1e4 * x / jnp.where(total > 0, total, 1.0)[..., None]


def _log2_cp10k(x: Float[Values, "... gene"], total: Float[Values, "..."]) -> Float[Values, "... gene"]:
    return jnp.log1p(_cp10k(x, total)) / jnp.log(2.0)


TRANSFORMS: dict[str, Transform] = {
    "counts": Transform(_counts, "the data's own values"),
    "cp10k": Transform(_cp10k, "counts per 10,000"),
    "log2_cp10k": Transform(_log2_cp10k, "log2(1 + counts per 10,000)"),
}


def transform_named(name: str) -> Transform:
    """Raises: InputError for a name outside `TRANSFORMS`."""
    check_choice("transform", name, list(TRANSFORMS))
    return TRANSFORMS[name]
