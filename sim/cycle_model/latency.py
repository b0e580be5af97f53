"""Latencies of the core's blocks, in cycles, as the cycle model uses them."""

from __future__ import annotations

from dataclasses import dataclass

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
    chunks_ahead : int
        Chunks that may wait in front of the readers.
    accept : int
        From a row's being taken by the scorer to its first line.
    rows_ahead : int
        Rows that may be between the scorer and the writer.
    statistics_ahead : int
        Rows whose reciprocal may wait.
    query : int
        From a segment's being cut to the row's being readable.
    score : int
        From the line that completes a beat to the beat in the row buffer.
    buffer : int
        From a row's last beat in the row buffer to its first beat leaving.
    terms : int
        From a beat leaving the row buffer to its terms in the term ring.
    statistics : int
        From a row's last terms to its reciprocal.
    steps : int
        From a step of prob·V to its being added up.
    drain : int
        From the sums of a pass to its first elements.
    output : int
        From elements to the write's data beat.
    finish : int
        From the last write's response to the end of the job.
    """

    start: int
    region: int
    rows: int
    request: int
    word: int
    line: int
    room: int
    chunks_ahead: int
    accept: int
    rows_ahead: int
    statistics_ahead: int
    query: int
    score: int
    buffer: int
    terms: int
    statistics: int
    steps: int
    drain: int
    output: int
    finish: int

    @classmethod
    def of(cls, params: CoreParams) -> Latency:
        """Latencies of a core with these parameters."""
        several = params.channels > 1
        levels = (params.groups - 1).bit_length()
        queue = (1 if params.lut_ram else 2) if several else 0
        return cls(
            start=2,
            region=3,
            rows=5,
            request=1 + several + 1,
            word=queue + (params.unit_bytes > params.beat_bytes) + several,
            line=2,
            room=2,
            chunks_ahead=4,
            accept=2,
            rows_ahead=16 if params.lut_ram else 4,
            statistics_ahead=(4 if params.lut_ram else 2) + 1,
            query=2,
            score=6 + levels,
            buffer=2,
            terms=11,
            statistics=8 + levels,
            steps=3 + 2 * (params.groups > 1) + 2,
            drain=1 if levels == 0 else 2 + levels,
            output=6 + 4,
            finish=4,
        )

    def buffer_beats(self, params: CoreParams) -> int:
        """Beats that the row buffer holds."""
        return 2 * params.max_beats
