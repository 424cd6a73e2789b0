"""Every model against the reference on given noise: sites, terms, losses, gradients, bounds, effects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpyro import handlers

from samsjax.errors import InputError
from samsjax.evaluation.transforms import TRANSFORMS
from samsjax.inference.log_weights import (
    LogWeights,
    SiteLogProbs,
    in_plate,
    iwelbo,
    local_log_weight,
    log_weights,
    traces,
)
from samsjax.inference.published import Reweighting, terms_by_cell
from samsjax.models import (
    ConditionalVAEConfig,
    CPAVAEConfig,
    SAMSVAEBetaBernoulliConfig,
    SAMSVAEConfig,
    SVAEPlusConfig,
    build_model,
)
from tests import reference_numbers as reference

SIZES = {"n_latent": 3, "n_hidden": 7, "n_layers": 2}
EMBEDDING = {"embedding_n_layers": 2, "embedding_n_hidden": 5}
SAMS = {"mask_prior_prob": 0.1, "embedding_prior_scale": 1.5}
CONFIGS = {
    "sams_mean_field": SAMSVAEConfig(**SIZES, **SAMS),
    "sams_mean_field_mfe": SAMSVAEConfig(**SIZES, **SAMS, normalization="standardize", mean_field_encoder=True),
    "sams_correlated": SAMSVAEConfig(**SIZES, **EMBEDDING, mask_prior_prob=0.01, guide="correlated"),
    "cpa": CPAVAEConfig(**SIZES),
    "svae_plus": SVAEPlusConfig(**SIZES, mask_beta_2=5.0),
    "conditional_vae": ConditionalVAEConfig(**SIZES),
    "bb_mean_field_bernoulli": SAMSVAEBetaBernoulliConfig(**SIZES, guide="mean_field_bernoulli"),
    "bb_correlated_bernoulli": SAMSVAEBetaBernoulliConfig(**SIZES, **EMBEDDING, guide="correlated_bernoulli"),
    "bb_mean_field_beta": SAMSVAEBetaBernoulliConfig(**SIZES, guide="mean_field_beta"),
}
PARAMETERS = {
    SAMSVAEConfig: reference.additive_parameters,
    CPAVAEConfig: reference.additive_parameters,
    SAMSVAEBetaBernoulliConfig: reference.additive_parameters,
    SVAEPlusConfig: reference.svae_plus_parameters,
    ConditionalVAEConfig: reference.conditional_parameters,
}


class Case:
    """One fixture: programs, parameters and the batch, with the noise as draws."""

    def __init__(self, name, numbers):
        self.name, self.config, self.numbers = name, CONFIGS[name], numbers
        self.n_genes, self.n_perturbations = numbers["X"].shape[1], numbers["D"].shape[1]
        statistics = reference.statistics(numbers, self.config.normalization, self.n_genes, self.n_perturbations)
        self.model_guide = build_model(self.config, statistics)
        self.parameters = self.read(numbers)

    def read(self, numbers):
        return PARAMETERS[type(self.config)](numbers, self.config, self.numbers)

    def batch(self, rows=slice(None)):
        cells = (self.numbers[name][rows] for name in ("X", "D", "library_size"))
        return reference.batch(*cells, self.numbers.get("D_obs_counts"))

    def with_noise(self, noise):
        return self.model_guide._replace(guide=reference.given_noise(self.model_guide.guide, noise))

    def particles(self):
        """Draws per particle in the order our guides make them: probabilities (where drawn), mask, E, z."""
        noise = reference.noise(self.numbers)
        if self.name == "bb_mean_field_beta":
            noise = [jnp.asarray(self.numbers["sample.mask_probs"]), *noise]
        return list(zip(*noise, strict=True))


@pytest.fixture(params=sorted(CONFIGS))
def case(request, parity):
    return Case(request.param, parity(f"loss_{request.param}"))


def test_every_site_matches(case):
    batch, numbers = case.batch(), case.numbers
    sites = [name.removeprefix("log_q.") for name in numbers if name.startswith("log_q.")]
    assert sites
    for particle, noise in enumerate(case.particles()):
        key = jax.random.key(0)
        model_trace, guide_trace = traces(key, case.with_noise(noise), case.parameters, batch)
        for site in sites:
            value = model_trace[site]["value"]
            assert_allclose(value, numbers[f"sample.{site}"][particle], rtol=1e-5, atol=1e-6, err_msg=site)
            for trace, which in ((model_trace, "log_p"), (guide_trace, "log_q")):
                # Our sites sum over the latents, the fixtures list them.
                expected = numbers[f"{which}.{site}"][particle].sum(axis=-1)
                log_prob = trace[site]["fn"].log_prob(value)
                scale = np.abs(numbers[f"{which}.{site}"][particle]).sum(axis=-1)
                assert (np.abs(log_prob - expected) <= 1e-5 * scale + 2e-6).all(), (site, which)
        log_x = model_trace["x"]["fn"].log_prob(batch.x)
        assert_allclose(log_x, numbers["reconstruction_log_prob_sum"][particle], rtol=1e-5)


def terms_as_published(case, parameters, reweighting=None):
    """Log weights (particle, cell) by site, shared terms spread over the cells that carry them by 1 / N_t."""
    batch = case.batch()

    def of_particle(noise):
        return terms_by_cell(
            log_weights(jax.random.key(0), case.with_noise(noise), parameters, batch), batch, reweighting
        )

    particles = [of_particle(noise) for noise in case.particles()]
    return {name: jnp.stack([particle[name] for particle in particles]) for name in particles[0]}


def test_terms_losses_and_gradients_match(case):
    numbers = case.numbers

    def losses(parameters):
        terms = terms_as_published(case, parameters)
        total = sum(terms.values())
        return {"elbo": -total.mean(), "iwelbo": -iwelbo(total).mean()}, terms

    loss, terms = jax.jit(losses)(case.parameters)
    for name, value in terms.items():
        assert_allclose(-value.mean(), numbers[f"elbo.loss_term_{name}"], rtol=1e-5, atol=2e-6, err_msg=name)
    for name in ("elbo", "iwelbo"):
        assert_allclose(loss[name], numbers[f"{name}.loss"], rtol=1e-5)
        gradient = jax.jit(jax.grad(lambda p, name=name: losses(p)[0][name]))(case.parameters)
        prefix = f"{name}.grad."
        expected = case.read({k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix)})
        assert jax.tree.structure(gradient) == jax.tree.structure(expected)
        leaves = zip(jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(expected), strict=True)
        for (path, ours), theirs in leaves:
            scale = np.abs(theirs).max()
            assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * scale + 2e-7, err_msg=f"{name} {path}")


@pytest.mark.parametrize(
    ("name", "reweighting"),
    [
        ("custom_prior", Reweighting("prior", {"mask": 2.5, "z_basal": 0.5})),
        ("custom_plated_prior", Reweighting("prior_per_cell", {"mask": 0.01})),
        ("custom_term", Reweighting("term", {"E": 3.0, "z_basal": 0.25})),
        ("custom_plated_term", Reweighting("term_per_cell", {"E": 0.02, "mask": 0.01})),
    ],
)
def test_reweighted_losses_match(parity, name, reweighting):
    case = Case("sams_mean_field", parity("loss_sams_mean_field"))
    terms = terms_as_published(case, case.parameters, reweighting)
    for site, value in terms.items():
        assert_allclose(-value.mean(), case.numbers[f"{name}.loss_term_{site}"], rtol=1e-5, atol=2e-6, err_msg=site)
    assert_allclose(-sum(terms.values()).mean(), case.numbers[f"{name}.loss"], rtol=1e-5)


def test_shared_terms_are_spread_as_published(parity):
    """Indicator over count, zero where no cell was counted; doses do not matter."""
    numbers = parity("plated_weights")
    batch = reference.batch(np.zeros((6, 1)), numbers["D"], np.ones(6), numbers["D_obs_counts"])
    for term, expected in zip(numbers["term"], numbers["reweighted"], strict=True):
        for latent in range(term.shape[1]):
            site = SiteLogProbs(jnp.asarray(term[:, latent]), jnp.zeros(len(term)))
            by_cell = terms_by_cell(LogWeights(jnp.zeros(6), {}, {"site": site}, {}), batch)["site"]
            assert_allclose(by_cell, expected[:, latent], rtol=1e-5, atol=1e-6)


def test_factors_of_unknown_sites_are_refused(case):
    with pytest.raises(InputError, match="'maks'"):
        terms_as_published(case, case.parameters, Reweighting("prior", {"maks": 2.0}))


@pytest.mark.parametrize("name", ["sams_mean_field", "sams_correlated", "cpa", "conditional_vae"])
def test_predictive_iwelbo_matches(parity, name):
    """Shared draws made once, reused over two batches, not scored against their priors."""
    case = Case(name, parity(f"eval_iwelbo_{name}"))
    n_shared = {"cpa": 1, "conditional_vae": 0}.get(name, 2)
    noise = reference.noise(case.numbers)
    shared, cell_noise = noise[:n_shared], noise[n_shared:]
    bounds, start = [], 0
    for z_noise in cell_noise:
        batch = case.batch(slice(start, start + len(z_noise[0])))
        start += len(z_noise[0])
        weights = [
            local_log_weight(log_weights(jax.random.key(0), case.with_noise(draws), case.parameters, batch))
            for draws in zip(*shared, z_noise, strict=True)
        ]
        bounds.append(iwelbo(jnp.stack(weights)))
    assert start == len(case.numbers["X"])
    assert_allclose(np.concatenate(bounds), case.numbers["iwelbo"], rtol=1e-5)


@pytest.mark.parametrize("name", ["sams_mean_field", "cpa", "svae_plus", "conditional_vae"])
def test_model_effects_match(parity, name):
    """Effects of noise-free draws: chunks of particles, control and each intervention with basal draws of its own."""
    numbers = parity(f"ate_model_{name}")
    arms = np.concatenate([numbers["dosages_control"], numbers["dosages_alt"]])
    n_genes, n_latent = numbers["ate"].shape[1], 3
    case = Case(name, numbers | {"X": np.zeros((1, n_genes)), "D": arms[:1]})
    total = np.zeros((len(arms), n_genes))
    for shared_noise, arm_noise in _effect_noise(name, numbers, len(arms)):
        for arm, dosage in enumerate(arms):
            library_size = np.array([float(numbers["library_size"])])
            batch = reference.batch(np.zeros((1, n_genes)), dosage[None], library_size)
            for *shared, z in zip(*shared_noise, arm_noise[arm], strict=True):
                guide = reference.given_noise(case.model_guide.guide, (*shared, jnp.zeros((1, n_latent))))
                drawn = handlers.trace(handlers.substitute(guide, data=case.parameters)).get_trace(batch)
                given = {n: s["value"] for n, s in drawn.items() if s["type"] == "sample" and not in_plate(s, "cells")}
                model = reference.given_noise(handlers.substitute(case.model_guide.model, data=given), (z,))
                model = handlers.substitute(handlers.seed(model, 0), data=case.parameters)
                x = handlers.trace(model).get_trace(batch)["x"]["fn"].mean
                total[arm] += np.asarray(TRANSFORMS["log2_cp10k"].of(x, x.sum(axis=-1)))[0]
    mean = total / int(numbers["n_particles"])
    assert_allclose(mean[1:] - mean[0], numbers["ate"], rtol=1e-5, atol=2e-6)


def _effect_noise(name, numbers, n_arms):
    """(shared noise, basal noise per arm) of each chunk of particles; throw-away draws come first."""
    n_chunks = -(-int(numbers["n_particles"]) // int(numbers["batch_size"]))
    noise, basal = reference.noise(numbers), reference.noise(numbers, "znoise")
    if name == "svae_plus":  # mask, then one basal draw per arm, all in one series
        per_chunk = 1 + n_arms
        chunks = [noise[1 + c * per_chunk : 1 + (c + 1) * per_chunk] for c in range(n_chunks)]
        return [(chunk[:1], chunk[1:]) for chunk in chunks]
    n_shared = {"cpa": 1, "conditional_vae": 0}.get(name, 2)
    basal = basal[len(basal) - n_arms * n_chunks :]
    return [(noise[n_shared * c : n_shared * (c + 1)], basal[n_arms * c : n_arms * (c + 1)]) for c in range(n_chunks)]
