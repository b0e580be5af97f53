"""Named payloads of the streams between stages, and the read port of the key mask. Every stage
boundary uses one of these."""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from attnsieve.hdl.params import CoreParams

__all__ = [
    "accumulator_layout",
    "head_layout",
    "key_mask_signature",
    "line_layout",
    "output_layout",
    "output_row_layout",
    "probability_beat_layout",
    "product_beat_layout",
    "region_layout",
    "row_layout",
    "score_beat_layout",
    "statistics_layout",
    "term_beat_layout",
    "work_members",
]


def key_mask_signature(p: CoreParams) -> wiring.Signature:
    """Read port of the key mask.

    Members
    -------
    en : Out(1), bank : Out(bank_bits), beat : Out(range(max_beats)), used : Out(1)
        Which beat of ``groups`` keys is read, of which job, and whether it has a mask.
    data : In(groups)
        Keys that take part, all if not ``used``; one cycle after ``en``, held while ``en`` is low.
    """
    return wiring.Signature(
        {
            "en": Out(1),
            "bank": Out(p.bank_bits),
            "beat": Out(range(p.max_beats)),
            "used": Out(1),
            "data": In(p.groups),
        }
    )


def head_layout(p: CoreParams) -> data.StructLayout:
    """One entry of the per-head table."""
    pruned = {
        "weight": unsigned(10),  # of a head's outputs in its importance, UQ0.10
        "head": unsigned((p.max_heads - 1).bit_length() or 1),  # not in the table: which one it is
    }
    return data.StructLayout(
        {
            "mantissa": unsigned(p.scale_mantissa_bits),
            "shift": unsigned(p.scale_shift_bits),
            **(pruned if p.token_lanes else {}),
            **({"threshold": signed(p.threshold_bits)} if p.threshold_bits else {}),
        }
    )


def region_layout(p: CoreParams) -> data.StructLayout:
    """A contiguous piece of linear memory to fetch: the rows of one head."""
    planes = {
        "width": unsigned(3),  # of the operands: their place in ``operand_widths``
        "second": unsigned(1),  # it is a second plane
    }
    demand = {
        "demand": unsigned(1),  # rows of a list of values,
        "half": unsigned(1),  # and in which half that is
    }
    planar = {
        "planar": unsigned(1),  # slices lie in planes,
        "plane": unsigned(27),  # so many granules of 32 bytes apart
    }
    return data.StructLayout(
        {
            "address": unsigned(p.addr_width),
            "lines": unsigned(
                (max(p.max_keys, p.max_queries) * p.max_parts // p.groups + 1).bit_length()
            ),
            "bytes": unsigned((max(p.max_keys, p.max_queries) * p.max_head_dim * 2).bit_length()),
            "wide": unsigned(1),
            "rows": unsigned(max(p.key_bits, p.query_bits)),
            "parts": unsigned(p.part_bits),  # segments of a row
            **(planes if p.progressive else {}),
            **(planar if p.slice_demand else {}),
            **(demand if p.value_demand else {}),
        }
    )


def line_layout(p: CoreParams) -> data.ArrayLayout:
    """An array-wide line of operands, lane 0 lowest."""
    return data.ArrayLayout(signed(p.operand_bits), p.lanes)


def row_layout(p: CoreParams) -> data.StructLayout:
    """What every stage knows of a row (one query of one head); it travels with the row."""
    values = {"values": unsigned(p.key_bits)}  # rows of V to keep; 0: all
    listed = {"query": unsigned((p.max_queries - 1).bit_length() or 1)}  # in memory
    planes = {
        "progressive": unsigned(1),  # it may be computed again, with the second plane of K
        "again": unsigned(1),  # and this is that time
        "place": range(p.held_beats),  # of its first beat where rows wait for each other
        "segment": range(p.held_segments),  # of its query in the query store
    }
    demand = {"demand": unsigned(1)}  # V is read when the row is known to keep it
    slices = {
        "wide": unsigned(1),  # Q and K have 12 bits
        "relative": unsigned(1),  # thresholds are below the row's maximum
        "pin_first": unsigned(p.key_bits),  # so many of the first keys are kept,
        "pin_newest": unsigned(p.key_bits),  # so many of the last that it sees,
        "own": unsigned(p.key_bits),  # and this one; none has the highest number
        **({"planar": unsigned(1)} if p.slice_demand else {}),  # K lies in planes of slices
    }
    return data.StructLayout(
        {
            "parts": unsigned(p.part_bits),
            "keys": unsigned(p.key_bits),  # keys visible to the row: positions 0..keys-1
            "key_mask": unsigned(1),  # the key mask in ``bank`` applies
            "bank": unsigned(p.bank_bits),
            "write": unsigned(1),  # 0: a masked query; the row is computed on no key, not written
            "last_of_head": unsigned(1),
            "last_of_kv": unsigned(1),  # last row that uses the K and V rows on chip
            "last_of_job": unsigned(1),
            **(values if p.value_lanes else {}),
            **(listed if p.token_lanes else {}),
            **(planes if p.progressive else {}),
            **(demand if p.value_demand else {}),
            **(slices if p.slice_units else {}),
        }
    )


def output_row_layout(p: CoreParams) -> data.StructLayout:
    """What the writer knows of a row."""
    return data.StructLayout(
        {
            "parts": unsigned(p.part_bits),
            "o_address": unsigned(p.addr_width),  # of the row in linear memory
            "write": unsigned(1),
            "last_of_job": unsigned(1),
        }
    )


def product_beat_layout(p: CoreParams) -> data.StructLayout:
    """Products of a row's query with ``groups`` keys, or with a plane of them."""
    return _beat_of_scores(p, p.product_bits)


def score_beat_layout(p: CoreParams) -> data.StructLayout:
    """Scores of ``groups`` keys; lane i of beat c of a row is key position ``groups * c + i``."""
    return _beat_of_scores(p, p.score_bits)


def _beat_of_scores(p: CoreParams, bits: int) -> data.StructLayout:
    return data.StructLayout(
        {
            "score": data.ArrayLayout(signed(bits), p.groups),
            "valid": unsigned(p.groups),
            "last": unsigned(1),  # last beat of the row
        }
    )


def row_beat_layout(p: CoreParams) -> data.StructLayout:
    """Scores of ``groups`` keys of a row whose maximum is known."""
    return data.StructLayout(
        {
            "score": data.ArrayLayout(signed(p.score_bits), p.groups),
            "valid": unsigned(p.groups),
            "maximum": signed(p.score_bits),  # over the valid lanes of all beats of the row
            "last": unsigned(1),  # last beat of the row; every row has one, if only without a key
        }
    )


def term_beat_layout(p: CoreParams) -> data.StructLayout:
    """Exponential terms of ``groups`` keys: value = mantissa * 2**-(16 + 5 * class)."""
    return data.StructLayout(
        {
            "term": data.ArrayLayout(
                data.StructLayout(
                    {
                        "mantissa": unsigned(p.mantissa_bits),  # 0 where the lane is not valid
                        "exponent_class": unsigned(p.class_bits),
                    }
                ),
                p.groups,
            ),
            "last": unsigned(1),
        }
    )


def statistics_layout(p: CoreParams) -> data.StructLayout:
    """Row statistics after the softmax: 1 / sum = mantissa * 2**-(16 + exponent)."""
    return data.StructLayout(
        {
            "mantissa": unsigned(p.recip_bits),  # 0 for an empty row
            "exponent": unsigned(p.exponent_bits),
            "empty": unsigned(1),
        }
    )


def probability_beat_layout(p: CoreParams) -> data.StructLayout:
    """Probabilities of ``groups`` keys, UQ0.``p_bits``."""
    return data.StructLayout(
        {
            "p": data.ArrayLayout(unsigned(p.p_bits), p.groups),
            "last": unsigned(1),
        }
    )


def accumulator_layout(p: CoreParams) -> data.StructLayout:
    """``output_lanes`` sums of prob·V, of consecutive elements of the output row, ascending."""
    return data.StructLayout(
        {
            "element": data.ArrayLayout(signed(p.acc_bits), p.output_lanes),
            "last": unsigned(1),  # last of the row
        }
    )


def output_layout(p: CoreParams) -> data.StructLayout:
    """``output_lanes`` int16 elements of an output row, ascending."""
    return data.StructLayout(
        {
            "element": data.ArrayLayout(signed(16), p.output_lanes),
            "last": unsigned(1),  # last of the row
        }
    )


def work_members(p: CoreParams) -> dict[str, Member]:
    """The work of a job, from the job control to the datapath: regions to fetch, head by head;
    where the outputs of each head go (nothing but the address counts); scale of each head; rows to
    compute."""
    region = stream.Signature(region_layout(p))
    return {
        "query": Out(region),
        "key": Out(region),
        "value": Out(region),
        "output": Out(region),
        "scale": Out(stream.Signature(head_layout(p))),
        "row": Out(stream.Signature(row_layout(p))),
    }
