// Runs a core with its memory and an AXI4-Lite master; a C interface for ctypes.
#include <memory>

#include "adapter.h"
#include "memory.h"
#include "protocol.h"

using namespace attnsieve;

namespace {

class Machine {
 public:
  Memory memory[Core::CHANNELS];
  Stalls stalls;
  Checker checker;
  uint64_t now = 0;  // cycles since reset began

  Machine() {
    std::memset(&in_, 0, sizeof in_);
    std::memset(&out_, 0, sizeof out_);
    for (unsigned c = 0; c < Core::CHANNELS; ++c) {
      memory[c].beat = Core::BEAT_BYTES;
      memory[c].channel = c;
    }
    core_.drive(in_);
    core_.sample(out_);
  }

  bool irq() const { return out_.irq; }

  void cycle() {
    core_.drive(in_);
    core_.sample(out_);
    for (unsigned c = 0; c < Core::CHANNELS; ++c) {
      checker.channel(c, out_.channel[c], in_.channel[c], now, Core::BEAT_BYTES);
      memory[c].edge(out_.channel[c], in_.channel[c], now, stalls);
    }
    checker.lite(out_.lite, in_.lite, now);
    core_.rise();
    ++now;
  }

  void reset(unsigned cycles) {
    for (unsigned c = 0; c < Core::CHANNELS; ++c) memory[c].reset(in_.channel[c]);
    checker.reset();
    now = 0;
    std::memset(&in_.lite, 0, sizeof in_.lite);
    in_.rst = 1;
    for (unsigned i = 0; i < cycles; ++i) {
      core_.drive(in_);
      core_.sample(out_);
      core_.rise();
      ++now;
    }
    in_.rst = 0;
    lite_ready();
  }

  uint64_t run(uint64_t cycles, bool until_irq) {
    for (uint64_t i = 0; i < cycles; ++i) {
      lite_ready();
      cycle();
      if (until_irq && out_.irq) return i + 1;
    }
    return cycles;
  }

  int write(uint32_t address, uint32_t data, uint32_t strobe, uint64_t limit) {
    LiteIn& lite = in_.lite;
    lite.awaddr = address;
    lite.wdata = data;
    lite.wstrb = strobe;
    lite.awvalid = lite.wvalid = 1;
    for (uint64_t i = 0; i < limit; ++i) {
      lite_ready();
      const LiteIn before = lite;
      cycle();
      if (out_.lite.awready) lite.awvalid = 0;
      if (out_.lite.wready) lite.wvalid = 0;
      if (out_.lite.bvalid && before.bready) return out_.lite.bresp;
    }
    lite.awvalid = lite.wvalid = 0;
    return -1;
  }

  int read(uint32_t address, uint32_t* data, uint64_t limit) {
    LiteIn& lite = in_.lite;
    lite.araddr = address;
    lite.arvalid = 1;
    for (uint64_t i = 0; i < limit; ++i) {
      lite_ready();
      const LiteIn before = lite;
      cycle();
      if (out_.lite.arready) lite.arvalid = 0;
      if (out_.lite.rvalid && before.rready) {
        *data = out_.lite.rdata;
        return out_.lite.rresp;
      }
    }
    lite.arvalid = 0;
    return -1;
  }

  bool trace(const char* path) { return core_.trace(path); }
  void trace_close() { core_.trace_close(); }

 private:
  Core core_;
  Inputs in_;
  Outputs out_;

  // Ready for a response unless this cycle stalls.
  void lite_ready() {
    const bool stall = stalls.hit(0, LITE, now);
    in_.lite.bready = in_.lite.rready = !stall;
  }
};

}  // namespace

extern "C" {

void* attnsieve_create() { return new Machine; }
void attnsieve_destroy(void* h) { delete static_cast<Machine*>(h); }
unsigned attnsieve_channels() { return Core::CHANNELS; }
unsigned attnsieve_beat_bytes() { return Core::BEAT_BYTES; }

void attnsieve_memory(void* h, unsigned c, uint8_t* data, uint64_t size, uint8_t* touched) {
  Memory& m = static_cast<Machine*>(h)->memory[c];
  m.data = data;
  m.size = size;
  m.touched = touched;
}

void attnsieve_timing(void* h, uint32_t latency, uint32_t bytes_per_cycle, uint32_t granule,
                      uint32_t outstanding, uint32_t write_queue) {
  for (Memory& m : static_cast<Machine*>(h)->memory)
    m.timing = {latency, bytes_per_cycle, granule, outstanding, write_queue};
}

void attnsieve_stalls(void* h, uint64_t seed, const uint32_t* thresholds, uint32_t hold) {
  Stalls& s = static_cast<Machine*>(h)->stalls;
  s.seed = seed;
  s.hold = hold;
  std::memcpy(s.threshold, thresholds, sizeof s.threshold);
}

void attnsieve_fault(void* h, unsigned c, int write, uint64_t index, unsigned response) {
  static_cast<Machine*>(h)->memory[c].faults.push_back({write != 0, index, uint8_t(response)});
}

void attnsieve_clear(void* h) {
  for (Memory& m : static_cast<Machine*>(h)->memory) {
    m.faults.clear();
    m.count = Counters{};
    m.finished_ = 0;
  }
}

void attnsieve_reset(void* h, unsigned cycles) { static_cast<Machine*>(h)->reset(cycles); }
uint64_t attnsieve_run(void* h, uint64_t cycles, int until_irq) {
  return static_cast<Machine*>(h)->run(cycles, until_irq != 0);
}
int attnsieve_write(void* h, uint32_t address, uint32_t data, uint32_t strobe, uint64_t limit) {
  return static_cast<Machine*>(h)->write(address, data, strobe, limit);
}
int attnsieve_read(void* h, uint32_t address, uint32_t* data, uint64_t limit) {
  return static_cast<Machine*>(h)->read(address, data, limit);
}
uint64_t attnsieve_cycles(void* h) { return static_cast<Machine*>(h)->now; }
int attnsieve_irq(void* h) { return static_cast<Machine*>(h)->irq(); }
int attnsieve_idle(void* h) {
  for (Memory& m : static_cast<Machine*>(h)->memory)
    if (!m.idle()) return 0;
  return 1;
}
void attnsieve_counters(void* h, unsigned c, Counters* to) {
  *to = static_cast<Machine*>(h)->memory[c].count;
}
uint64_t attnsieve_violations(void* h, char* text, unsigned size) {
  const Checker& c = static_cast<Machine*>(h)->checker;
  std::snprintf(text, size, "%s", c.first.c_str());
  return c.violations;
}
int attnsieve_trace(void* h, const char* path) { return static_cast<Machine*>(h)->trace(path); }
void attnsieve_trace_close(void* h) { static_cast<Machine*>(h)->trace_close(); }
}
