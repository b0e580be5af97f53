"""Jobs one by one on a compiled core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnsieve.gen.config import Configuration
from attnsieve.sim.bench.jobs import check_jobs, memories, programs, setup
from attnsieve.sim.bench.program import Operation, execute
from attnsieve.sim.compiled import CompiledMachine
from attnsieve.sim.driver.image import MemoryImage
from attnsieve.sim.simulate import memory_timing

__all__ = ["counters_alone"]

#: Cycles after which a job has failed.
_LIMIT = 2_000_000


def counters_alone(
    config: Configuration, verilog: str, images: Sequence[MemoryImage]
) -> Iterator[dict[str, int]]:
    """Counters of the only job of each image, one image after the other, each long enough after
    the reset that memories which are cleared by it are.

    Parameters
    ----------
    config : Configuration
        The core, and its memory.
    verilog : str
        Of the core; that of the configuration, or of a variant with its ports.

    Raises
    ------
    AssertionError
        Something differs from the golden model.
    """
    size = max(image.channels()[0].size for image in images)
    with CompiledMachine(
        verilog, config.top, memory_bytes=size, timing=memory_timing(config)
    ) as machine:
        for image in images:
            machine.clear()
            machine.set_memory(memories(image))
            (program,) = programs(image, limit=_LIMIT)
            rest = Operation("run", 2 * image.params.max_beats)
            check = check_jobs(image, execute(machine, [*setup(image.params), rest, *program]))
            if check.total:
                raise AssertionError(f"{image.jobs[0].job}: {check.messages[0]}")
            yield dict(check.reports[0].counters)
