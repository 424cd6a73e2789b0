"""Likelihood heads against the reference, with gradients; networks against their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from samsjax.errors import InputError
from samsjax.likelihoods import LIKELIHOODS, Decoder, models_counts
from samsjax.networks import GaussianNetwork, SplitAffine
from tests import reference_numbers as reference


@pytest.mark.parametrize("n_layers", [1, 2, 4])
@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_log_probability_and_gradients_match_reference(parity, likelihood, n_layers):
    prefix = f"layers{n_layers}."
    numbers = {k.removeprefix(prefix): v for k, v in parity(f"likelihood_{likelihood}").items() if k.startswith(prefix)}
    x, z = jnp.asarray(numbers["X"]), jnp.asarray(numbers["z"])
    library_size = jnp.asarray(numbers["library_size"]) if "library_size" in numbers else jnp.ones(len(x))
    parameters = reference.decoder(numbers, "net", likelihood)
    module = Decoder(likelihood, x.shape[1], n_layers, parameters["trunk"]["layer_0"]["bias"].shape[0])

    def log_prob(parameters, z):
        def of_particle(z):
            return module.apply({"params": parameters}, z, library_size).base_dist.log_prob(x)

        return jax.vmap(of_particle)(z)

    assert_allclose(log_prob(parameters, z), numbers["log_prob"], rtol=1e-5, atol=2e-6)
    by_parameter, by_state = jax.grad(lambda p, z: log_prob(p, z).sum(), argnums=(0, 1))(parameters, z)
    gradients = {k.removeprefix("grad."): v for k, v in numbers.items() if k.startswith("grad.")}
    expected = reference.decoder(gradients, "net", likelihood)
    assert jax.tree.structure(expected) == jax.tree.structure(by_parameter)
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    for ours, theirs in zip(jax.tree.leaves(by_parameter), jax.tree.leaves(expected), strict=True):
        assert_allclose(ours, theirs, rtol=1e-5, atol=3e-6 * scale)
    assert_allclose(by_state, numbers["grad.z"], rtol=1e-5, atol=3e-6 * np.abs(numbers["grad.z"]).max())


def test_unknown_likelihood_names_the_nearest():
    with pytest.raises(InputError, match=r"'libary_nb'.*Did you mean 'library_nb'"):
        models_counts("libary_nb")


def test_split_input_equals_concatenated_input():
    a, b = jax.random.normal(jax.random.key(0), (4, 3)), jax.random.normal(jax.random.key(1), (4, 2))
    module = SplitAffine(5)
    parameters = module.init(jax.random.key(2), a, b)["params"]
    joined = {"bias": parameters["bias"], "kernel_0": jnp.concatenate([parameters["kernel_0"], parameters["kernel_1"]])}
    together = module.apply({"params": joined}, jnp.concatenate([a, b], axis=1))
    assert_allclose(module.apply({"params": parameters}, a, b), together, rtol=1e-6)


def test_initial_weights_are_uniform_within_fan_in_of_the_whole_input():
    x, offset = jnp.zeros((1, 300)), jnp.zeros((1, 100))
    parameters = GaussianNetwork(7, 1, 200).init(jax.random.key(0), x, offset)["params"]["trunk"]["layer_0"]
    for value in jax.tree.leaves(parameters):
        assert np.abs(value).max() <= 400**-0.5
        assert_allclose(np.asarray(value).std(), 400**-0.5 / np.sqrt(3), rtol=0.12)
