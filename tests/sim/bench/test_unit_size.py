"""The size of a bit-serial unit: a line for each point, from both targets."""

import pytest

from attnsieve.gen import tools
from attnsieve.sim.bench.unit_size import main


def test_the_table_has_a_line_for_each_point(capsys):
    try:
        tools.which("yosys")
    except tools.MissingToolError as error:
        pytest.skip(str(error))
    assert main(["leopard-tiny", "--point", "", "--point", "slice_words=sign_magnitude"]) == 0
    _, plain, signs = capsys.readouterr().out.splitlines()
    assert (plain[:32].strip(), signs[:32].strip()) == ("", "slice_words=sign_magnitude")
    lut, carry, ff, ram, cells, memories = map(float, plain[40:].split())
    more = [float(x) for x in signs[40:].split()]
    assert min(lut, carry, ff, ram, cells, memories) > 0
    assert (int(signs[32:40]), more[2] > ff, more[4] > cells) == (int(plain[32:40]) + 2, True, True)
