"""Latencies of the core's blocks, in cycles, as the cycle model uses them."""

from __future__ import annotations

from dataclasses import dataclass

from attnsieve.hdl.axi.loader import is_compact
from attnsieve.hdl.params import CoreParams

__all__ = ["Latency"]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Constants of a core.

    Parameters
    ----------
    start : int
        From the write that starts a job to the check.
    region : int
        From the end of the check to a region at the loader.
    rows : int
        From the end of the check to the first row at the scorer.
    request : int
        From a chunk's issue to the address handshake.
    word : int
        From the last beat of a word to the word at the unpacker.
    line : int
        From a completed line to its being readable.
    room : int
        From a line's release to its place being counted as free.
    queue : int
        From a beat to its leaving the data queue.
    requests_ahead : int
        Chunks that may wait in front of the readers.
    chunks_ahead : int
        Chunks that may be on their way.
    heads_ahead : int or None
        Heads whose queries may be asked for or wait in front of the query store; None: any number.
    keys_ahead : int or None
        KV heads whose keys may be asked for or be cut; None: any number.
    heads_delay : int
        By how much later the loader hears of queries than of keys.
    accept : int
        From a row's being taken by the scorer to its first line.
    scales_ahead : int
        Heads whose scales may wait.
    scale : int
        From a row's last beat leaving the row buffer to a row whose scale waited for room.
    rows_issued : int
        Rows that the scorer holds, the one at hand among them.
    rows_ahead : int
        Rows that may be between the scorer and the writer.
    statistics_ahead : int
        Rows whose reciprocal may wait.
    query : int
        From a segment's being cut to the row's being readable.
    score : int
        From the line that completes a beat to the beat in the row buffer.
    beats_ahead : int
        Beats that may be on their way to the row buffer; 0: as many as the pipeline holds.
    buffer : int
        From a row's last beat in the row buffer to its first beat leaving.
    rows_held : int
        Rows that the row buffer holds, beside the one that enters.
    terms : int
        From a beat leaving the row buffer to its terms in the term ring.
    term_pace : int
        Cycles per beat of the exponential.
    row_pace : int
        Cycles per row of the reciprocal.
    statistics : int
        From a row's last terms to its reciprocal.
    steps : int
        From a step of prob·V to its being added up.
    output_pace : int
        Cycles per ``output_lanes`` elements of the normaliser.
    drain : int
        From the sums of a pass to its first elements.
    output : int
        From elements to the write's data beat.
    write : int
        From a row's elements to the bus.
    finish : int
        From a row's last elements to the end of the job, beside the memory's latency.
    dropped : int
        The same if the row is not written.
    select_lanes : int
        Values that the engine of the value select takes per cycle.
    token_lanes : int
        Scores that the one of the token select takes.
    region_queue : int
        From there to the loader.
    flags : int
        From the last terms of a KV head to the list of what its rows keep.
    packing : int
        From a row's last beat out of the memory of rows to the last packed one.
    passing : int
        From a beat into that memory to itself out of the packer, where nothing waits.
    """

    start: int
    region: int
    rows: int
    request: int
    word: int
    line: int
    room: int
    queue: int
    requests_ahead: int
    chunks_ahead: int
    heads_ahead: int | None
    keys_ahead: int | None
    heads_delay: int
    accept: int
    scales_ahead: int
    scale: int
    rows_issued: int
    rows_ahead: int
    statistics_ahead: int
    query: int
    score: int
    beats_ahead: int
    buffer: int
    rows_held: int
    terms: int
    term_pace: int
    row_pace: int
    statistics: int
    steps: int
    output_pace: int
    drain: int
    output: int
    write: int
    finish: int
    dropped: int
    select_lanes: int
    token_lanes: int
    region_queue: int
    flags: int
    packing: int
    passing: int

    @classmethod
    def of(cls, params: CoreParams) -> Latency:
        """Latencies of a core with these parameters."""
        several = params.channels > 1
        fast = params.lut_ram  # otherwise there are no multipliers either, and serial ones instead
        levels = (params.groups - 1).bit_length()
        scan = (min(params.groups, params.max_parts) - 1).bit_length()
        tree = (params.segment - 1).bit_length()
        products = 3 + -(-tree // 2) if fast else 1 + tree
        queue = (1 if params.lut_ram else 2) if several else 0
        picks = params.wide_bytes >= params.lanes  # lines are picked from words
        gathers = params.gathers
        weigh = 3 if params.progressive else 0
        turns = params.token_lanes and (params.progressive or params.value_demand)
        lanes = -(-(params.groups - 1).bit_length() // 4)
        eliminate, pack = max(1, 2 * lanes), max(2, lanes + 1)
        return cls(
            start=2,
            region=2 + 9 * bool(turns),  # the units that read the job's words take turns
            rows=16 + 16 * bool(turns),
            request=12 if gathers else 1 + several,
            word=queue + (params.unit_bytes > params.beat_bytes) + (9 if gathers else 2 * several),
            line=2 + fast + (picks and not is_compact(params)),
            room=2,
            queue=queue,
            requests_ahead=3 if several or gathers else 1,
            chunks_ahead=32 if gathers else 16 if params.lut_ram else 6,
            heads_ahead=3 if params.groups > 1 else None,
            keys_ahead=2 if params.slice_units else None,
            heads_delay=2 if params.groups > 1 else 0,
            accept=2,
            scales_ahead=16 if fast else 2,
            scale=4 if fast else 8,
            rows_issued=3 if fast else 2,
            rows_ahead=16 if params.lut_ram else 4,
            statistics_ahead=16 if fast else 3,
            query=3 if params.groups > 1 else 0,
            score=1 + products + scan + (1 if params.groups == 1 else 2) + fast + weigh,
            beats_ahead=16 if fast else 0,
            rows_held=17 if fast else 2 if levels == 0 else 32,
            buffer=2 if levels == 0 and not fast else levels + 1 + (3 if fast else 2),
            terms=12 + fast,
            term_pace=1 if fast else 4,
            row_pace=1 if fast else 19,
            statistics=9 + levels if fast else 14 + (params.max_keys - 1).bit_length(),
            steps=5 + 2 * (params.groups > 1),
            drain=1 if levels == 0 else 2 + levels,
            output_pace=1 if fast else 5,
            output=7 if fast else 1,
            write=4,
            finish=8,
            dropped=4,
            select_lanes=params.value_lanes,
            token_lanes=params.token_lanes,
            region_queue=5,
            flags=2 + 1 + 1 + eliminate + pack + 1,
            packing=1 + eliminate + pack,
            passing=4 + eliminate + pack,
        )

    def buffer_beats(self, params: CoreParams) -> int:
        """Beats that the row buffer holds."""
        return 2 * params.max_beats
