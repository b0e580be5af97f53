"""What decides how a library is built."""

import pytest

from attnsieve.sim.compiled.build import build_block
from attnsieve.sim.errors import InputError


def test_a_level_of_optimisation_that_is_none(monkeypatch):
    monkeypatch.setenv("ATTNSIEVE_OPTIMISE", "fast")
    with pytest.raises(InputError, match=r"^ATTNSIEVE_OPTIMISE must be 0, 1, 2 or 3, not 'fast'$"):
        build_block("module t; endmodule", "t", [], [])
