"""Rows of a core whose keys are read slice by slice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.row_bounds import RowBounds
from attnsieve.hdl.slices.survivor_rows import SurvivorRows
from attnsieve.hdl.stages.prob_v_array import ValueArray
from attnsieve.sim.cycle_model.circle import Circle
from attnsieve.sim.cycle_model.gather import GatherLoaderModel
from attnsieve.sim.cycle_model.held_values import HeldValues, RegionOf
from attnsieve.sim.cycle_model.key_store import KeyStoreModel
from attnsieve.sim.cycle_model.latency import Latency
from attnsieve.sim.cycle_model.lines import paced
from attnsieve.sim.cycle_model.loader import LoaderModel
from attnsieve.sim.cycle_model.parts import PartedCircle
from attnsieve.sim.cycle_model.planes import Planes
from attnsieve.sim.cycle_model.shared import SharedLoaderModel
from attnsieve.sim.cycle_model.sparse import row_steps
from attnsieve.sim.cycle_model.sparse_sums import SparseSums
from attnsieve.sim.cycle_model.units import PARTS, DealtRow
from attnsieve.sim.driver.image import JobImage

__all__ = ["DemandedSlicePipeline", "SlicePipeline"]

#: Beats on their way from the stored rows to the softmax, and cycles that each takes.
_BEATS, _READ = 8, SurvivorRows.latency
#: Cycles from a query's being there to its row's turn; one more where it comes in one line.
_QUERY = 1
#: Cycles from a step of prob·V to its being added up: the way of a term, and the array.
_SUMS = 5 + ValueArray.latency
#: Rows whose terms are there, or multiplied.
_TERM_ROWS = 6
#: Cycles that the row of each further head takes to come.
_HEAD = 7


class SlicePipeline(SparseSums):
    """Rows that are prepared, dealt to bit-serial units, stored, and given to the softmax in order.

    Parameters
    ----------
    image : JobImage
        The job, for the slices that are read of each key and what its rows keep.
    loader : LoaderModel
        Hears when the keys of each KV head are cut; a `SharedLoaderModel` reads their slices.
    others : as `SparseSums`
    """

    def __init__(
        self,
        loader: LoaderModel,
        image: JobImage,
        params: CoreParams,
        latency: Latency,
        *others: object,
    ) -> None:
        steps = row_steps(image)
        super().__init__(steps.ravel().tolist(), _SUMS, params, latency, *others)
        job = image.job
        self.image = image
        parts = params.parts(job.head_dim)
        self.store = KeyStoreModel(
            params, self.key, job.kv_heads, job.keys, parts, loader.keys_cut
        )
        self.circle = self._units(loader)
        self.bounds = RowBounds(params=params)
        self.begun = 0  # rows that have been
        self.begin = np.zeros(len(self.rows), np.int64)
        self.complete = np.full(len(self.rows), -1, np.int64)
        self.freed = np.zeros(len(self.rows), np.int64)  # when each has been read
        self.entered = np.zeros(int(self.beat[-1]), np.int64)  # when terms of beats were there
        self.first_step = -1  # of prob·V, of the last row

    def _units(self, loader: LoaderModel) -> Circle | Planes:
        if isinstance(loader, SharedLoaderModel):
            return Planes(self.params, loader, self.image)
        circle = PartedCircle if self.image.job.relative else Circle
        return circle(self.params, self.store.there, len(self.rows))

    def advance(self) -> None:
        while any(stage() for stage in self._stages):
            pass

    @property
    def _stages(self) -> tuple[Callable[[], bool], ...]:
        return (self.store.advance, self._sum, self._read, self._begin, self._deal)

    counted = 2  # the units' activity goes through a register of its own

    @property
    def busy(self) -> int:
        return self.circle.busy

    @property
    def setup(self) -> int:
        return self.circle.setup

    @property
    def waits(self) -> dict[str, int]:
        return self.circle.idle

    # -- rows are prepared ---------------------------------------------------------------------

    def _begin(self) -> bool:
        """The next row gets its query and its bounds; so many are inside at most."""
        number = self.begun
        if number == len(self.rows):
            return False
        row = self.rows[number]
        behind, query = self._behind(number), self._query_at(row)
        inside = number - self.params.slice_rows
        late = row.scale is not None and row.scale >= self.softened
        if behind is None or query is None or inside >= self.softened or late:
            return False
        there = row.start + self._sequenced(number)
        if number:
            there = max(there, int(self.begin[number - 1]) + self.bounds.interval)
        if row.scale is not None:
            there = max(there, self.left_time_of(row.scale) + self.latency.scale)
        free = max(behind, int(self.freed[inside]) + 1 if inside >= 0 else 0)
        begin = max(there, free, query + _QUERY + (self.params.groups == 1))
        self.begin[number] = begin
        self._leave_query(row, begin + self.bounds.reads - 1)
        start = begin + self.bounds.latency + PARTS
        causes = (("row", there), ("output", free), ("query", begin))
        head, query = divmod(number, self.image.job.queries)
        kv = head // self.image.job.group
        keys = self._keys(number, head, query)
        first = kv * self.image.job.keys
        self.circle.give(DealtRow(number, start, keys, first, causes, row.write))
        self.circle.turn_at = begin + self.bounds.interval
        self.begun += 1
        return True

    def _sequenced(self, number: int) -> int:
        """By how much later than the first row the sequencer gives this one."""
        head, query = divmod(number, self.image.job.queries)
        each = 1 if self.image.query_valid is None else 2
        return head * (_HEAD + (self.image.job.queries - 1) * each) + query * each

    def _keys(self, number: int, head: int, query: int) -> list[int]:
        """The keys of a row as the circle takes them."""
        keys, expected = self.rows[number].keys, self.image.expected
        return self.circle.codes(
            number, expected.read[head, query, :keys], expected.stored[head, query, :keys]
        )

    # -- keys to units -------------------------------------------------------------------------

    def force(self) -> bool:
        return self._deal(force=True)

    def _deal(self, force: bool = False) -> bool:
        """Keys go through the units until a row has all its keys there, if that is known."""
        oldest = self.begun - self.params.slice_rows
        comes = self.begun < len(self.rows) and (oldest < 0 or self.complete[oldest] >= 0)
        self.circle.known = self.store.known
        self.circle.blocked = self._blocked()
        before = self.circle.time
        finished = self.circle.advance(wait=comes and not force)
        for number in finished:
            self.complete[number] = self.circle.ended[number]
        return bool(finished) or self.circle.time > before

    def _blocked(self) -> bool:
        """Keys that are not there wait for a row that is not complete."""
        head = self.store.waits_for
        if head is None:
            return False
        last = (head + 1) * len(self.rows) // self.image.job.kv_heads - 1
        return self.complete[last] < 0

    # -- scores of complete rows to the softmax, terms to prob·V -------------------------------

    def _read(self) -> bool:
        """A complete row leaves, beat by beat, as long as there is room behind."""
        number = self.softened
        if number == len(self.rows) or self.complete[number] < 0:
            return False
        bounds = self._term_room(number)
        if bounds is None:
            return False
        first, last = self.beat[number], self.beat[number + 1]
        way = _READ + self.latency.terms
        ready = np.zeros(last - first, np.int64)
        ready[0] = max(int(self.complete[number]), self.left_time + 1)
        self.entered[first:last] = paced(np.maximum(paced(ready) + way, bounds))
        ahead = np.arange(first, last) - _BEATS - self.latency.terms  # it has to be out of the way
        there = ahead >= 0
        ready[there] = np.maximum(ready[there], self.entered[ahead[there]] - _BEATS)
        read = paced(ready)
        self.circle.kept.read(number, read.tolist())
        self.entered[first:last] = paced(np.maximum(read + way, bounds))
        self.beat_left[first:last] = self.entered[first:last] - self.latency.terms
        self.left_time = self.freed[number] = int(read[-1])
        if self.rows[number].last_of_kv:
            self.store.release(self.left_time)
        self.softened += 1
        return True

    def _term_room(self, number: int) -> np.ndarray | None:
        first, last = self.beat[number], self.beat[number + 1]
        room, before = 2 * self.params.max_beats, number - _TERM_ROWS
        if self.beat[self.summed] < last - room or self.summed <= before:
            return None
        bounds = np.zeros(last - first, np.int64)
        held = np.arange(first, last) - room
        bounds[held >= 0] = self.beat_free[held[held >= 0]]
        if before >= 0:
            bounds[-1] = max(int(bounds[-1]), int(self.beat_free[self.beat[before]]))
        return bounds

    def _sum(self) -> bool:
        number = self.summed
        if number == self._given:
            return False
        row = self.rows[number]
        used = self._spanned(number)
        values = self._values_at(used)
        if values is None:
            return False
        first, last = self.beat[number], self.beat[number + 1]
        terms = int(self.entered[last - 1])
        start = max(self._in_ring(number) + 4, self.first_step + 2, values)
        self.first_step = max(start, self.step_time + 1)
        self._passes(number, start, terms)
        self.beat_free[first:last] = self.step_time + 1
        self._end_row(row, used)
        return True

    @property
    def _given(self) -> int:
        """Rows whose terms are in the ring of prob·V."""
        return self.softened

    def _spanned(self, number: int) -> int:
        """Lines of V that a row spans."""
        return self.lines[number] if self.rows[number].keys else 0

    def _in_ring(self, number: int) -> int:
        """When the last terms of a row are in the ring."""
        ways = self.latency.passing if self.params.value_demand else 0
        return int(self.entered[self.beat[number + 1] - 1]) + ways


class DemandedSlicePipeline(SlicePipeline):
    """Jobs of one query whose rows ask for their V.

    Parameters
    ----------
    region : callable
        The region of a tensor's head that the loader hears of at some time.
    loader : GatherLoaderModel
        Gets regions of V as rows know what they keep.
    others : as `SlicePipeline`
    """

    def __init__(
        self,
        region: RegionOf,
        loader: GatherLoaderModel,
        image: JobImage,
        params: CoreParams,
        latency: Latency,
        *others: object,
    ) -> None:
        super().__init__(loader, image, params, latency, *others)
        kv = [head // image.job.group for head in range(image.job.heads)]
        self.held = HeldValues(region, loader, latency, kv, int(self.beat[1]))

    @property
    def _stages(self) -> tuple[Callable[[], bool], ...]:
        return (self.held.ask, lambda: self.held.pack(self.summed), *super()._stages)

    def _read(self) -> bool:
        number = self.softened
        if not super()._read():
            return False
        self.held.enter(int(self.entered[self.beat[number + 1] - 1]))
        return True

    def _term_room(self, number: int) -> np.ndarray | None:
        """In the memory where rows wait."""
        room = self.held.room(number)
        if room is None:
            return None
        bounds = np.zeros(self.held.beats, np.int64)
        bounds[0] = room
        return bounds

    def _sum(self) -> bool:
        number = self.summed
        if not super()._sum():
            return False
        self.held.begins[number] = self.first_step
        return True

    @property
    def _given(self) -> int:
        return self.held.rows

    def _spanned(self, number: int) -> int:
        return self.held.lines_of(number)

    def _in_ring(self, number: int) -> int:
        return int(self.held.packed[number])
