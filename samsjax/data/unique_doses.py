"""Each dose of a perturbation as a perturbation of its own, for models that know no dose."""

import numpy as np

from samsjax.data.dataset import check_unique
from samsjax.data.encoding import Encoding
from samsjax.data.labels import write_label
from samsjax.data.treatments import canonical_slots
from samsjax.errors import InputError


def unique_doses(encoding: Encoding) -> Encoding:
    """The same cells with each dose of a perturbation as a perturbation of its own, named `A@0.5`, at dosage 1.

    The vocabulary becomes what cells received; `A` is the dose 1, as in labels. For models that know no dose: whatever
    doses of one perturbation share must come from their features (`samsjax.data.features`).

    Raises:
        InputError: if all doses are 1, or two of these names are one because a perturbation is called `A@0.5`.
    """
    applied = encoding.dosage != 0
    if (encoding.dosage[applied] == 1).all():
        raise InputError(
            "every dose is 1, so no perturbation has doses that could be perturbations of their own (doses_as_unique): "
            "name the column that holds doses as dosage_key"
        )
    pairs = np.stack([encoding.perturbation_index[applied], encoding.dosage[applied]], axis=1, dtype=np.float64)
    pair, code = np.unique(pairs, axis=0, return_inverse=True)
    texts = [write_label({str(encoding.perturbation_names[int(row)]): float(dose)}, "") for row, dose in pair]
    check_unique("doses of perturbations (rename perturbations whose names contain '@')", np.array(texts))
    order = np.argsort(texts, kind="stable")
    place = np.argsort(order)
    index = np.zeros(encoding.perturbation_index.shape, dtype=np.int32)
    index[applied] = place[code.reshape(-1)]
    slots = canonical_slots(index, applied.astype(np.float32))
    return Encoding(*slots, np.array(texts, dtype=str)[order])
