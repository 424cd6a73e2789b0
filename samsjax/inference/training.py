"""Fitting: epochs of compiled steps with validation, early stopping and a guard against divergence between them."""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError
from samsjax.inference.batching import to_device
from samsjax.inference.config import TrainConfig
from samsjax.inference.epochs import Epochs, make_epochs
from samsjax.inference.optimizer import learning_rate
from samsjax.types import ModelGuide, Params

DIVERGENCE_ADVICE = (
    "try a lower learning rate (halve --train.learning-rate), a smaller --train.clip-norm or a longer "
    "--train.warmup-fraction, and check the data for cells or genes with extreme counts"
)


class DivergenceError(RuntimeError):
    """Training produced NaN or infinity before any usable parameters existed."""


class DivergenceWarning(UserWarning):
    """Training produced NaN or infinity; the last good parameters were kept."""


@dataclass(frozen=True)
class FitResult:
    """Parameters and how they were found."""

    params: Params
    """Those with the best validation bound (the last ones when there are no validation cells)."""
    history: tuple[dict[str, float], ...]
    """One row per epoch: epoch, step, train_objective, val_elbo (nats per cell), learning_rate, seconds."""
    best_epoch: int
    stopped: str
    """"budget", "early" (no better validation bound for `patience` epochs) or "diverged"."""
    compile_seconds: float
    train_seconds: float

    @property
    def n_steps(self) -> int:
        """Optimiser steps taken."""
        return int(self.history[-1]["step"]) if self.history else 0


def fit_model(
    key: jax.Array, model_guide: ModelGuide, data: PerturbationData, config: TrainConfig, *, progress: bool = True
) -> FitResult:
    """Climb the evidence lower bound on the training cells and keep the parameters best on the validation cells.

    A pure function of its arguments: the same key gives the same bits on the same machine.

    Raises:
        InputError: no training cells, or training cells without any perturbation.
        DivergenceError: NaN or infinity in the first epoch.
    """
    check_trainable(data)
    init_key, order_key, val_key = jax.random.split(key, 3)
    epochs = make_epochs(model_guide, data, config)
    device_data = to_device(data)
    start = time.perf_counter()
    state = jax.jit(epochs.init)(init_key)
    train = jax.jit(epochs.train).lower(order_key, state, device_data).compile()
    validate = jax.jit(epochs.validate).lower(val_key, epochs.params(state), device_data).compile()
    compile_seconds = time.perf_counter() - start

    def run_epoch(epoch: int, state: Any) -> tuple[Any, float, float]:
        state, losses = train(jax.random.fold_in(order_key, epoch), state, device_data)
        # One validation key for all epochs: differences between epochs are not sampling noise.
        val_elbo = validate(val_key, epochs.params(state), device_data)
        return state, -float(losses.mean()), float(val_elbo)

    start = time.perf_counter()
    params, history, best_epoch, stopped = _climb(run_epoch, epochs, state, data, config, progress=progress)
    return FitResult(params, history, best_epoch, stopped, compile_seconds, time.perf_counter() - start)


def _climb(
    run_epoch: Callable[[int, Any], tuple[Any, float, float]],
    epochs: Epochs,
    state: Any,
    data: PerturbationData,
    config: TrainConfig,
    *,
    progress: bool,
) -> tuple[Params, tuple[dict[str, float], ...], int, str]:
    """The loop over epochs on the host. Returns (best params, history, best epoch, why it stopped)."""
    n_epochs = math.ceil(config.n_steps / epochs.plan.n_batches)
    has_validation = len(data.cells("val")) > 0
    schedule = learning_rate(config)
    best_params, best_bound, best_epoch, stopped = epochs.params(state), -np.inf, 0, "budget"
    history: list[dict[str, float]] = []
    start = time.perf_counter()
    bar = tqdm(range(1, n_epochs + 1), desc="fit", unit="epoch", disable=None if progress else True)
    for epoch in bar:
        state, train_objective, val_elbo = run_epoch(epoch, state)
        params = epochs.params(state)
        if not _usable(train_objective, val_elbo, params, has_validation=has_validation):
            _report_divergence(epoch, best_epoch)
            stopped = "diverged"
            break
        step = epoch * epochs.plan.n_batches
        history.append(
            {
                "epoch": epoch,
                "step": step,
                "train_objective": train_objective,
                "val_elbo": val_elbo,
                "learning_rate": float(schedule(step - 1)),
                "seconds": time.perf_counter() - start,
            }
        )
        bar.set_postfix(train=f"{train_objective:.2f}", val=f"{val_elbo:.2f}", refresh=False)
        if not has_validation or val_elbo > best_bound:
            best_params, best_bound, best_epoch = params, val_elbo, epoch
        if has_validation and config.patience is not None and epoch - best_epoch >= config.patience:
            stopped = "early"
            break
    return best_params, tuple(history), best_epoch, stopped


def _usable(train_objective: float, val_elbo: float, params: Params, *, has_validation: bool) -> bool:
    finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))
    return finite and math.isfinite(train_objective) and (math.isfinite(val_elbo) or not has_validation)


def _report_divergence(epoch: int, best_epoch: int) -> None:
    if best_epoch == 0:
        raise DivergenceError(f"training diverged in epoch {epoch}, before any usable parameters: {DIVERGENCE_ADVICE}")
    warnings.warn(
        f"training diverged in epoch {epoch}; parameters of epoch {best_epoch} were kept. To go further, "
        f"{DIVERGENCE_ADVICE}.",
        DivergenceWarning,
        stacklevel=4,
    )


def check_trainable(data: PerturbationData) -> None:
    """Raises: InputError without training cells, or if none of them carries a perturbation."""
    cells = data.cells("train")
    if len(cells) == 0:
        raise InputError("no training cells: the split marks none as 'train'")
    if data.is_control[cells].all():
        raise InputError(f"none of the {len(cells)} training cells carries a perturbation")
