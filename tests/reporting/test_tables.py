"""Lines for a terminal."""

from samsjax.inference.rotating import RotationReport
from samsjax.reporting import rotations_summary

UNIQUE = RotationReport(38, 90.0, 40.0, float("nan"), 80.0, 1.0, 12, 30)


def test_rotations_in_one_line():
    last = UNIQUE._replace(epoch=62, l1=30.0, l1_next=30.5, agreeing=0.75, directions_in_use=13, active_entries=41)
    assert rotations_summary([UNIQUE, last]) == (
        "latent space rotated after epochs 38, 62; last basis: 13 directions in use, 41 effects stand out, found from "
        "75% of the starts"
    )
    assert rotations_summary(()) == ""


def test_a_basis_that_is_not_the_only_one_is_told():
    ambiguous = UNIQUE._replace(l1_next=40.2, agreeing=0.1)
    assert "may not tell the two apart" in rotations_summary([UNIQUE, ambiguous]).splitlines()[1]
    assert len(rotations_summary([ambiguous, UNIQUE]).splitlines()) == 1
