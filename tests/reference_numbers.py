"""Bridges to the reference numbers: their weights as our parameters, their noise as our draws.

The fixtures store torch weights (out, in) under torch names, and the uniform and normal noise in the order it was
consumed: mask, then E, then z.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.primitives import Messenger

from samsjax.distributions import StraightThroughBernoulli
from samsjax.models import DataStatistics, ModelConfig
from samsjax.normalization import GeneStatistics
from samsjax.types import Batch

Numbers = dict[str, np.ndarray]


def affine(numbers: Numbers, name: str, *widths: int) -> dict[str, Any]:
    """A torch linear layer as `SplitAffine` parameters, its input cut into parts of these widths."""
    kernel = jnp.asarray(numbers[f"{name}.weight"]).T
    edges = np.cumsum([0, *(widths or (kernel.shape[0],))])
    parts = {f"kernel_{k}": kernel[edges[k] : edges[k + 1]] for k in range(len(edges) - 1)}
    return {"bias": jnp.asarray(numbers[f"{name}.bias"]), **parts}


def trunk(numbers: Numbers, name: str, *widths: int) -> dict[str, Any]:
    """A residual trunk, the first layer's input cut into parts."""
    layers, k = {}, 0
    while f"{name}.mlp.layers.{k}.0.weight" in numbers:
        layers[f"layer_{k}"] = affine(numbers, f"{name}.mlp.layers.{k}.0", *(widths if k == 0 else ()))
        k += 1
    return layers


def gaussian_network(numbers: Numbers, name: str, *widths: int) -> dict[str, Any]:
    return {
        "trunk": trunk(numbers, name, *widths),
        "loc": affine(numbers, f"{name}.mean_encoder"),
        "log_variance": affine(numbers, f"{name}.log_var_encoder"),
    }


def embedding_network(numbers: Numbers, name: str, n_latent: int) -> tuple[dict[str, Any], Any]:
    """(network parameters, identity table): the first layer's input is cut into mask and one-hot."""
    first = affine(numbers, f"{name}.mlp.layers.0.0")
    layers = trunk(numbers, name)
    del layers["layer_0"]
    network = {
        "kernel": first["kernel_0"][:n_latent],
        "bias": first["bias"],
        **layers,
        "loc": affine(numbers, f"{name}.mean_encoder"),
        "log_variance": affine(numbers, f"{name}.log_var_encoder"),
    }
    return network, first["kernel_0"][n_latent:]


def decoder(numbers: Numbers, name: str, likelihood: str, *widths: int) -> dict[str, Any]:
    heads = {
        "library_nb": lambda: {
            "share": affine(numbers, f"{name}.normalized_mean_decoder.0"),
            "log_theta": jnp.asarray(numbers[f"{name}.log_concentration"]),
        },
        "poisson": lambda: {"rate": affine(numbers, f"{name}.rate_decoder.0")},
        "normal": lambda: {
            "loc": affine(numbers, f"{name}.mean_encoder"),
            "log_variance": affine(numbers, f"{name}.log_var_encoder"),
        },
        "normal_fixed_variance": lambda: {
            "loc": affine(numbers, f"{name}.mean_encoder"),
            "log_variance": jnp.asarray(numbers[f"{name}.log_var_encoder.log_var"]),
        },
    }
    return {"trunk": trunk(numbers, name, *widths), "head": heads[likelihood]()}


def additive_parameters(numbers: Numbers, config: ModelConfig, at: Numbers) -> dict[str, Any]:
    """Parameters of SAMS-VAE, its beta-Bernoulli variant and CPA-VAE; `at` gives the values where `numbers` are
    gradients (of transformed parameters)."""
    n_genes, n_latent = at["X"].shape[1], config.n_latent
    widths = (n_genes,) if getattr(config, "mean_field_encoder", False) else (n_genes, n_latent)
    parameters = {
        "encoder$params": gaussian_network(numbers, "guide.z_basal_encoder", *widths),
        "decoder$params": decoder(numbers, "model.decoder", config.likelihood),
    }
    names = {"q_mask_logits": "mask_logits", "q_E_loc": "E_loc", "q_E_log_scale": "E_log_scale"}
    for theirs, ours in names.items():
        if f"guide.param_dict.{theirs}" in numbers:
            parameters[ours] = jnp.asarray(numbers[f"guide.param_dict.{theirs}"])
    for name in ("alpha", "beta"):
        key = f"guide.param_dict.q_mask_probs_{name}"
        if key in numbers:  # ours is the logarithm: d/d log a = a d/da
            parameters[f"mask_log_{name}"] = jnp.log(at[key]) if numbers is at else numbers[key] * at[key]
    if "guide.embedding_encoder.mean_encoder.weight" in numbers:
        embedding = embedding_network(numbers, "guide.embedding_encoder", n_latent)
        parameters["embedding$params"], parameters["identity"] = embedding
    return parameters


def svae_plus_parameters(numbers: Numbers, config: ModelConfig, at: Numbers) -> dict[str, Any]:
    return {
        "encoder$params": gaussian_network(numbers, "guide.z_encoder", at["X"].shape[1]),
        "decoder$params": decoder(numbers, "model.decoder", config.likelihood),
        "mask_logits": jnp.asarray(numbers["guide.param_dict.q_mask_logits"]),
        "E_mean": jnp.asarray(numbers["model.action_prior_mean"]),
    }


def conditional_parameters(numbers: Numbers, config: ModelConfig, at: Numbers) -> dict[str, Any]:
    """The parts of the first kernels that meet the dosages stand in tables of their own."""
    n_perturbations = numbers["model.decoder.mlp.layers.0.0.weight"].shape[1] - config.n_latent
    parameters = {
        "encoder$params": gaussian_network(numbers, "guide.z_encoder", at["X"].shape[1], n_perturbations),
        "decoder$params": decoder(numbers, "model.decoder", config.likelihood, config.n_latent, n_perturbations),
    }
    for name in ("encoder", "decoder"):
        parameters[f"{name}_dosage"] = parameters[f"{name}$params"]["trunk"]["layer_0"].pop("kernel_1")
    return parameters


def statistics(numbers: Numbers, normalization: str, n_genes: int, n_perturbations: int) -> DataStatistics:
    names = {"log_standardize": ("stat.log_x_mean", "stat.log_x_std"), "standardize": ("stat.x_mean", "stat.x_std")}
    if not all(name in numbers for name in names[normalization]):  # effects need no encoder
        mean, std = jnp.zeros(n_genes), jnp.ones(n_genes)
    else:
        mean, std = (jnp.asarray(numbers[name]).reshape(-1) for name in names[normalization])
    return DataStatistics(n_genes, n_perturbations, GeneStatistics(mean, std))


def slots(dosage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A dense dosage matrix as (index, dosage) with one slot per perturbation."""
    index = np.tile(np.arange(dosage.shape[1], dtype=np.int32), (len(dosage), 1))
    return index, dosage.astype(np.float32)


def batch(x: np.ndarray, dosage: np.ndarray, library_size: np.ndarray, row_cells: Any = None) -> Batch:
    index, dose = slots(dosage)
    n_perturbations = dosage.shape[1]
    return Batch(
        x=jnp.asarray(x, jnp.float32),
        library_size=jnp.asarray(library_size, jnp.float32),
        perturbation_index=jnp.asarray(index),
        dosage=jnp.asarray(dose),
        weight=jnp.ones(len(x)),
        rows=jnp.arange(n_perturbations),
        row_weight=jnp.ones(n_perturbations),
        row_cells=jnp.zeros(n_perturbations) if row_cells is None else jnp.asarray(row_cells, jnp.float32),
        row_numbers=jnp.arange(n_perturbations),
    )


def noise(numbers: Numbers, prefix: str = "noise") -> list[Any]:
    """Noise arrays in the order they were consumed."""
    names = [name for name in numbers if name.startswith(prefix)]
    return [
        jnp.asarray(numbers[name]) for name in sorted(names, key=lambda n: int(n.removeprefix(prefix).split("_")[0]))
    ]


class given_noise(Messenger):
    """Handler: latent sample sites take the value that belongs to the given noise, in order, differentiably."""

    def __init__(self, fn: Any = None, noise: Any = ()) -> None:
        self.noise = list(noise)
        self.position = 0
        super().__init__(fn)

    def process_message(self, msg: dict[str, Any]) -> None:
        is_point = isinstance(msg.get("fn"), dist.Delta)
        if msg["type"] != "sample" or msg["is_observed"] or msg["value"] is not None or is_point:
            return
        value = self.noise[self.position]
        self.position += 1
        fn = msg["fn"]
        while isinstance(fn, dist.Independent):
            fn = fn.base_dist
        msg["value"] = _draw(fn, value)


def _draw(fn: dist.Distribution, noise: Any) -> Any:
    """The value of a distribution that belongs to its noise."""
    if isinstance(fn, StraightThroughBernoulli):
        return fn.from_uniform(noise)
    if isinstance(fn, dist.Beta):
        return noise  # the fixtures hold the value itself, without a path back to the parameters
    return fn.loc + fn.scale * noise
