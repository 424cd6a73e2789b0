"""The flag `--refits` of `experiments.fit`: what a factor does to the files of a run, and what happens without one."""

import anndata
import numpy as np
import pandas as pd
import pytest

from experiments import fit, refits
from samsjax.evaluation.calibration import LEVELS, Calibration
from samsjax.evaluation.tempering import Tempering
from tests.experiments.doors import FULL, SMALL, read_json, refused, untimed

FACTOR = 1.5
NEW = {"tempering/factor", "tempering/effects", "coverage/true effects, latent space, tempered"}


@pytest.fixture
def known_factor(monkeypatch):
    """In place of refits, which at this size find nothing."""
    asked = []

    def known(fitted, data, train, *, seed, n_refits, progress):
        asked.append((train.n_steps, seed, n_refits))
        return Tempering(FACTOR, 40, n_refits, Calibration("", 40, np.array(LEVELS), np.array(LEVELS)), (1.0,))

    monkeypatch.setattr(refits, "tempering", known)
    return asked


def test_effects_are_widened_wherever_they_are_written(runs, tmp_path, known_factor):
    fit.main(["--out", str(tmp_path / "run"), *SMALL, *FULL, "--refits", "2"])
    assert known_factor == [(20, 0, 2)]
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert set(metrics) >= NEW and metrics["tempering/factor"] == FACTOR and metrics["tempering/effects"] == 40
    assert 0 <= metrics["coverage/true effects, latent space, tempered"] <= 1
    narrow, wide = (pd.read_csv(folder / "effects.csv") for folder in (runs.simulated, tmp_path / "run"))
    same = ["perturbation", "latent", "inclusion_probability", "effect_mean"]
    pd.testing.assert_frame_equal(narrow[same], wide[same])
    # Variance of the mixture: p s^2 of the normal part is multiplied by the squared factor, the rest stays.
    p, mean = narrow.inclusion_probability, narrow.effect_mean
    between = (1 - p) * mean**2 / p
    expected = np.sqrt(FACTOR**2 * (narrow.effect_sd**2 - between) + between)
    assert np.allclose(wide.effect_sd, expected, rtol=1e-4) and (wide.effect_sd > narrow.effect_sd).all()
    layers = anndata.read_h5ad(tmp_path / "run" / "effects.h5ad").layers
    assert np.allclose(layers["sd"].ravel(), wide.effect_sd)
    report = " ".join((tmp_path / "run" / "report.html").read_text().split())
    assert f"Effects in latent space have {FACTOR:.2f} times the spread" in report
    assert "true effects, latent space, tempered" in report


def test_without_a_factor_effects_stay_and_a_warning_says_why(runs, tmp_path):
    with pytest.warns(UserWarning, match="not widened: only . effects of the screen drawn from the model were found"):
        fit.main(["--out", str(tmp_path / "run"), *SMALL, "--refits", "1"])
    assert (tmp_path / "run" / "effects.csv").read_text() == (runs.simulated / "effects.csv").read_text()
    assert untimed(tmp_path / "run") == untimed(runs.simulated)
    assert read_json(tmp_path / "run" / "metrics.json")["time/refits_s"] > 0


def test_refits_that_cannot_work_are_refused_before_the_fit(unwritten, capsys):
    flags = ["--out", unwritten / "run", *SMALL, "--refits"]
    refused(fit.main, [*flags, "1", "--model", "conditional_vae"], ["refits", "ConditionalVAEConfig"], capsys)
    refused(fit.main, [*flags, "1", "--model", "svae_plus"], ["refits", "no draws of E"], capsys)
    refused(fit.main, [*flags, "-1"], ["refits must be >= 0, got -1"], capsys)
