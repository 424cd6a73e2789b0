"""What a generative intervention model climbs while it trains: pure functions of parameters, contexts and a graph.

Given a graph every factor of the likelihood depends on one target of one context, so targets are summed out exactly:

    log p(X_k | graph) = sum_j log [(1 - pi_kj) exp(l0_kj) + pi_kj exp(l1_kj)]

with l0 and l1 the log likelihoods of variable j in all cells of context k, undisturbed and as a target. The same sum is
the bound with q(target) = Bernoulli(sigmoid(logit pi + l1 - l0)); `elbo` has a free residual u in place of l1 - l0, and
`ratio` draws targets and graphs and weights the draws by their likelihood, as older models of this kind do.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from samsjax.models.mechanisms import ContextTerms

Rows = Float[Array, "row v"]


def bernoulli_log_mass(logits: Array, value: Array) -> Array:
    """Log mass of Bernoulli(sigmoid(logits)) at 0 or 1, linear in between."""
    return value * logits - jax.nn.softplus(logits)


def log_marginal(logits: Rows, gain: Rows) -> Rows:
    """log[(1 - pi) + pi e^gain]: what a context gains by its targets, these summed out; logits are those of pi."""
    return jax.nn.softplus(logits + gain) - jax.nn.softplus(logits)


def exact_targets(terms: ContextTerms, logits: Rows, known: Rows) -> Float[Array, ""]:
    """Log likelihood of all contexts but control, targets summed out where they are open.

    Args:
        terms: of the contexts under one graph.
        logits: of the prior probabilities of targets.
        known: 0 or 1 where targets are known, 0.5 where they are open.
    """
    given = known * terms.gain + bernoulli_log_mass(logits, known)
    return terms.undisturbed + jnp.where(known == 0.5, log_marginal(logits, terms.gain), given).sum()


def bound_of_targets(terms: ContextTerms, logits: Rows, residual: Rows, known: Rows) -> Float[Array, ""]:
    """Bound with q(target) = Bernoulli(sigmoid(logits + residual)); no draws, as likelihoods are linear in targets."""
    q = jax.nn.sigmoid(logits + residual)
    # KL(q || pi) without its logarithms of small numbers.
    divergence = q * residual - jax.nn.softplus(logits + residual) + jax.nn.softplus(logits)
    given = known * terms.gain + bernoulli_log_mass(logits, known)
    return terms.undisturbed + jnp.where(known == 0.5, q * terms.gain - divergence, given).sum()


def likelihood_of_draw(terms: ContextTerms, targets: Rows) -> Float[Array, ""]:
    """Log likelihood of all contexts but control at one draw of their targets."""
    return terms.undisturbed + (targets * terms.gain).sum()
