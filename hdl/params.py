"""The one parameter object of a core: checked once, shared by hardware, golden models and tools.

Widths and formats are derived here and nowhere else. No arithmetic on data lives here: hardware
and golden models each have their own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import gcd

from attnsieve.hdl.lib.checks import check_int, check_power_of_two

__all__ = ["CoreParams", "check_params"]


def _ceil_log2(n: int) -> int:
    return (n - 1).bit_length()


@dataclass(frozen=True, kw_only=True)
class CoreParams:
    """Build-time parameters of a core.

    Parameters
    ----------
    lanes : int
        Multipliers of each of the two arrays (Q·K and prob·V).
    max_head_dim : int
        Largest head dimension, a multiple of 16 up to 128.
    max_keys, max_queries : int
        Most keys and queries of a head.
    max_heads : int
        Most query heads of a job.
    operand_bits : int
        Widest operand mode: 8, or 12 (then 8 is a run-time mode too).
    buffer_elements : int
        Elements of one K buffer. Two such buffers form the K ring, two more the V ring.
    softmax_lanes is not a parameter: it is ``groups``, one lane per 16-lane segment.
    output_lanes : int
        Output elements that are normalised per cycle.
    p_bits : int
        Fraction bits of the probabilities that observers see.
    channels : int
        AXI4 masters, a power of two. Memory interleaves over them (``unit_bytes``).
    data_width : int
        Data bits of each AXI4 master: 32 to 512.
    addr_width : int
        Address bits of the linear memory: 20 to 64.
    burst_beats : int
        Most beats of a read burst.
    outstanding_beats : int
        Read beats that a channel may have in flight; the depth of its data queue.
    queue_depth : int
        Jobs that can wait behind the running one.
    value_lanes : int
        Parallelism of the local value top-k, a multiple of ``groups``; 0: values are not selected.
    token_lanes : int
        Parallelism of the token top-k: keys and queries are fetched by lists; 0: all are fetched.
    top_k : str
        Engine of both: ``"radix"``, or ``"quick"``, that of the paper.
    progressive : bool
        K and V may be narrower than Q, 4 to 12 bits, and K may have a plane of `lsb_bits` more that
        is read for the rows that need it; needs token_lanes and operand_bits = 12.
    value_demand : bool
        Rows of V may wait to be read until it is known that they are kept; needs token_lanes or
        slice_units.
    slice_units : int
        Bit-serial dot-product units, which score keys in place of the Q·K array and stop as soon as
        a key is known to be below its head's threshold; 0: the array does.
    slice_bits : int
        Bits of K that such a unit takes per cycle: 1, 2 or 4.
    slice_dealing : str
        ``"dynamic"``: any unit that is free takes the next key; or ``"static"``, the paper's: key j
        stays with unit ``j mod slice_units``.
    slice_words : str
        ``"twos_complement"``: words of K are cut as they are; or ``"sign_magnitude"``, the paper's:
        as a sign and a magnitude.
    slice_rows : int
        Rows that these units may work on at once, a power of two: 2 to 8.
    slice_demand : bool
        K may lie in planes of slices, of which each is read only while a row needs it; needs
        slice_units and value_demand.
    lut_ram : bool
        Whether the target has small asynchronous-read RAMs. If not, small memories that are read
        synchronously are left to the synthesis tool.
    """

    lanes: int = 64
    max_head_dim: int = 128
    max_keys: int = 1024
    max_queries: int = 1024
    max_heads: int = 32
    operand_bits: int = 12
    buffer_elements: int = 65536
    output_lanes: int = 4
    p_bits: int = 12
    channels: int = 2
    data_width: int = 256
    addr_width: int = 32
    burst_beats: int = 16
    outstanding_beats: int = 64
    queue_depth: int = 2
    value_lanes: int = 0
    token_lanes: int = 0
    top_k: str = "radix"
    progressive: bool = False
    value_demand: bool = False
    slice_units: int = 0
    slice_bits: int = 2
    slice_dealing: str = "dynamic"
    slice_words: str = "twos_complement"
    slice_rows: int = 8
    slice_demand: bool = False
    lut_ram: bool = True

    def __post_init__(self) -> None:
        check_power_of_two("lanes", self.lanes, 1, 1024)
        check_int("max_head_dim", self.max_head_dim, 16, 128)
        if self.max_head_dim % 16:
            raise ValueError(f"max_head_dim must be a multiple of 16, not {self.max_head_dim!r}")
        check_int("max_keys", self.max_keys, 1, 4096)
        check_int("max_queries", self.max_queries, 1, 4096)
        check_int("max_heads", self.max_heads, 1, 64)
        check_int("operand_bits", self.operand_bits, 8, 12)
        if self.operand_bits not in (8, 12):
            raise ValueError(f"operand_bits must be 8 or 12, not {self.operand_bits!r}")
        check_int("buffer_elements", self.buffer_elements, self.max_head_dim, 1 << 20)
        if self.buffer_elements % self.lanes:
            raise ValueError(
                f"buffer_elements must be a multiple of lanes ({self.lanes}), "
                f"not {self.buffer_elements!r}"
            )
        check_power_of_two("output_lanes", self.output_lanes, 1, self.segment)
        check_int("p_bits", self.p_bits, 12, 16)
        check_power_of_two("channels", self.channels, 1, 16)
        check_power_of_two("data_width", self.data_width, 32, 512)
        check_int("addr_width", self.addr_width, 20, 64)
        check_int("burst_beats", self.burst_beats, 1, 256)
        check_int("outstanding_beats", self.outstanding_beats, 2, 1024)
        check_int("queue_depth", self.queue_depth, 1, 8)
        check_int("value_lanes", self.value_lanes, 0, 32)
        if self.value_lanes % self.groups:
            raise ValueError(
                f"value_lanes must be 0 or a multiple of lanes / 16 ({self.groups}), "
                f"not {self.value_lanes!r}"
            )
        check_int("token_lanes", self.token_lanes, 0, 32)
        if self.token_lanes:
            least = min(self.groups, 2 * self.channels)
            check_power_of_two("token_lanes", self.token_lanes, least, 32)
            if not self.value_lanes:
                raise ValueError("value_lanes must not be 0 on a core with token_lanes")
        if self.top_k not in ("radix", "quick"):
            raise ValueError(f'top_k must be "radix" or "quick", not {self.top_k!r}')
        for name in ("progressive", "value_demand", "slice_demand", "lut_ram"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise TypeError(f"{name} must be true or false, not {value!r}")
        check_int("slice_units", self.slice_units, 0, 16)
        check_int("slice_bits", self.slice_bits, 1)
        if self.slice_bits not in (1, 2, 4):
            raise ValueError(f"slice_bits must be 1, 2 or 4, not {self.slice_bits!r}")
        if self.slice_dealing not in ("dynamic", "static"):
            raise ValueError(
                f'slice_dealing must be "dynamic" or "static", not {self.slice_dealing!r}'
            )
        if self.slice_words not in ("twos_complement", "sign_magnitude"):
            raise ValueError(
                f'slice_words must be "twos_complement" or "sign_magnitude", '
                f"not {self.slice_words!r}"
            )
        check_power_of_two("slice_rows", self.slice_rows, 2, 8)
        if (self.prunes or self.slice_units) and not self.lut_ram:
            raise ValueError("lut_ram must be true on a core that prunes, not false")
        if self.progressive and not self.token_lanes:
            raise ValueError("token_lanes must not be 0 on a core with progressive")
        if self.value_demand and not (self.token_lanes or self.slice_units):
            raise ValueError(
                "token_lanes or slice_units must not be 0 on a core with value_demand"
            )
        if self.slice_demand and not (self.slice_units and self.value_demand):
            raise ValueError(
                "slice_units must not be 0, and value_demand must be true, on a core with "
                "slice_demand"
            )
        if self.slice_demand and self.slice_words != "twos_complement":
            raise ValueError(
                f'slice_words must be "twos_complement" on a core with slice_demand, '
                f"not {self.slice_words!r}"
            )
        if self.progressive and self.operand_bits != 12:
            raise ValueError(
                f"operand_bits must be 12 on a core with progressive, not {self.operand_bits!r}"
            )
        if self.progressive and self.wide_bytes < self.lanes:
            raise ValueError(
                f"channels and data_width must give units of lanes ({self.lanes}) bytes in all or "
                f"more on a core with progressive, not {self.wide_bytes}"
            )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of all parameters."""
        return tuple(f.name for f in fields(cls))

    def as_dict(self) -> dict[str, int | bool | str]:
        """All parameters by name."""
        return asdict(self)

    # -- array geometry ---------------------------------------------------------------------

    @property
    def segment(self) -> int:
        """Lanes of a segment, the unit in which rows are laid on the array."""
        return min(16, self.lanes)

    @property
    def groups(self) -> int:
        """Segments side by side on the array; also lanes of the softmax."""
        return self.lanes // self.segment

    @property
    def max_parts(self) -> int:
        """Segments of the longest row."""
        return self.max_head_dim // self.segment

    @property
    def head_dims(self) -> tuple[int, ...]:
        """Head dimensions that a job may have."""
        return tuple(range(16, self.max_head_dim + 1, 16))

    def parts(self, head_dim: int) -> int:
        """Segments of a row of ``head_dim`` elements."""
        return head_dim // self.segment

    def parallel_parts(self, head_dim: int) -> int:
        """Parts of one key that prob·V multiplies side by side in a step."""
        return gcd(self.parts(head_dim), self.groups)

    def passes(self, head_dim: int) -> int:
        """Passes of prob·V over the terms of a row."""
        return self.parts(head_dim) // self.parallel_parts(head_dim)

    def row_lines(self, keys: int, head_dim: int) -> int:
        """Array-wide lines that hold ``keys`` rows laid back to back."""
        return -(-keys * self.parts(head_dim) // self.groups)

    @property
    def kv_lines(self) -> int:
        """Lines of the K ring, and of the V ring (two buffers each)."""
        return 2 * self.buffer_elements // self.lanes

    @property
    def max_beats(self) -> int:
        """Beats of ``groups`` scores in the longest row."""
        return -(-self.max_keys // self.groups)

    # -- number formats ---------------------------------------------------------------------

    #: Bits of the second plane of K.
    lsb_bits = 4

    @property
    def product_bits(self) -> int:
        """Signed sum of ``max_head_dim`` products of two operands, any operand bits."""
        return 2 * self.operand_bits + _ceil_log2(self.max_head_dim)

    @property
    def score_bits(self) -> int:
        """Signed score: a sum of products, with a second plane of K of two of them."""
        return self.product_bits + (self.lsb_bits if self.progressive else 0)

    #: Scale of a head: mantissa in [2**15, 2**16), and shift; see ``argument_fraction``.
    scale_mantissa_bits = 16
    scale_shift_bits = 6
    #: log2-domain argument of the exponential: UQ5.13.
    argument_integer = 5
    argument_fraction = 13
    #: Exponential table: 2**7 intervals, linear in between.
    exp_index_bits = 7
    #: A term has mantissa UQ1.16 and a class k: value = mantissa * 2**-(16 + 5 k).
    term_fraction = 16
    class_step = 5
    #: Reciprocal table: 2**8 intervals, 10 bits in between; mantissa UQ1.16.
    recip_index_bits = 8
    recip_offset_bits = 10
    recip_fraction = 16
    #: Fraction bits of the prob·V accumulators.
    acc_fraction = 20

    @property
    def mantissa_bits(self) -> int:
        """Bits of a term mantissa (UQ1.16, at most 2**16)."""
        return self.term_fraction + 1

    @property
    def max_class(self) -> int:
        """Largest term class: sums then have >= p_bits + log2(max_keys) + 4 fraction bits."""
        need = self.p_bits + _ceil_log2(self.max_keys) + 4 - self.term_fraction
        return max(1, -(-need // self.class_step))

    @property
    def class_bits(self) -> int:
        """Bits of a term class."""
        return self.max_class.bit_length()

    @property
    def sum_fraction(self) -> int:
        """Fraction bits of a row's sum of terms, exact for every class."""
        return self.term_fraction + self.class_step * self.max_class

    @property
    def sum_bits(self) -> int:
        """Unsigned row sum: at most ``max_keys`` terms of at most one."""
        return self.sum_fraction + _ceil_log2(self.max_keys) + 1

    @property
    def exponent_bits(self) -> int:
        """Bits of floor(log2(sum)), 0..log2(max_keys)."""
        return max(1, _ceil_log2(self.max_keys).bit_length())

    @property
    def recip_bits(self) -> int:
        """Bits of a reciprocal mantissa (UQ1.16, at most 2**16)."""
        return self.recip_fraction + 1

    @property
    def threshold_bits(self) -> int:
        """Bits of a head's threshold, signed like a score; 0 on a core that compares none."""
        return self.score_bits if self.slice_units else 0

    @property
    def prunes(self) -> bool:
        """Whether more than scores can be left out: jobs have more words then."""
        return bool(self.value_lanes or self.gathers)

    @property
    def gathers(self) -> bool:
        """Whether rows are read by lists of them; whole heads are otherwise."""
        return bool(self.token_lanes or self.value_demand)

    @property
    def acc_bits(self) -> int:
        """Signed prob·V accumulator: ``max_keys`` products of an operand and a term <= 1."""
        return self.operand_bits + self.acc_fraction + _ceil_log2(self.max_keys) + 1

    @property
    def normal_fraction(self) -> int:
        """Fraction bits of an accumulator divided by 2**exponent: an 18-bit signed word."""
        return 17 - self.operand_bits

    @property
    def operand_widths(self) -> tuple[int, ...]:
        """Widths in bits that operands may have in memory."""
        if self.progressive:
            return (4, 6, 8, 10, 12)
        return (8, 12) if self.operand_bits == 12 else (8,)

    @property
    def held_beats(self) -> int:
        """Beats of scores that rows of one KV head may have where they wait for each other: for
        the second plane of K, or for the rows of V that all of them keep."""
        return 4 * self.max_beats

    @property
    def held_segments(self) -> int:
        """Segments of queries that rows may have while they wait, a power of two."""
        return 1 << (8 * self.max_parts - 1).bit_length()

    # -- counts and memory ------------------------------------------------------------------

    @property
    def key_bits(self) -> int:
        """Bits of a count 0..max_keys."""
        return self.max_keys.bit_length()

    @property
    def query_bits(self) -> int:
        """Bits of a count 0..max_queries."""
        return self.max_queries.bit_length()

    @property
    def head_bits(self) -> int:
        """Bits of a count 0..max_heads."""
        return self.max_heads.bit_length()

    @property
    def banks(self) -> int:
        """Banks of the head table and the masks: running, queued and the one being written."""
        return self.queue_depth + 2

    @property
    def bank_bits(self) -> int:
        """Bits of a bank number."""
        return _ceil_log2(self.banks)

    @property
    def part_bits(self) -> int:
        """Bits of a count 0..max_parts."""
        return self.max_parts.bit_length()

    @property
    def beat_bytes(self) -> int:
        """Bytes of one AXI beat."""
        return self.data_width // 8

    @property
    def unit_bytes(self) -> int:
        """Bytes that lie together in one channel before the next channel follows."""
        return self.beat_bytes if self.channels == 1 else max(32, self.beat_bytes)

    @property
    def wide_bytes(self) -> int:
        """Bytes of one unit from every channel: the word that the unpacker takes."""
        return self.channels * self.unit_bytes

    @property
    def alignment(self) -> int:
        """Alignment of bases and strides in bytes."""
        return max(32, self.beat_bytes)


def check_params(params: object) -> None:
    """Raise unless ``params`` is a `CoreParams`: what a component with ``params`` does first."""
    if not isinstance(params, CoreParams):
        raise TypeError(f"Params must be a CoreParams, not {params!r}")
