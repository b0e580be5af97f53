"""Shape and scales of one attention job, as the golden models see it."""

from __future__ import annotations

from dataclasses import dataclass

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.errors import InputError

__all__ = ["UNPINNED", "WIDTHS", "Job", "Pins", "Scoring"]

#: Widths in bits that K (or its first plane) and V may have; 0: that of the job.
WIDTHS = (0, 4, 6, 8, 10, 12)


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What a job does with the scores of tokens and heads, on a core that has them.

    Parameters
    ----------
    clear : bool
        They are zero before the job.
    keep : int or None
        So many tokens are selected at the end; None: nothing is.
    heads : int
        So many heads are selected with them.
    first, newest : int
        Pins: so many of the first and of the last tokens count as the most important ones.
    decay : int
        With a selection: scores then lose their ``2**-decay``-th; 0: nothing.
    age : bool
        Tokens are compared by their scores over the number of queries that saw them, which is
        ``keys - max(token, age_base)``, and one at least.
    age_base : int
        The first token that not all queries saw.
    """

    clear: bool = True
    keep: int | None = None
    heads: int = 64
    first: int = 0
    newest: int = 0
    decay: int = 0
    age: bool = False
    age_base: int = 0

    def __post_init__(self) -> None:
        for name in ("keep", "heads", "first", "newest", "decay", "age_base"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1 << 16:
                raise InputError(f"{name} must be in 0..65535, not {value!r}")
        if self.decay > 31:
            raise InputError(f"decay must be in 0..31, not {self.decay!r}")


@dataclass(frozen=True, kw_only=True)
class Pins:
    """Keys that each row keeps whatever its threshold says, if no mask hides them.

    Parameters
    ----------
    first, newest : int
        So many of the first keys, and of the last that the row sees.
    own : bool
        The key at the query's position: the last one that it sees of a causal job, the one with
        its number otherwise.
    """

    first: int = 0
    newest: int = 0
    own: bool = False

    def __post_init__(self) -> None:
        for name in ("first", "newest"):
            if not 0 <= getattr(self, name) < 1 << 16:
                raise InputError(f"pin_{name} must be in 0..65535, not {getattr(self, name)!r}")


UNPINNED = Pins()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attention layer of integers.

    Parameters
    ----------
    heads, kv_heads : int
        Query heads, and the KV heads that groups of them share; ``kv_heads`` divides ``heads``.
    queries, keys : int
        Rows of Q, and of K and V, per head.
    head_dim : int
        Elements of a row, a multiple of 16.
    bits : int
        Operand width: 8 or 12; that of Q.
    causal : bool
        Query i sees keys 0 … i + keys − queries.
    scales : tuple of (mantissa, shift)
        One pair per query head; see `attnsieve.sim.golden.quantise.scale_pair`.
    values : int
        Rows of V that each row keeps, those of its largest terms; 0: all.
    scoring : Scoring
        What becomes of the scores of tokens and heads.
    pruned_heads : tuple of int
        Query heads that are left out; not all of them.
    weights : tuple of int
        What each head's outputs count in its score, in units of 1/1024; empty: 1023 each.
    key_bits, value_bits : int
        Width of K, of its first plane if it has two, and of V; 0: ``bits``.
    threshold : int
        UQ0.16. K has a second plane, and a row whose largest probability is less is computed again
        with both; 0: K has one plane.
    demand : bool
        Rows of V are read once a row keeps them.
    planar : bool
        K lies in planes of slices, each of which is read while a row needs it.
    thresholds : tuple of int
        The smallest score that each head keeps, on a core that compares them; empty: all.
    relative : bool
        Thresholds are how far below its row's largest a score is kept; less than nothing counts as
        nothing.
    pins : Pins
        Keys that are kept, on such a core.
    """

    heads: int
    kv_heads: int
    queries: int
    keys: int
    head_dim: int
    bits: int
    causal: bool = False
    scales: tuple[tuple[int, int], ...]
    values: int = 0
    scoring: Scoring = Scoring()
    pruned_heads: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()
    key_bits: int = 0
    value_bits: int = 0
    threshold: int = 0
    demand: bool = False
    planar: bool = False
    thresholds: tuple[int, ...] = ()
    relative: bool = False
    pins: Pins = UNPINNED

    def __post_init__(self) -> None:
        for name in ("heads", "kv_heads", "queries", "keys", "head_dim"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if self.heads % self.kv_heads:
            raise InputError(f"kv_heads must divide heads ({self.heads}), not {self.kv_heads!r}")
        if self.head_dim % 16:
            raise InputError(f"head_dim must be a multiple of 16, not {self.head_dim!r}")
        if self.bits not in (8, 12):
            raise InputError(f"bits must be 8 or 12, not {self.bits!r}")
        if self.causal and self.queries > self.keys:
            raise InputError(
                f"queries of a causal job must be at most keys ({self.keys}), not {self.queries!r}"
            )
        for name in ("key_bits", "value_bits"):
            if getattr(self, name) not in WIDTHS:
                known = ", ".join(map(str, WIDTHS))
                raise InputError(f"{name} must be one of {known}, not {getattr(self, name)!r}")
        if not 0 <= self.threshold < 1 << 16:
            raise InputError(f"threshold must be in 0..65535, not {self.threshold!r}")
        if self.values < 0:
            raise InputError(f"values must not be negative, not {self.values!r}")
        if any(not 0 <= head < self.heads for head in self.pruned_heads):
            raise InputError(f"pruned_heads must be in 0..{self.heads - 1}")
        if len(set(self.pruned_heads)) == self.heads:
            raise InputError("pruned_heads must leave a head, not name all")
        if self.weights and len(self.weights) != self.heads:
            raise InputError(f"weights must be one per head ({self.heads}), or none")
        if self.thresholds and len(self.thresholds) != self.heads:
            raise InputError(f"thresholds must be one per head ({self.heads}), or none")
        if self.relative and not self.thresholds:
            raise InputError("thresholds must be given, one per head, in a relative job")
        if any(not -(1 << 31) <= threshold < 1 << 31 for threshold in self.thresholds):
            raise InputError("thresholds must be in -2147483648..2147483647")
        if len(self.scales) != self.heads:
            raise InputError(f"scales must be one per head ({self.heads}), not {len(self.scales)}")
        for mantissa, shift in self.scales:
            if not 1 << 15 <= mantissa < 1 << 16:
                raise InputError(f"scale mantissa must be in 32768..65535, not {mantissa!r}")
            if not 0 <= shift <= 63:
                raise InputError(f"scale shift must be in 0..63, not {shift!r}")

    @property
    def alive(self) -> tuple[bool, ...]:
        """Which query heads live."""
        return tuple(head not in self.pruned_heads for head in range(self.heads))

    @property
    def alive_kv(self) -> tuple[bool, ...]:
        """Which KV heads live: those of which a query head does."""
        groups = range(0, self.heads, self.group)
        return tuple(any(self.alive[first : first + self.group]) for first in groups)

    @property
    def group(self) -> int:
        """Query heads that share a KV head."""
        return self.heads // self.kv_heads

    @property
    def progressive(self) -> bool:
        """Whether K has a second plane, for the rows that need it."""
        return self.threshold > 0

    def threshold_of(self, params: CoreParams, head: int) -> int:
        """The threshold of a head as the core has it, within a score's range: the smallest score
        that is kept, or the distance from the largest."""
        end = 1 << params.threshold_bits - 1
        if self.relative:
            return min(max(self.thresholds[head], 0), end - 1)
        return min(max(self.thresholds[head], -end), end - 1) if self.thresholds else -end

    @property
    def key_width(self) -> int:
        """Bits of K in memory, of its first plane if it has two."""
        return self.key_bits or self.bits

    @property
    def value_width(self) -> int:
        """Bits of V in memory."""
        return self.value_bits or self.bits

    def visible(self, query: int) -> int:
        """Keys that a query's row spans, before the key mask."""
        return query + 1 + self.keys - self.queries if self.causal else self.keys

    def check(self, params: CoreParams) -> None:
        """Raise InputError if the core is too small for the job."""
        for name, value, limit in (
            ("heads", self.heads, params.max_heads),
            ("queries", self.queries, params.max_queries),
            ("keys", self.keys, params.max_keys),
            ("head_dim", self.head_dim, params.max_head_dim),
            ("bits", self.bits, params.operand_bits),
        ):
            if value > limit:
                raise InputError(f"{name} must be at most {limit} on this core, not {value}")
        if self.pruned_heads and not params.token_lanes:
            raise InputError("pruned_heads must be none on a core that prunes none (token_lanes 0)")
        if self.thresholds and not params.threshold_bits:
            raise InputError("thresholds must be none on a core that compares none (slice_units 0)")
        if self.pins != UNPINNED and not params.threshold_bits:
            raise InputError("pins must be none on a core without thresholds (slice_units 0)")
        if self.values and not params.value_lanes:
            raise InputError("values must be 0 on a core that selects none (value_lanes 0)")
        self._check_widths(params)
        self._check_waiting(params)
        lines = params.row_lines(self.keys, self.head_dim)
        if lines > params.kv_lines:
            raise InputError(
                f"keys times head_dim must be at most {params.kv_lines * params.lanes} "
                f"(two buffers) on this core, not {self.keys} * {self.head_dim}"
            )

    def _check_widths(self, params: CoreParams) -> None:
        for name in ("key_bits", "value_bits", "threshold"):
            value = getattr(self, name)
            if value and not params.progressive:
                raise InputError(f"{name} must be 0 on a core without progressive, not {value}")
        if self.demand and not params.value_demand:
            raise InputError("demand must be false on a core without value_demand")
        if self.planar and not params.slice_demand:
            raise InputError("planar must be false on a core without slice_demand")
        if self.planar and self.relative:
            raise InputError("relative must be false in a job with planar: its rows have no parts")

    def _check_waiting(self, params: CoreParams) -> None:
        """Rows of a KV head wait for each other before its second plane, or its V, is read."""
        name = "threshold" if self.progressive else "demand" if self.demand else "planar"
        if not (self.progressive or self.demand or self.planar):
            return
        if self.queries != 1:
            raise InputError(f"queries of a job with {name} must be 1, not {self.queries}")
        if self.planar and self.group > params.slice_rows:
            raise InputError(
                f"heads per KV head must be at most {params.slice_rows} on this core in a job with "
                f"planar, not {self.group}"
            )
        if not (self.progressive or self.demand):
            return
        beats = max(1, -(-self.keys // params.groups))
        if self.group * beats > params.held_beats:
            raise InputError(
                f"heads per KV head times beats of keys must be at most {params.held_beats} on "
                f"this core in a job with {name}, not {self.group} * {beats}"
            )
        parts = params.parts(self.head_dim)
        if self.progressive and self.group * parts > params.held_segments:
            raise InputError(
                f"heads per KV head times segments of a row must be at most "
                f"{params.held_segments} on this core in a job with threshold, "
                f"not {self.group} * {parts}"
            )
