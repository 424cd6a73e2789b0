"""Covariates as one-hots: levels come from training cells, and nothing unknown passes."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from samsjax.data.covariates import chosen_codes, codes, covariate_levels, n_levels, one_hot
from samsjax.errors import InputError
from tests import small

LEVELS = {"batch": ("a", "b", "c"), "donor": ("x", "y")}


@pytest.fixture(scope="module")
def data():
    screen = small.screen()
    cells = np.arange(screen.n_cells)
    batch, donor = np.array(["a", "b", "c"])[cells % 3], np.array(["y", "x"])[cells % 2]
    return replace(screen, covariates={"batch": batch, "donor": donor})


def test_levels_are_those_of_the_training_cells_in_sorted_order(data):
    assert covariate_levels(data, ["donor", "batch"]) == {"donor": ("x", "y"), "batch": ("a", "b", "c")}
    assert n_levels(LEVELS) == 5
    only_a = replace(data, split=np.where(data.covariates["batch"] == "a", "train", "test"))
    assert covariate_levels(only_a, ["batch"]) == {"batch": ("a",)}


def test_one_hots_of_covariates_stand_side_by_side(data):
    table = codes(data, LEVELS)
    assert_array_equal(table[:6], [[0, 1], [1, 0], [2, 1], [0, 0], [1, 1], [2, 0]])
    columns = one_hot(table, LEVELS)
    assert columns.dtype == np.uint8 and columns.shape == (data.n_cells, 5)
    assert_array_equal(columns[1], [0, 1, 0, 1, 0])
    assert_array_equal(columns.sum(axis=1), np.full(data.n_cells, 2))


def test_a_level_without_training_cells_is_refused_by_name_and_number(data):
    known = {"batch": ("a", "c")}
    n = int((data.covariates["batch"] == "b").sum())
    with pytest.raises(InputError, match=rf"{n} cells have levels of the covariate 'batch' .*: b; known: a, c"):
        codes(data, known)
    with pytest.raises(InputError, match="no training cell has: c"):
        codes(data, {"batch": ("a", "b")})  # past the last known level


def test_a_covariate_the_data_do_not_carry_is_refused_with_the_nearest(data):
    with pytest.raises(InputError, match=r"unknown covariate 'bach'. Did you mean 'batch'.*--data.covariate-keys bach"):
        covariate_levels(data, ["bach"])


def test_chosen_levels(data):
    assert_array_equal(chosen_codes({"donor": "y"}, LEVELS), [-1, 1])
    assert_array_equal(chosen_codes({}, LEVELS), [-1, -1])
    assert chosen_codes({}, {}).shape == (0,)
    with pytest.raises(InputError, match=r"unknown covariate 'donr'. Did you mean 'donor'"):
        chosen_codes({"donr": "x"}, LEVELS)
    with pytest.raises(InputError, match=r"unknown level of the covariate 'batch' 'd'.* Known: a, b, c"):
        chosen_codes({"batch": "d"}, LEVELS)
    with pytest.raises(InputError, match="trained without covariates"):
        chosen_codes({"batch": "a"}, {})
