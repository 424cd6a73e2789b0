"""What files of results share: how they are made, the quality of cells in words, and names of latent dimensions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import anndata


def make_anndata(x: Any, rows: np.ndarray, columns: Any, layers: dict[str, np.ndarray]) -> "anndata.AnnData":
    """An AnnData of these rows (obs), columns (var) and layers."""
    import anndata
    import pandas as pd

    obs = pd.DataFrame(index=pd.Index(np.asarray(rows, dtype=object)))
    return anndata.AnnData(x, obs, pd.DataFrame(index=pd.Index(np.asarray(columns, dtype=object))), layers=layers)


def given(**values: np.ndarray | None) -> dict[str, np.ndarray]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def quality_in_words(fails: Sequence[str]) -> str:
    """Quality of predicted cells in words."""
    return f"fails {', '.join(fails)}" if fails else "good"


def latent_columns(latents: np.ndarray) -> list[str]:
    """Names of the columns of latents."""
    return [f"latent{k}" for k in range(latents.shape[1])]
