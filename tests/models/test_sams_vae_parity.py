"""SAMS-VAE against the reference on given noise: every site, the loss, its gradients, the bound, the effects."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpyro import handlers

from samsjax.evaluation.transforms import TRANSFORMS
from samsjax.inference.log_weights import iwelbo, local_log_weight, log_weights, traces
from samsjax.models import SAMSVAEConfig, build_model
from tests import reference_numbers as reference

CONFIGS = {
    "sams_mean_field": {"mask_prior_prob": 0.1, "embedding_prior_scale": 1.5, "normalization": "log_standardize"},
    "sams_mean_field_mfe": {
        "mask_prior_prob": 0.1,
        "embedding_prior_scale": 1.5,
        "normalization": "standardize",
        "mean_field_encoder": True,
    },
    "sams_correlated": {
        "mask_prior_prob": 0.01,
        "embedding_prior_scale": 1.0,
        "normalization": "log_standardize",
        "guide": "correlated",
        "embedding_n_layers": 2,
        "embedding_n_hidden": 5,
    },
}


def model_of(name, numbers, n_genes, n_perturbations):
    options = CONFIGS[name]
    config = SAMSVAEConfig(n_latent=3, n_hidden=7, n_layers=2, **options)
    statistics = reference.statistics(numbers, config.normalization, n_genes, n_perturbations)
    mean_field_encoder = options.get("mean_field_encoder", False)
    return build_model(config, statistics), partial(
        reference.sams_vae_parameters, mean_field_encoder=mean_field_encoder
    )


def with_noise(model_guide, noise):
    """The same model with a guide whose draws come from the given noise of one particle."""
    return model_guide._replace(guide=reference.given_noise(model_guide.guide, noise))


@pytest.fixture(params=sorted(CONFIGS))
def case(request, parity):
    numbers = parity(f"loss_{request.param}")
    n_genes, n_perturbations = numbers["X"].shape[1], numbers["D"].shape[1]
    model_guide, parameters_of = model_of(request.param, numbers, n_genes, n_perturbations)
    batch = reference.batch(numbers["X"], numbers["D"], numbers["library_size"])
    return model_guide, parameters_of, batch, numbers


def test_every_site_matches(case):
    model_guide, parameters_of, batch, numbers = case
    for particle, noise in enumerate(zip(*reference.noise(numbers), strict=True)):
        particle_model = with_noise(model_guide, noise)
        model_trace, guide_trace = traces(jax.random.key(0), particle_model, parameters_of(numbers), batch)
        for site in ("mask", "E", "z_basal"):
            assert_allclose(guide_trace[site]["value"], numbers[f"sample.{site}"][particle], rtol=1e-5, atol=1e-6)
            value = model_trace[site]["value"]
            log_p = model_trace[site]["fn"].base_dist.log_prob(value)
            log_q = guide_trace[site]["fn"].base_dist.log_prob(value)
            assert_allclose(log_p, numbers[f"log_p.{site}"][particle], rtol=1e-5, atol=2e-6)
            assert_allclose(log_q, numbers[f"log_q.{site}"][particle], rtol=1e-5, atol=2e-6)
        log_x = model_trace["x"]["fn"].log_prob(batch.x)
        assert_allclose(log_x, numbers["reconstruction_log_prob_sum"][particle], rtol=1e-5)


def reference_terms(parameters, model_guide, batch, numbers):
    """Log weights (particle, cell) by site as the reference spreads them: shared terms over cells by 1 / N_t."""
    carried = (np.asarray(numbers["D"]) != 0) / np.maximum(numbers["D_obs_counts"], 1)
    terms = []
    for noise in zip(*reference.noise(numbers), strict=True):
        weights = log_weights(jax.random.key(0), with_noise(model_guide, noise), parameters, batch)
        spread = {name: jnp.asarray(carried) @ value for name, value in weights.shared.items()}
        terms.append({"reconstruction": weights.reconstruction, **weights.local, **spread})
    return {name: jnp.stack([particle[name] for particle in terms]) for name in terms[0]}


def test_elbo_terms_loss_and_gradients_match(case):
    model_guide, parameters_of, batch, numbers = case
    terms = reference_terms(parameters_of(numbers), model_guide, batch, numbers)
    for name, value in terms.items():
        assert_allclose(-value.mean(), numbers[f"elbo.loss_term_{name}"], rtol=1e-5, atol=1e-6)

    def losses(parameters):
        total = sum(reference_terms(parameters, model_guide, batch, numbers).values())
        return {"elbo": -total.mean(), "iwelbo": -iwelbo(total).mean()}

    for name, loss in losses(parameters_of(numbers)).items():
        assert_allclose(loss, numbers[f"{name}.loss"], rtol=1e-5)
        gradient = jax.grad(lambda p, name=name: losses(p)[name])(parameters_of(numbers))
        prefix = f"{name}.grad."
        shapes = {k: v for k, v in numbers.items() if k.startswith("stat.")}
        expected = parameters_of(
            shapes | {k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix)}
        )
        assert jax.tree.structure(gradient) == jax.tree.structure(expected)
        for (path, ours), theirs in zip(
            jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(expected), strict=True
        ):
            scale = np.abs(theirs).max()
            assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * scale + 1e-7, err_msg=f"{name} {path}")


@pytest.mark.parametrize("name", ["sams_mean_field", "sams_correlated"])
def test_predictive_iwelbo_matches(parity, name):
    """Shared draws made once, reused over two batches, not scored against their priors."""
    numbers = parity(f"eval_iwelbo_{name}")
    x, dosage, library_size = numbers["X"], numbers["D"], numbers["library_size"]
    model_guide, parameters_of = model_of(name, numbers, x.shape[1], dosage.shape[1])
    parameters = parameters_of(numbers)
    mask_noise, embedding_noise, *cell_noise = reference.noise(numbers)
    bounds = []
    for start, z_noise in zip(range(0, len(x), int(numbers["batch_size"])), cell_noise, strict=True):
        rows = slice(start, start + len(z_noise[0]))
        batch = reference.batch(x[rows], dosage[rows], library_size[rows])
        weights = [
            local_log_weight(log_weights(jax.random.key(0), with_noise(model_guide, noise), parameters, batch))
            for noise in zip(mask_noise, embedding_noise, z_noise, strict=True)
        ]
        bounds.append(iwelbo(jnp.stack(weights)))
    assert_allclose(np.concatenate(bounds), numbers["iwelbo"], rtol=1e-5)


def test_model_effects_match(parity):
    """Effects of noise-free draws: chunks of particles, control and each intervention with basal draws of its own."""
    numbers = parity("ate_model_sams_mean_field")
    interventions, control = numbers["dosages_alt"], numbers["dosages_control"]
    statistics = numbers | {"stat.log_x_mean": np.zeros(8), "stat.log_x_std": np.ones(8), "X": np.zeros((1, 8))}
    model_guide, parameters_of = model_of("sams_mean_field", statistics, 8, interventions.shape[1])
    parameters = parameters_of(statistics)
    guide_noise, z_noise = reference.noise(numbers), reference.noise(numbers, "znoise")
    arms = np.concatenate([control, interventions])
    n_particles, chunk = int(numbers["n_particles"]), int(numbers["batch_size"])
    n_chunks = -(-n_particles // chunk)
    z_noise = z_noise[len(z_noise) - len(arms) * n_chunks :]  # the first draws were thrown away
    total = np.zeros((len(arms), 8))
    for c in range(n_chunks):
        for arm, dosage in enumerate(arms):
            batch = reference.batch(np.zeros((1, 8)), dosage[None], np.array([float(numbers["library_size"])]))
            shared = zip(guide_noise[2 * c], guide_noise[2 * c + 1], z_noise[len(arms) * c + arm], strict=True)
            for mask_noise, embedding_noise, z in shared:
                guide = reference.given_noise(model_guide.guide, (mask_noise, embedding_noise, np.zeros((1, 3))))
                drawn = handlers.trace(handlers.substitute(guide, data=parameters)).get_trace(batch)
                given = {name: drawn[name]["value"] for name in ("mask", "E")} | {"z_basal": z}
                model = handlers.substitute(handlers.seed(model_guide.model, 0), data={**parameters, **given})
                x = handlers.trace(model).get_trace(batch)["x"]["fn"].mean
                total[arm] += np.asarray(TRANSFORMS["log2_cp10k"].of(x, x.sum(axis=-1)))[0]
    mean = total / n_particles
    assert_allclose(mean[1:] - mean[0], numbers["ate"], rtol=1e-5, atol=2e-6)
