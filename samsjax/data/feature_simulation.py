"""The simulated screen whose perturbations have features from which their effects follow, in part.

Effects come from pathways that perturbations belong to, softly; everything else is the screen of
[simulate][samsjax.data.simulate]:

    pathway_t   softmax of `membership_sharpness` x Normal(0, 1) over pathways, standardised over perturbations
    score_tl    direction_l . pathway_t and `residual` of what no feature tells, standard deviation 1
    strength_tl the same with other directions
    mask_tl     score_tl exceeds a threshold, and is among the `max_active` largest of the perturbation
    effect_tl   mask_tl x sign_l x (effect_size + effect_size_sd x strength_tl)
    features_t  loadings . pathway_t + `feature_noise` x Normal(0, 1)

The threshold is the one that leaves `n_without_effect` perturbations without any effect. Gate and size are products of
two functions of the features, so no linear map from features to effects is right, and a decoder that is not linear
stands between effects and genes. Of the held-out perturbations every cell is a test cell, also of their combinations
with others; the other cells are split 64/16/20 at random, so that test cells of both kinds can be compared.

Controls that tell nothing, features of other perturbations and random numbers, are made of any screen by
[features][samsjax.data.features].
"""

from dataclasses import dataclass, replace

import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.features.table import PerturbationFeatures
from samsjax.data.simulate import SimulationConfig, Truth, draw_screen, numbered_names
from samsjax.errors import InputError, check_range


@dataclass(frozen=True)
class FeatureSimulationConfig(SimulationConfig):
    """Sizes and strengths of the simulated screen with features of perturbations.

    Raises:
        InputError: if a value is out of range, or no perturbation or all would be held out.
    """

    n_genes: int = 300
    """Genes measured."""
    n_perturbations: int = 240
    """Single perturbations."""
    n_without_effect: int = 48
    """How many of them do nothing: those that no mechanism answers to most."""
    n_doubles: int = 40
    """Combinations of two perturbations."""
    n_control_cells: int = 2000
    """Cells without perturbation."""
    cells_per_single: int = 40
    """Cells of each single perturbation."""
    cells_per_double: int = 40
    """Cells of each combination."""
    n_features: int = 20
    """Features of each perturbation."""
    n_pathways: int = 6
    """Pathways that perturbations belong to."""
    membership_sharpness: float = 2.0
    """How much a perturbation belongs to one pathway alone; 0 = to all alike, large = to one."""
    feature_noise: float = 0.5
    """Standard deviation of what features hold beside pathways, whose part has about 1."""
    residual: float = 0.1
    """Share of the variance of scores and strengths that does not follow from pathways."""
    held_out: float = 0.25
    """Share of the perturbations, at random, of which no cell trains."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("n_perturbations", self.n_perturbations, low=3)
        check_range("n_without_effect", self.n_without_effect, low=0, below=self.n_perturbations)
        check_range("n_features", self.n_features, low=1)
        check_range("n_pathways", self.n_pathways, low=2)
        check_range("membership_sharpness", self.membership_sharpness, above=0.0)
        check_range("feature_noise", self.feature_noise, low=0.0)
        check_range("residual", self.residual, low=0.0, high=1.0)
        check_range("held_out", self.held_out, low=0.0, below=1.0)
        if self.n_held_out > self.n_perturbations - 2:
            raise InputError(
                f"held_out {self.held_out} leaves fewer than 2 of {self.n_perturbations} perturbations to train"
            )

    @property
    def n_held_out(self) -> int:
        """How many perturbations are held out: at least one, unless none is asked for."""
        return 0 if self.held_out == 0 else max(1, round(self.held_out * self.n_perturbations))


def simulate_features(
    config: FeatureSimulationConfig | None = None, *, seed: int = 0
) -> tuple[PerturbationData, Truth]:
    """Draw a screen with features and the truth behind it; the same seed gives the same bits.

    Raises:
        InputError: if the seed is negative, or counts would not fit 32 bits.
    """
    config = config or FeatureSimulationConfig()
    check_range("seed", seed, low=0)
    # Streams of their own: other features leave the screen as it is.
    effects_rng, features_rng, split_rng = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(3))
    pathways = _pathways(config, effects_rng)
    drawn = draw_screen(config, seed=seed, effects=_effects(config, effects_rng, pathways))
    held = split_rng.permutation(config.n_perturbations)[: config.n_held_out]
    features = _features(config, features_rng, pathways)
    data = replace(drawn.data, features=features, split=_split(drawn.data, held))
    return data, drawn.truth


def _pathways(config: FeatureSimulationConfig, rng: np.random.Generator) -> np.ndarray:
    """How much each perturbation belongs to each pathway, (perturbation, pathway), mean 0 and deviation 1 each."""
    weights = np.exp(config.membership_sharpness * rng.standard_normal((config.n_perturbations, config.n_pathways)))
    return _standardised(weights / weights.sum(axis=1, keepdims=True))


def _effects(
    config: FeatureSimulationConfig, rng: np.random.Generator, pathways: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Masks and masked effects, (perturbation, latent)."""
    score, strength = (_follow(config, rng, pathways) for _ in range(2))
    best = np.sort(score.max(axis=1))
    n_idle = config.n_without_effect
    threshold = best[n_idle - 1] if n_idle else np.nextafter(best[0], -np.inf)  # the weakest acts too
    rank = (-score).argsort(axis=1).argsort(axis=1)
    mask = (score > threshold) & (rank < config.max_active)
    sign = rng.choice([-1.0, 1.0], config.n_latent)
    return mask, np.where(mask, sign * (config.effect_size + config.effect_size_sd * strength), 0.0)


def _follow(config: FeatureSimulationConfig, rng: np.random.Generator, pathways: np.ndarray) -> np.ndarray:
    """Random linear functions of the pathways, with the residual, (perturbation, latent) of mean 0 and deviation 1."""
    told = _standardised(pathways @ rng.standard_normal((config.n_pathways, config.n_latent)))
    own = rng.standard_normal(told.shape)
    return np.sqrt(1 - config.residual) * told + np.sqrt(config.residual) * own


def _features(config: FeatureSimulationConfig, rng: np.random.Generator, pathways: np.ndarray) -> PerturbationFeatures:
    """Noisy mixtures of the pathways."""
    loadings = rng.standard_normal((config.n_pathways, config.n_features)) / np.sqrt(config.n_pathways)
    noise = rng.standard_normal((config.n_perturbations, config.n_features))
    names = tuple(numbered_names("feature", config.n_features).tolist())
    return PerturbationFeatures(names, pathways @ loadings + config.feature_noise * noise)


def _split(data: PerturbationData, held: np.ndarray) -> np.ndarray:
    """The random split, with every cell that carries a held-out perturbation in "test"."""
    is_held = np.isin(np.arange(data.n_perturbations), held)
    tested = (is_held[data.perturbation_index] & (data.dosage > 0)).any(axis=1)
    return np.where(tested, "test", data.split)


def _standardised(values: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1 over perturbations."""
    return (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-12)
