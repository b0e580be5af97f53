"""The register map: one description for hardware, exported files, drivers and tests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.demand.packets import packet_params
from attnsieve.hdl.slices.slice_params import slice_params

__all__ = [
    "ADDRESS_BITS",
    "IDENTIFIER",
    "STALLS",
    "VERSION",
    "Access",
    "Field",
    "Register",
    "RegisterMap",
    "Window",
    "counters",
    "exit_counters",
    "register_map",
]

#: Address bits of the AXI4-Lite slave: the map fills 4 KB.
ADDRESS_BITS = 12
#: ``ASV1`` in ASCII, first letter in the lowest byte.
IDENTIFIER = int.from_bytes(b"ASV1", "little")
#: Major, minor, patch of the register interface.
VERSION = (0, 1, 0)

#: Why the Q·K array did not work in a cycle of a job. Exactly one holds in such a cycle.
STALLS = (
    ("stall_setup", "before the first row: checking the job, starting"),
    ("stall_query", "a row waited for its query from memory"),
    ("stall_key", "a row waited for keys from memory"),
    ("stall_output", "the stages behind did not take scores"),
    ("stall_tail", "behind the last row: softmax, prob·V and writing of what is left"),
)

_COUNTERS = (
    ("busy", "Cycles in which the Q·K array worked"),
    *((name, f"Cycles {doc}") for name, doc in STALLS),
    ("read_bytes", "Bytes of all read beats"),
    ("write_bytes", "Bytes written, by byte strobes"),
    ("rows", "Rows written"),
    ("empty_rows", "Rows that saw no key and were written as zeros"),
    ("scores", "Pairs of query and key that took part in a softmax"),
)
_VALUE_COUNTERS = (("values", "Rows of V that were multiplied, over all rows"),)
_PLANE_COUNTERS = (("recomputed", "Rows that were computed again with all bits of K"),)


def counters(params: CoreParams) -> tuple[tuple[str, str], ...]:
    """Counters of a job and what they count, in the order of their registers; a job's cycles are
    busy + all stalls."""
    values = _VALUE_COUNTERS if params.value_lanes else ()
    return (*_COUNTERS, *values, *(_PLANE_COUNTERS if params.progressive else ()))


def exit_counters(params: CoreParams) -> tuple[tuple[str, str], ...]:
    """Counters of bit-serial units, behind the others."""
    if not params.slice_units:
        return ()
    numbers = range(1, slice_params(params).slices + 1)
    exits = ((f"exits_{n}", f"Keys of which {n} slices were read") for n in numbers)
    held = "Turns in which a unit held a key that was kept, for want of room where it goes"
    return (*exits, ("queue_stalls", held))


class Access(Enum):
    """What software may do with a field.

    RO: read; writes are ignored. RW: read and write. W1C: read; writing 1 clears. PULSE: writing
    1 acts once; reads as 0. WO: write; reads as 0.
    """

    RO = "read-only"
    RW = "read-write"
    W1C = "write 1 to clear"
    PULSE = "write 1 to act"
    WO = "write-only"


@dataclass(frozen=True, kw_only=True)
class Field:
    """Bits of a register."""

    name: str
    lsb: int
    width: int
    access: Access
    doc: str
    reset: int = 0
    values: tuple[tuple[str, int], ...] = ()  # names of values, for enumerations

    @property
    def mask(self) -> int:
        """Bits of the field in its register."""
        return ((1 << self.width) - 1) << self.lsb


@dataclass(frozen=True, kw_only=True)
class Register:
    """A 32-bit register."""

    name: str
    offset: int
    doc: str
    fields: tuple[Field, ...]

    @property
    def word(self) -> int:
        """Word address."""
        return self.offset // 4

    @property
    def reset(self) -> int:
        """Value after reset."""
        return sum(f.reset << f.lsb for f in self.fields)

    def mask(self, *access: Access) -> int:
        """Bits of the fields with one of these kinds of access."""
        return sum(f.mask for f in self.fields if f.access in access)

    def field(self, name: str) -> Field:
        """The field of this name."""
        for found in self.fields:
            if found.name == name:
                return found
        raise KeyError(f"register {self.name} has no field {name!r}")


@dataclass(frozen=True, kw_only=True)
class Window:
    """A table of 32-bit words that software writes and hardware reads, and whose reads give 0; or
    one that software reads."""

    name: str
    offset: int
    words: int
    doc: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, kw_only=True)
class RegisterMap:
    """All registers and windows of a core, by ascending offset."""

    registers: tuple[Register, ...]
    windows: tuple[Window, ...]

    def __getitem__(self, name: str) -> Register:
        for found in self.registers:
            if found.name == name:
                return found
        raise KeyError(f"no register {name!r}")

    def window(self, name: str) -> Window:
        """The window of this name."""
        for found in self.windows:
            if found.name == name:
                return found
        raise KeyError(f"no window {name!r}")


def register_map(params: CoreParams) -> RegisterMap:
    """The register map of a core.

    Offsets are the same for every core; values of the capability registers, the number of words
    in the windows and the presence of the ``*_HI`` registers are its own.

    Parameters
    ----------
    params : CoreParams
        The core.
    """
    return RegisterMap(
        registers=(
            *_capabilities(params),
            *_control(params),
            *_state(params),
            *_job(params),
            *_counters(params),
            *_pruning(params),
        ),
        windows=_windows(params),
    )


def _value(access: Access, doc: str, *, width: int = 32, reset: int = 0) -> tuple[Field, ...]:
    return (Field(name="value", lsb=0, width=width, access=access, doc=doc, reset=reset),)


def _bit(name: str, lsb: int, access: Access, doc: str) -> Field:
    return Field(name=name, lsb=lsb, width=1, access=access, doc=doc)


def _capabilities(p: CoreParams) -> tuple[Register, ...]:
    major, minor, patch = VERSION
    version = tuple(
        Field(name=name, lsb=lsb, width=width, access=Access.RO, reset=value, doc=f"{name} number")
        for name, lsb, width, value in (
            ("patch", 0, 8, patch),
            ("minor", 8, 8, minor),
            ("major", 16, 16, major),
        )
    )
    constants = (
        ("LANES", p.lanes, "Multipliers of each array"),
        ("MAX_HEAD_DIM", p.max_head_dim, "Largest head dimension"),
        ("MAX_KEYS", p.max_keys, "Most keys of a head"),
        ("MAX_QUERIES", p.max_queries, "Most queries of a head"),
        ("MAX_HEADS", p.max_heads, "Most query heads of a job"),
        ("OPERAND_BITS", p.operand_bits, "Widest operand mode in bits"),
        ("CHANNELS", p.channels, "AXI4 masters that memory is interleaved over"),
        ("DATA_WIDTH", p.data_width, "Data bits of an AXI4 master"),
        ("QUEUE_DEPTH", p.queue_depth, "Jobs that can wait behind the running one"),
        ("ALIGNMENT", p.alignment, "Alignment of bases and strides in bytes"),
        ("ADDR_WIDTH", p.addr_width, "Address bits of the linear memory"),
    )
    identifier = Register(
        name="ID",
        offset=0x000,
        doc="Tells the core from others.",
        fields=_value(Access.RO, "ASV1 in ASCII", reset=IDENTIFIER),
    )
    return (
        identifier,
        Register(name="VERSION", offset=0x004, doc="Of the registers.", fields=version),
        *(
            Register(
                name=name,
                offset=0x008 + 4 * index,
                doc=f"{doc}.",
                fields=_value(Access.RO, doc, width=16, reset=value),
            )
            for index, (name, value, doc) in enumerate(constants)
        ),
    )


def _control(p: CoreParams) -> tuple[Register, ...]:
    ro, rw, w1c, pulse = Access.RO, Access.RW, Access.W1C, Access.PULSE
    return (
        Register(
            name="CTRL",
            offset=0x040,
            doc="Commands. start and abort in one write: the abort wins.",
            fields=(
                _bit("start", 0, pulse, "Start a job with the values of the job registers"),
                _bit("abort", 1, pulse, "End all started jobs with status ABORTED"),
            ),
        ),
        Register(
            name="STATUS",
            offset=0x044,
            doc="State of the core.",
            fields=(
                _bit("busy", 0, ro, "At least one job is started and not finished"),
                _bit("queue_full", 1, ro, "A start would be refused"),
                _bit("aborting", 2, ro, "An abort is being carried out"),
                _bit("done", 8, w1c, "A job has finished"),
                _bit("start_while_busy", 9, w1c, "A start was refused; no job was disturbed"),
                Field(
                    name="jobs",
                    lsb=16,
                    width=4,
                    access=ro,
                    doc="Jobs started and not finished: the running one and those queued",
                ),
            ),
        ),
        Register(
            name="RESULT",
            offset=0x048,
            doc="Of the job that finished last.",
            fields=(
                Field(
                    name="status",
                    lsb=0,
                    width=4,
                    access=ro,
                    doc="How it ended",
                    values=tuple((code.name, code.value) for code in StatusCode),
                ),
                Field(name="tag", lsb=16, width=16, access=ro, doc="Its JOB_TAG"),
            ),
        ),
        Register(
            name="IRQ_ENABLE",
            offset=0x04C,
            doc="The interrupt is high while a bit is set here and in IRQ_STATUS.",
            fields=(
                _bit("done", 0, rw, "A job has finished"),
                _bit("error", 1, rw, "A job has failed, or a start was refused"),
            ),
        ),
        Register(
            name="IRQ_STATUS",
            offset=0x050,
            doc="Causes of the interrupt.",
            fields=(
                _bit("done", 0, w1c, "A job has finished, whatever its status"),
                _bit("error", 1, w1c, "A job has failed, or a start was refused"),
            ),
        ),
        Register(
            name="WATCHDOG",
            offset=0x054,
            doc="Limit to waiting.",
            fields=_value(
                rw, "Cycles without progress that end a job with WATCHDOG; 0: never", width=24
            ),
        ),
        Register(
            name="FINISHED",
            offset=0x058,
            doc="Jobs that have finished since reset, refused and aborted ones too.",
            fields=_value(ro, "Wraps to 0", width=16),
        ),
    )


def _job(p: CoreParams) -> tuple[Register, ...]:
    """Shadow registers: they keep their values over a start. Word 0 is at 0x080."""
    rw = Access.RW
    plain = (
        ("HEADS", f"Query heads, 1 to {p.max_heads}"),
        ("KV_HEADS", "KV heads; divides HEADS"),
        ("QUERIES", f"Queries of each head, 1 to {p.max_queries}"),
        ("KEYS", f"Keys of each head, 1 to {p.max_keys}"),
        ("HEAD_DIM", f"Elements of a row, a multiple of 16 up to {p.max_head_dim}"),
    )
    pins = (
        ("PIN_FIRST", "Keys from the first that are always kept; no effect in a dense core", 16),
        ("PIN_NEWEST", "Newest keys that are always kept; no effect in a dense core", 16),
        (
            "PIN_SELF",
            "1: a query keeps the last key that it sees if causal, else that of its own number",
            1,
        ),
        ("JOB_TAG", "Free for software; comes back in RESULT", 16),
    )
    mode = (
        _bit("wide", 0, rw, "Operands of 12 bits instead of 8"),
        _bit("causal", 1, rw, "Query i sees keys 0 to i + KEYS - QUERIES"),
        _bit("key_mask", 2, rw, "Keys whose bit in KEY_MASK is 0 are not seen"),
        _bit("query_mask", 3, rw, "Rows whose bit in QUERY_MASK is 0 are not written"),
        *(
            (_bit("relative", 4, rw, "HEAD_THRESHOLD lies below the largest score of each row"),)
            if p.threshold_bits
            else ()
        ),
    )
    registers = [
        Register(name=name, offset=0x080 + 4 * n, doc=f"{doc}.", fields=_value(rw, doc, width=16))
        for n, (name, doc) in enumerate(plain)
    ]
    registers.append(Register(name="MODE", offset=0x094, doc="Options of the job.", fields=mode))
    registers += [
        Register(
            name=name, offset=0x098 + 4 * n, doc=f"{doc}.", fields=_value(rw, doc, width=width)
        )
        for n, (name, doc, width) in enumerate(pins)
    ]
    for n, (name, doc) in enumerate(_addresses()):
        low = Register(
            name=name,
            offset=0x0C0 + 8 * n,
            doc=f"{doc}; a multiple of {p.alignment} bytes.",
            fields=_value(rw, doc),
        )
        registers.append(low)
        if p.addr_width > 32:
            registers.append(
                Register(
                    name=f"{name}_HI",
                    offset=low.offset + 4,
                    doc=f"{doc}, upper bits.",
                    fields=_value(rw, f"{doc}, bits 32 and up", width=p.addr_width - 32),
                )
            )
    return tuple(registers)


def _addresses() -> list[tuple[str, str]]:
    tensors = (("Q", "query"), ("K", "KV"), ("V", "KV"), ("O", "query"))
    bases = [(f"{t}_BASE", f"Address of {t}") for t, _ in tensors]
    strides = [(f"{t}_STRIDE", f"Bytes from {head} head to {head} head of {t}")
               for t, head in tensors]
    return bases + strides


def _pruning(p: CoreParams) -> tuple[Register, ...]:
    """More shadow registers, of cores that prune. Word 32 is at 0x180."""
    plain = [
        ("KEEP_VALUES", "Rows of V that each row keeps, those of its largest terms; 0: all"),
        ("KEEP_TOKENS", "Tokens that are selected for the next job, pinned ones included"),
    ]
    registers = [
        Register(
            name=name, offset=0x180 + 4 * n, doc=f"{doc}.", fields=_value(Access.RW, doc, width=16)
        )
        for n, (name, doc) in enumerate(plain)
    ]
    if not p.token_lanes:
        return (
            *registers[: 1 if p.value_lanes else 0],
            *(_fetch(p) if p.value_demand else ()),
            *(_slice_planes(p) if p.slice_demand else ()),
        )
    return (*registers, *_scoring(p))


def _scoring(p: CoreParams) -> tuple[Register, ...]:
    """What becomes of the scores of tokens and heads; which heads live."""
    rw = Access.RW
    heads = [
        Register(
            name=name,
            offset=0x18C + 4 * n,
            doc=f"Bit i is query head {32 * n} + i: 1 is pruned. One of HEADS must not be.",
            fields=_value(rw, "Heads that are pruned"),
        )
        for n, name in enumerate(("PRUNED_HEADS", "PRUNED_HEADS_HI"))
    ]
    return (
        Register(
            name="SCORING",
            offset=0x188,
            doc="Scores of tokens and heads in this job.",
            fields=(
                _bit("clear", 0, rw, "All scores are zero before the job"),
                _bit("select", 1, rw, "Tokens and heads are selected at the end of the job"),
                _bit("candidates", 2, rw, "They are of those in CANDIDATES; else of all keys"),
                _bit("age", 3, rw, "Tokens rank by score / age, age = KEYS - max(token, age_base)"),
                Field(
                    name="decay",
                    lsb=8,
                    width=5,
                    access=rw,
                    doc="With select: scores then lose their 2^-decay-th; 0: nothing",
                ),
                Field(
                    name="age_base",
                    lsb=16,
                    width=16,
                    access=rw,
                    doc="With age: the first token that not all queries saw",
                ),
            ),
        ),
        *heads,
        Register(
            name="KEEP_HEADS",
            offset=0x194,
            doc="Heads that are selected for the next job, with SCORING.select.",
            fields=_value(rw, "Of those that live in this one", width=16),
        ),
        *(_fetch(p) if p.progressive or p.value_demand else ()),
        *(_precision(p) if p.progressive else ()),
    )


def _precision(p: CoreParams) -> tuple[Register, ...]:
    """Widths of K and V, and the second plane of K."""
    rw, lsb = Access.RW, p.lsb_bits
    widths = ", ".join(map(str, p.operand_widths))
    return (
        Register(
            name="PRECISION",
            offset=0x19C,
            doc="Widths of K and V in memory, and when K is read to its last bits.",
            fields=(
                Field(
                    name="threshold",
                    lsb=0,
                    width=16,
                    access=rw,
                    doc=f"UQ0.16. A row whose largest probability is less is computed again with "
                    f"{lsb} more bits of K; then QUERIES is 1. 0: K has no second plane",
                ),
                Field(name="key_bits", lsb=16, width=4, access=rw,
                      doc=f"Bits of K, of its first plane: {widths}; 0: as MODE.wide says"),
                Field(name="value_bits", lsb=20, width=4, access=rw,
                      doc=f"Bits of V: {widths}; 0: as MODE.wide says"),
            ),
        ),
        _k_plane(p, "a head of K to its second plane", f"{lsb} bits per element"),
    )


def _fetch(p: CoreParams) -> tuple[Register, ...]:
    doc = "Rows of V once a row keeps them; then QUERIES is 1"
    if not p.value_demand:
        doc = "No effect in a core without value_demand"
    planar = _bit("planar", 1, Access.RW, "K lies in planes of slices; then QUERIES is 1")
    return (
        Register(
            name="FETCH",
            offset=0x198,
            doc="When rows are read.",
            fields=(_bit("demand", 0, Access.RW, doc), *((planar,) if p.slice_demand else ())),
        ),
    )


def _slice_planes(p: CoreParams) -> tuple[Register, ...]:
    bits = f"{p.slice_bits} bits per element and lie {packet_params(p).row_bytes} bytes apart"
    return (_k_plane(p, "plane to plane of a head of K whose slices lie in planes", bits),)


def _k_plane(p: CoreParams, what: str, rows: str) -> Register:
    return Register(
        name="K_PLANE",
        offset=0x1A0,
        doc=f"From {what}; a multiple of {p.alignment} bytes.",
        fields=_value(Access.RW, f"Bytes; the rows of that plane have {rows}"),
    )


def _state(p: CoreParams) -> tuple[Register, ...]:
    """Scores as software saves and restores them."""
    if not p.token_lanes:
        return ()
    return (
        Register(
            name="SCORE_TOKEN",
            offset=0x05C,
            doc="Token whose score SCORE is; 0x8000 + 2 h and 0x8001 + 2 h: halves of head h's.",
            fields=_value(Access.RW, "Counts up with every access to SCORE", width=16),
        ),
        Register(
            name="SCORE",
            offset=0x060,
            doc=f"A score. Of a token: the sum of its probabilities in units of 2^-{p.p_bits}.",
            fields=_value(Access.RW, "Of token SCORE_TOKEN"),
        ),
        *(
            Register(
                name=name,
                offset=0x064 + 4 * n,
                doc=f"Bit i is query head {32 * n} + i: 1 is selected, by the last job.",
                fields=_value(Access.RO, "Heads for the next job"),
            )
            for n, name in enumerate(("NEXT_HEADS", "NEXT_HEADS_HI"))
        ),
    )


def _counters(p: CoreParams) -> tuple[Register, ...]:
    low = Register(
        name="CYCLES",
        offset=0x100,
        doc="Cycles of the job that finished last. Reading it holds CYCLES_HI.",
        fields=_value(Access.RO, "Lower half"),
    )
    high = Register(
        name="CYCLES_HI",
        offset=0x104,
        doc="Upper half of what CYCLES was when it was last read.",
        fields=_value(Access.RO, "Bits 47 to 32", width=16),
    )
    others = [
        Register(
            name=name.upper(),
            offset=0x108 + 4 * n,
            doc=f"{doc}, of the job that finished last.",
            fields=_value(Access.RO, doc),
        )
        for n, (name, doc) in enumerate(counters(p))
    ]
    exits = [
        Register(
            name=name.upper(),
            offset=0x140 + 4 * n,
            doc=f"{doc}, of the job that finished last.",
            fields=_value(Access.RO, doc),
        )
        for n, (name, doc) in enumerate(exit_counters(p))
    ]
    return (low, high, *others, *exits)


def _windows(p: CoreParams) -> tuple[Window, ...]:
    wo = Access.WO
    bits = "Bit i of word w is {0} 32 w + i: 1 is valid, 0 is masked"
    head = (
        Field(name="mantissa", lsb=0, width=p.scale_mantissa_bits, access=wo,
              doc="Scale mantissa, 2^15 to 2^16 - 1"),
        Field(name="shift", lsb=16, width=p.scale_shift_bits, access=wo, doc="Scale shift"),
        *(_weight(wo) if p.token_lanes else ()),
    )
    return (
        Window(
            name="HEAD_TABLE",
            offset=0x400,
            words=p.max_heads,
            doc="One word per query head: mantissa · 2^(-10 - shift) scales its scores.",
            fields=head,
        ),
        *(_threshold_window(p) if p.threshold_bits else ()),
        Window(
            name="KEY_MASK",
            offset=0x800,
            words=-(-p.max_keys // 32),
            doc=bits.format("key") + ". Used if MODE.key_mask is set.",
            fields=_value(wo, "32 keys"),
        ),
        Window(
            name="QUERY_MASK",
            offset=0xC00,
            words=-(-p.max_queries // 32),
            doc=bits.format("query") + ". Used if MODE.query_mask is set.",
            fields=_value(wo, "32 queries"),
        ),
        *(_token_windows(p) if p.token_lanes else ()),
    )


def _threshold_window(p: CoreParams) -> tuple[Window, ...]:
    return (
        Window(
            name="HEAD_THRESHOLD",
            offset=0x600,
            words=p.max_heads,
            doc="One signed word per query head: its smaller scores are dropped, or with "
            "MODE.relative those that are further below the largest of their row, a negative word "
            "counting as 0. What is beyond a score's range counts as its end.",
            fields=_value(Access.WO, "Smallest score that is kept, or distance"),
        ),
    )


def _weight(access: Access) -> tuple[Field, ...]:
    doc = "What the head's outputs count in its importance, in units of 1/1024"
    return (Field(name="weight", lsb=22, width=10, access=access, doc=doc),)


def _token_windows(p: CoreParams) -> tuple[Window, ...]:
    words = -(-p.max_keys // 32)
    return (
        Window(
            name="CANDIDATES",
            offset=0xA00,
            words=words,
            doc="Bit i of word w is key 32 w + i: 1 may be selected. Used if SCORING.candidates.",
            fields=_value(Access.WO, "32 keys"),
        ),
        Window(
            name="NEXT_KEYS",
            offset=0xE00,
            words=words,
            doc="Bit i of word w is key 32 w + i: 1 is selected, by the job that finished last.",
            fields=_value(Access.RO, "32 keys"),
        ),
    )
