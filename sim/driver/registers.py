"""Register writes that program and start a job."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attnsieve.hdl.control.register_map import Register, register_map
from attnsieve.sim.driver.image import JobImage

__all__ = ["RegisterWrite", "job_writes", "mask_words", "start_write"]


class RegisterWrite(NamedTuple):
    """One 32-bit write.

    Parameters
    ----------
    name : str
        Register, or window with the word's index: ``HEAD_TABLE[3]``.
    offset : int
        Byte address on the AXI4-Lite slave.
    value : int
        Word to write.
    """

    name: str
    offset: int
    value: int


def mask_words(valid: np.ndarray) -> list[int]:
    """A mask as 32-bit words: bit i of word w is position 32 w + i."""
    packed = np.packbits(np.asarray(valid, bool), bitorder="little")
    padded = np.zeros(-(-len(packed) // 4) * 4, np.uint8)
    padded[: len(packed)] = packed
    return [int(word) for word in padded.view("<u4")]


def job_writes(image: JobImage, tag: int = 0) -> list[RegisterWrite]:
    """Writes of the tables and registers of a job, in an order that may precede its start."""
    registers = register_map(image.params)
    writes = []
    tables = {
        "HEAD_TABLE": _head_words(image),
        "KEY_MASK": [] if image.key_valid is None else mask_words(image.key_valid),
        "QUERY_MASK": [] if image.query_valid is None else mask_words(image.query_valid),
    }
    if image.params.threshold_bits:
        job = image.job
        low = -(1 << 31)  # as the register has it: beyond every score
        tables["HEAD_THRESHOLD"] = [
            threshold & 0xFFFFFFFF for threshold in job.thresholds or (low,) * job.heads
        ]
    if image.candidates is not None:
        tables["CANDIDATES"] = mask_words(image.candidates)
    for name, words in tables.items():
        window = registers.window(name)
        writes += [
            RegisterWrite(f"{name}[{index}]", window.offset + 4 * index, word)
            for index, word in enumerate(words)
        ]
    return writes + _register_writes(image, tag)


def _head_words(image: JobImage) -> list[int]:
    """The head table: scales, and weights where heads have scores."""
    words = [mantissa | shift << 16 for mantissa, shift in image.job.scales]
    if not image.params.token_lanes:
        return words
    weights = image.job.weights or (1023,) * image.job.heads
    return [word | weight << 22 for word, weight in zip(words, weights, strict=True)]


def start_write(image: JobImage) -> RegisterWrite:
    """The write that starts the job."""
    control = register_map(image.params)["CTRL"]
    return RegisterWrite("CTRL", control.offset, control.field("start").mask)


def _register_writes(image: JobImage, tag: int) -> list[RegisterWrite]:
    registers = register_map(image.params)
    request = image.request
    mode = registers["MODE"]
    values = {
        name: request[name.lower()] for name in ("HEADS", "KV_HEADS", "QUERIES", "KEYS", "HEAD_DIM")
    }
    values["MODE"] = _fields(mode, request)
    values["JOB_TAG"] = tag
    if image.params.value_lanes:
        values["KEEP_VALUES"] = request["values"]
    if image.params.token_lanes:
        names = ("PIN_FIRST", "PIN_NEWEST", "KEEP_TOKENS", "KEEP_HEADS")
        values |= {name: request[name.lower()] for name in names}
        values["PRUNED_HEADS"] = request["pruned_heads"] & 0xFFFFFFFF
        values["PRUNED_HEADS_HI"] = request["pruned_heads"] >> 32
        values["SCORING"] = _fields(registers["SCORING"], request)
    if image.params.threshold_bits:
        values |= {name: request[name.lower()] for name in ("PIN_FIRST", "PIN_NEWEST", "PIN_SELF")}
    if image.params.progressive:
        values["PRECISION"] = _fields(registers["PRECISION"], request)
        values["K_PLANE"] = request["k_plane"]
    if image.params.value_demand:
        values["FETCH"] = _fields(registers["FETCH"], request)
    if image.params.slice_demand:
        values["K_PLANE"] = request["k_plane"]
    for tensor in "QKVO":
        for kind in ("BASE", "STRIDE"):
            address = request[f"{tensor}_{kind}".lower()]
            values[f"{tensor}_{kind}"] = address & 0xFFFFFFFF
            if image.params.addr_width > 32:
                values[f"{tensor}_{kind}_HI"] = address >> 32
    return [RegisterWrite(name, registers[name].offset, value) for name, value in values.items()]


def _fields(register: Register, request: dict[str, int]) -> int:
    """A register's word, of the request's fields of the same names."""
    return sum(request[field.name] << field.lsb for field in register.fields)
