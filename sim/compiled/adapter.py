"""The C++ that joins a model's ports to the harness, for each back end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from attnsieve.sim.compiled.ports import CorePorts

__all__ = ["Model", "block_adapter", "core_adapter", "cxxrtl_model", "verilator_model"]

# Which valid makes the other outputs of a group worth reading.
_OUTPUTS = {
    "arvalid": ("araddr", "arlen", "arsize", "arburst", "arid"),
    "awvalid": ("awaddr", "awlen", "awsize", "awburst", "awid"),
    "wvalid": ("wdata", "wstrb", "wlast"),
}
_INPUTS = {
    "rvalid": ("rdata", "rresp", "rlast", "rid"),
    "bvalid": ("bresp", "bid"),
}
_ALWAYS_OUT = ("rready", "bready")
_ALWAYS_IN = ("arready", "awready", "wready")
_LITE_OUT = ("awready", "wready", "arready", "bvalid", "bresp", "rvalid", "rresp", "rdata")
_LITE_IN = ("awvalid", "awaddr", "wvalid", "wdata", "wstrb", "arvalid", "araddr",
            "bready", "rready")  # fmt: skip

_Name = Callable[[str], str]


@dataclass(frozen=True)
class Model:
    """How C++ reaches a model of a back end.

    Parameters
    ----------
    port : callable
        Expression of a port, from its name.
    includes, rest : str
        Lines before the adapter's class, and its last members: the model and what traces it.
    """

    port: _Name
    includes: str
    rest: str


def _read(name: str, field: str, target: str) -> str:
    if field == "wdata":
        return f"load({name}, {target}.{field});"
    return f"{target}.{field} = get({name});"


def _write(name: str, field: str, source: str) -> str:
    if field == "rdata":
        return f"store({name}, {source}.{field});"
    return f"set({name}, {source}.{field});"


def _sample(ports: CorePorts, port: _Name) -> Iterator[str]:
    for c, prefix in enumerate(ports.prefixes):
        to = f"o.channel[{c}]"
        have = {n.removeprefix(prefix) for n in ports.ports if n.startswith(prefix)}
        for field in _ALWAYS_OUT:
            if field in have:
                yield _read(port(prefix + field), field, to)
        for valid, fields in _OUTPUTS.items():
            if valid in have:
                yield _read(port(prefix + valid), valid, to)
                inner = " ".join(_read(port(prefix + f), f, to) for f in fields if f in have)
                yield f"if ({to}.{valid}) {{ {inner} }}"
    for field in _LITE_OUT:
        yield f"o.lite.{field} = get({port('s_axil_' + field)});"
    yield f"o.irq = get({port('irq')});"


def _drive(ports: CorePorts, port: _Name) -> Iterator[str]:
    yield f"set({port('rst')}, i.rst);"
    for c, prefix in enumerate(ports.prefixes):
        source = f"i.channel[{c}]"
        have = {n.removeprefix(prefix) for n in ports.ports if n.startswith(prefix)}
        for field in _ALWAYS_IN:
            if field in have:
                yield _write(port(prefix + field), field, source)
        for valid, fields in _INPUTS.items():
            if valid in have:
                yield _write(port(prefix + valid), valid, source)
                inner = " ".join(_write(port(prefix + f), f, source) for f in fields if f in have)
                yield f"if ({source}.{valid}) {{ {inner} }}"
    for field in _LITE_IN:
        if f"s_axil_{field}" in ports.ports:
            yield f"set({port('s_axil_' + field)}, i.lite.{field});"


_TEXT = """\
#pragma once
#include "pins.h"
{includes}

namespace attnsieve {{

class Core {{
 public:
  static constexpr unsigned CHANNELS = {channels};
  static constexpr unsigned BEAT_BYTES = {beat_bytes};

  void drive(const Inputs& i) {{
    set({clk}, 0);
    {drive}
  }}

  void sample(Outputs& o) {{
    eval();
    {sample}
  }}

  void rise() {{
    set({clk}, 1);
    eval();
  }}

{rest}
}};

}}  // namespace attnsieve
"""


def core_adapter(ports: CorePorts, model: Model) -> str:
    """Adapter of a core, for ``harness.cc``."""
    return _TEXT.format(
        includes=model.includes,
        channels=ports.channels,
        beat_bytes=ports.beat_bytes,
        clk=model.port("clk"),
        drive="\n    ".join(_drive(ports, model.port)),
        sample="\n    ".join(_sample(ports, model.port)),
        rest=model.rest,
    )


_BLOCK = """\
#pragma once
#include <cstdint>

{includes}

namespace attnsieve {{

class Core {{
 public:
  static constexpr unsigned INPUTS = {inputs};
  static constexpr unsigned OUTPUTS = {outputs};

  void clock(bool high) {{ set({clk}, high); }}
  void reset(bool on) {{ set({rst}, on); }}
  void settle() {{ eval(); }}

  void give(unsigned stream, bool valid, const uint32_t* payload) {{
    switch (stream) {{
      {give}
    }}
  }}

  bool taken(unsigned stream) const {{
    switch (stream) {{
      {taken}
    }}
    return false;
  }}

  void accept(unsigned stream, bool ready) {{
    switch (stream) {{
      {accept}
    }}
  }}

  bool offered(unsigned stream, uint32_t* payload) const {{
    switch (stream) {{
      {offered}
    }}
    return false;
  }}

{rest}
}};

}}  // namespace attnsieve
"""


def block_adapter(inputs: Sequence[str], outputs: Sequence[str], model: Model) -> str:
    """Adapter of a block whose ports are streams, for ``block.cc``."""
    port = model.port

    def cases(streams: Sequence[str], text: str) -> str:
        made = []
        for number, name in enumerate(streams):
            ports = {part: port(f"{name}__{part}") for part in ("valid", "ready", "payload")}
            made.append(f"case {number}: " + text.format(**ports))
        return "\n      ".join(made)

    return _BLOCK.format(
        includes=model.includes,
        inputs=len(inputs),
        outputs=len(outputs),
        clk=port("clk"),
        rst=port("rst"),
        give=cases(inputs, "set({valid}, valid); if (valid) store({payload}, payload); return;"),
        taken=cases(inputs, "return get({ready});"),
        accept=cases(outputs, "set({ready}, ready); return;"),
        offered=cases(outputs, "load({payload}, payload); return get({valid});"),
        rest=model.rest,
    )


_VERILATOR = """\
  bool trace(const char*) { return false; }
  void trace_close() {}

 private:
  VerilatedContext context_;
  Vcore dut_{&context_};
  void eval() { dut_.eval(); }
"""

_VERILATOR_TRACE = """\
  Core() { context_.traceEverOn(true); }

  bool trace(const char* path) {
    if (!vcd_) {
      vcd_ = std::make_unique<VerilatedVcdC>();
      dut_.trace(vcd_.get(), 99);
    }
    vcd_->open(path);
    return vcd_->isOpen();
  }
  void trace_close() {
    if (vcd_) vcd_->close();
  }

 private:
  VerilatedContext context_;
  Vcore dut_{&context_};
  std::unique_ptr<VerilatedVcdC> vcd_;
  uint64_t time_ = 0;
  void eval() {
    dut_.eval();
    if (vcd_) vcd_->dump(time_++);
  }
"""


def verilator_model(*, trace: bool) -> Model:
    """A Verilator model with prefix ``Vcore``."""
    includes = '#include <memory>\n\n#include "Vcore.h"\n#include "verilator_pins.h"'
    if trace:
        includes += '\n#include "verilated_vcd_c.h"'
    rest = _VERILATOR_TRACE if trace else _VERILATOR
    return Model(lambda n: f"dut_.{n.replace('__', '___05F')}", includes, rest)


_CXXRTL = """\
  bool trace(const char*) {{ return false; }}
  void trace_close() {{}}

 private:
  cxxrtl_design::{top} dut_;
  void eval() {{ dut_.step(); }}
"""

_CXXRTL_TRACE = """\
  bool trace(const char* path) {{
    if (!names_) {{
      names_ = true;
      cxxrtl::debug_items items;
      dut_.debug_info(&items, nullptr, "");
      vcd_.timescale(1, "ns");
      vcd_.add_without_memories(items);
    }}
    file_.open(path);
    return file_.is_open();
  }}
  void trace_close() {{ file_.close(); }}

 private:
  cxxrtl_design::{top} dut_;
  cxxrtl::vcd_writer vcd_;
  std::ofstream file_;
  bool names_ = false;
  uint64_t time_ = 0;
  void eval() {{
    dut_.step();
    if (!file_.is_open()) return;
    vcd_.sample(time_++);
    file_ << vcd_.buffer;
    vcd_.buffer.clear();
  }}
"""


def _mangle(name: str) -> str:
    return "p_" + name.replace("_", "__")


def cxxrtl_model(top: str, *, trace: bool) -> Model:
    """A CXXRTL model of module ``top``."""
    includes = '#include <fstream>\n\n#include "core.h"\n#include "cxxrtl_pins.h"'
    if trace:
        includes += "\n#include <cxxrtl/cxxrtl_vcd.h>"
    rest = (_CXXRTL_TRACE if trace else _CXXRTL).format(top=_mangle(top))
    return Model(lambda n: f"dut_.{_mangle(n)}", includes, rest)
