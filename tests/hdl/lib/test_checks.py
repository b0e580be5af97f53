"""Messages about parameters."""

from __future__ import annotations

import pytest

from attnsieve.hdl.lib.checks import check_int, check_power_of_two
from attnsieve.hdl.params import CoreParams, check_params


def test_good_values_pass():
    check_int("Depth", 1, 1)
    check_int("Depth", 0, 0, 0)
    check_power_of_two("Lanes", 1)
    check_power_of_two("Lanes", 64, 2, 64)
    check_params(CoreParams())


@pytest.mark.parametrize(
    ("check", "arguments", "error", "message"),
    [
        (check_int, (0, 1), ValueError, "Depth must be at least 1, not 0"),
        (check_int, (9, 1, 8), ValueError, r"Depth must be in 1\.\.8, not 9"),
        (check_int, (-1, 0, 8), ValueError, r"Depth must be in 0\.\.8, not -1"),
        (check_int, (True, 1), TypeError, "Depth must be an integer, not True"),
        (check_int, (1.0, 1), TypeError, r"Depth must be an integer, not 1\.0"),
        (check_power_of_two, (12,), ValueError, "Depth must be a power of two, not 12"),
        (check_power_of_two, (0,), ValueError, "Depth must be at least 1, not 0"),
        (check_power_of_two, (128, 2, 64), ValueError, r"Depth must be in 2\.\.64, not 128"),
    ],
)
def test_bad_values(check, arguments, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        check("Depth", *arguments)


def test_params_are_core_params():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 3$"):
        check_params(3)
