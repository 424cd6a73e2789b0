"""Public screens, read by the rules of their papers: a file's path in, cells ready to train on out.

Read in this order:

- `base`: `Study`, what is known of a published file; `StudyConfig`, `DataConfig` with a study's defaults.
- `norman`, `replogle`, `adamson`, `dixit`, `sciplex`: one file each: layout, labels, controls, encoding, split. `sachs`
  reads a text table of continuous values, and knows a graph and targets.
- `fetch`: downloading a file with a hash check, where its address is on record.

A study turns its file into what `samsjax.data.from_anndata` takes and calls it; checks, splits and library sizes are
the same as for any other screen:

    data = study("norman").load("norman.h5ad", train_combinations=0.75, split_seed=0)

| study | cells | perturbations | split |
|---|---|---|---|
| norman | CRISPRa, K562 | 105 genes, singly and in pairs | held-out pairs, or a share of the cells of pairs |
| replogle | CRISPRi, K562, filtered | 722 guide pairs | random cells |
| adamson | CRISPRi, K562 | target genes | random cells |
| dixit | knock-out, K562 | 10 transcription factors, up to two a cell | held-out pairs |
| sachs | reagents, T cells, flow cytometry | 8 conditions beside the stimulation | random cells |
| sciplex | drugs, one of three cancer lines | 188 drugs at four doses | held-out doses |

To add a study: write its file with a `StudyConfig`, an `annotate` function and a `Study`, and one line in `STUDIES`.
"""

from samsjax.data.config import DataConfig
from samsjax.data.studies.adamson import ADAMSON, AdamsonConfig
from samsjax.data.studies.base import Annotated, Remote, Study, StudyConfig
from samsjax.data.studies.dixit import DIXIT, DixitConfig
from samsjax.data.studies.fetch import fetch
from samsjax.data.studies.norman import NORMAN, NormanConfig
from samsjax.data.studies.replogle import REPLOGLE, ReplogleConfig
from samsjax.data.studies.sachs import SACHS, SachsConfig
from samsjax.data.studies.sciplex import SCIPLEX, SciPlexConfig
from samsjax.errors import check_choice

STUDIES: dict[str, Study] = {
    "norman": NORMAN,
    "replogle": REPLOGLE,
    "adamson": ADAMSON,
    "dixit": DIXIT,
    "sachs": SACHS,
    "sciplex": SCIPLEX,
}


def study(name: str) -> Study:
    """The study of that name.

    Raises:
        InputError: with the nearest names if there is none.
    """
    check_choice("study", name, list(STUDIES))
    return STUDIES[name]


def study_of(config: DataConfig) -> Study | None:
    """The study whose settings `config` are; None for settings of any screen."""
    return next((entry for entry in STUDIES.values() if type(config) is entry.settings), None)


__all__ = [
    "STUDIES",
    "AdamsonConfig",
    "Annotated",
    "DixitConfig",
    "NormanConfig",
    "Remote",
    "ReplogleConfig",
    "SachsConfig",
    "SciPlexConfig",
    "Study",
    "StudyConfig",
    "fetch",
    "study",
    "study_of",
]
