"""How much each layer keeps."""

import numpy as np
import pytest

from attnsieve.sim.driver.schedule import keep_counts, keep_ratios
from attnsieve.sim.errors import InputError


@pytest.mark.parametrize("layers", [1, 2, 6, 12, 24])
@pytest.mark.parametrize("keep", [1.0, 0.7, 0.5, 0.3, 0.05])
@pytest.mark.parametrize("whole", [0.15, 0.3])
def test_the_first_layers_are_whole_and_the_others_keep_so_much_on_average(layers, keep, whole):
    ratios = keep_ratios(layers, keep, whole)
    first = int(np.ceil(layers * whole))
    assert len(ratios) == layers
    assert ratios[:first] == (1.0,) * first
    rest = ratios[first:]
    if rest:
        assert np.mean(rest) == pytest.approx(keep)
        assert all(a >= b - 1e-12 for a, b in zip(rest, rest[1:], strict=False))
        assert all(0 < ratio <= 1 for ratio in rest)


def test_the_schedule_of_the_paper():
    """12 layers, half of the tokens dropped on average: from a quarter to three quarters."""
    ratios = keep_ratios(12, 0.5, 0.15)
    assert ratios[:2] == (1.0, 1.0)
    assert ratios[2] == pytest.approx(0.75)
    assert ratios[-1] == pytest.approx(0.25)


def test_counts_are_rounded_down_and_never_zero():
    assert keep_counts([1.0, 0.9, 0.7, 0.001], 1024) == (1024, 921, 716, 1)


@pytest.mark.parametrize("keep", [0, -0.1, 1.1])
def test_what_is_kept_must_be_a_share(keep):
    with pytest.raises(InputError, match=r"^keep must be over 0 and at most 1"):
        keep_ratios(12, keep, 0.15)
