"""Features of perturbations: what is known of a drug or a gene before any cell is measured under it."""

from samsjax.data.features.table import FeatureScale, PerturbationFeatures, feature_scale

__all__ = ["FeatureScale", "PerturbationFeatures", "feature_scale"]
