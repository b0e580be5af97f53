// The reference memory behind one AXI4 channel. sim/bench/memory.py is the same model in Python: what one
// does in a cycle, the other does in that cycle.
#pragma once
#include <cstring>
#include <deque>
#include <vector>

#include "pins.h"

namespace attnsieve {

enum Kind { AR, R, AW, W, B, LITE, KINDS };

// A number that depends on nothing but its arguments: stalls need no state and no order.
inline uint64_t mix(uint64_t seed, uint64_t stream, uint64_t cycle) {
  uint64_t z = seed + (cycle * 256 + stream) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

struct Stalls {
  uint64_t seed = 0;
  uint32_t threshold[KINDS] = {};  // of 2^32
  uint32_t hold = 0;               // a stall lasts 2^hold cycles

  bool hit(unsigned channel, Kind kind, uint64_t cycle) const {
    if (!threshold[kind]) return false;
    return (mix(seed, channel * 8 + kind, cycle >> hold) >> 32) < threshold[kind];
  }
};

struct Timing {
  uint32_t latency = 50;
  uint32_t bytes_per_cycle = 32;
  uint32_t granule = 32;
  uint32_t outstanding = 64;  // granules in flight
  uint32_t write_queue = 16;  // beats
};

struct Counters {
  uint64_t read_bursts, read_beats, read_granules;
  uint64_t write_bursts, write_beats, write_bytes, write_granules;
  uint64_t path_cycles;   // cycles in which the data path moved something
  uint64_t outside;       // beats outside the memory, answered with DECERR
};

struct Fault {
  bool write;
  uint64_t index;  // of a read beat, or of a write burst
  uint8_t response;
};

constexpr uint8_t DECERR = 3;
enum Touch : uint8_t { READ = 1, WRITTEN = 2 };

class Memory {
 public:
  uint8_t* data = nullptr;
  uint64_t size = 0;
  uint8_t* touched = nullptr;  // one byte per byte, or null
  Timing timing;
  Counters count{};
  std::vector<Fault> faults;
  unsigned beat = 32;
  unsigned channel = 0;

  // Forget everything in flight, as an interconnect does at reset.
  void reset(ChannelIn& in) {
    reads_.clear();
    writes_.clear();
    beats_.clear();
    responses_.clear();
    read_flight_ = write_flight_ = 0;
    path_free_ = 0;
    wrote_last_ = false;
    std::memset(&in, 0, sizeof in);
  }

  bool idle() const { return reads_.empty() && writes_.empty() && beats_.empty() && responses_.empty(); }

  // The rising edge that ends cycle `now`: `in` becomes what cycle now + 1 shows.
  void edge(const ChannelOut& out, ChannelIn& in, uint64_t now, const Stalls& stalls) {
    take(out, in, now);
    const uint64_t next = now + 1;
    move(in, next, stalls);
    if (!in.bvalid && !responses_.empty() && responses_.front().at <= next &&
        !stalls.hit(channel, B, next)) {
      in.bvalid = 1;
      in.bresp = responses_.front().response;
      in.bid = responses_.front().id;
    }
    in.arready = read_flight_ < timing.outstanding && !stalls.hit(channel, AR, next);
    in.awready = write_flight_ < timing.outstanding && !stalls.hit(channel, AW, next);
    in.wready = beats_.size() < timing.write_queue && !stalls.hit(channel, W, next);
  }

 private:
  struct Burst {
    uint64_t address, at;
    uint32_t beats, id, granules;
    uint8_t response;
  };
  struct Beat {
    uint64_t strobe;
    uint8_t data[64];
  };

  std::deque<Burst> reads_, writes_, responses_;
  std::deque<Beat> beats_;
  uint64_t read_flight_ = 0, write_flight_ = 0;
  uint64_t path_free_ = 0;
  uint64_t last_read_ = ~0ull, last_write_ = ~0ull;
  bool wrote_last_ = false;

  uint32_t granules(uint64_t address, uint64_t bytes) const {
    return (address + bytes - 1) / timing.granule - address / timing.granule + 1;
  }

  void take(const ChannelOut& out, ChannelIn& in, uint64_t now) {
    if (in.rvalid && out.rready) {
      in.rvalid = 0;
      if (in.rlast) {
        read_flight_ -= reads_.front().granules;
        reads_.pop_front();
      }
    }
    if (in.bvalid && out.bready) {
      in.bvalid = 0;
      write_flight_ -= responses_.front().granules;
      responses_.pop_front();
    }
    if (in.arready && out.arvalid) {
      const uint32_t beats = out.arlen + 1u;
      const uint64_t start = out.araddr - out.araddr % beat;
      const uint32_t n = granules(start, uint64_t(beats) * beat);
      reads_.push_back({start, now + timing.latency, beats, out.arid, n, 0});
      read_flight_ += n;
      ++count.read_bursts;
    }
    if (in.awready && out.awvalid) {
      const uint32_t beats = out.awlen + 1u;
      const uint64_t start = out.awaddr - out.awaddr % beat;
      const uint32_t n = granules(start, uint64_t(beats) * beat);
      writes_.push_back({start, 0, beats, out.awid, n, 0});
      write_flight_ += n;
      ++count.write_bursts;
    }
    if (in.wready && out.wvalid) {
      beats_.push_back({out.wstrb, {}});
      std::memcpy(beats_.back().data, out.wdata, beat);
    }
  }

  // Let the data path move one beat, of a read or of a write, in turns when both wait.
  void move(ChannelIn& in, uint64_t next, const Stalls& stalls) {
    if (path_free_ > next) return;
    const bool read = !in.rvalid && !reads_.empty() && reads_.front().at <= next &&
                      !stalls.hit(channel, R, next);
    const bool write = !beats_.empty() && !writes_.empty();
    if (!read && !write) return;
    wrote_last_ = write && (!read || !wrote_last_);
    if (wrote_last_)
      write_beat(next);
    else
      read_beat(in);
    const uint32_t cost = (beat + timing.bytes_per_cycle - 1) / timing.bytes_per_cycle;
    path_free_ = next + cost;
    count.path_cycles += cost;
  }

  uint8_t fault(bool write, uint64_t index) const {
    for (const Fault& f : faults)
      if (f.write == write && f.index == index) return f.response;
    return 0;
  }

  void touch_granules(uint64_t address, uint64_t& last, uint64_t& counter) {
    for (uint64_t g = address / timing.granule; g <= (address + beat - 1) / timing.granule; ++g)
      if (g != last) {
        ++counter;
        last = g;
      }
  }

  void read_beat(ChannelIn& in) {
    Burst& b = reads_.front();
    in.rvalid = 1;
    in.rid = b.id;
    in.rlast = --b.beats == 0;
    in.rresp = fault(false, count.read_beats++);
    touch_granules(b.address, last_read_, count.read_granules);
    if (b.address <= size && size - b.address >= beat) {
      std::memcpy(in.rdata, data + b.address, beat);
      if (touched)
        for (unsigned i = 0; i < beat; ++i) touched[b.address + i] |= READ;
    } else {
      std::memset(in.rdata, 0xDE, beat);
      in.rresp = DECERR;
      ++count.outside;
    }
    b.address += beat;
    // What has been delivered is no longer in flight; the last granule goes with the last beat.
    const uint32_t left = b.beats ? granules(b.address, uint64_t(b.beats) * beat) : 1;
    if (left < b.granules) {
      read_flight_ -= b.granules - left;
      b.granules = left;
    }
  }

  void write_beat(uint64_t next) {
    Burst& b = writes_.front();
    const Beat& d = beats_.front();
    ++count.write_beats;
    if (d.strobe) touch_granules(b.address, last_write_, count.write_granules);
    if (b.address <= size && size - b.address >= beat) {
      for (unsigned i = 0; i < beat; ++i)
        if (d.strobe >> i & 1) {
          data[b.address + i] = d.data[i];
          if (touched) touched[b.address + i] |= WRITTEN;
          ++count.write_bytes;
        }
    } else {
      b.response = DECERR;
      ++count.outside;
    }
    b.address += beat;
    beats_.pop_front();
    if (--b.beats == 0) {
      const uint8_t forced = fault(true, finished_++);
      responses_.push_back({0, next + timing.latency, 0, b.id, b.granules, forced ? forced : b.response});
      writes_.pop_front();
    }
  }

 public:
  uint64_t finished_ = 0;  // write bursts whose data are in memory
};

}  // namespace attnsieve
