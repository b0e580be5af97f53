// Runs a block whose ports are streams: feeds its inputs, stores its outputs; a C interface for ctypes.
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "adapter.h"

using namespace attnsieve;

namespace {

constexpr uint64_t SETTLE = 100;  // cycles in which an output too many would come

struct Stream {
  uint32_t* words;   // payloads, `stride` words each
  uint64_t* times;   // cycle of each transfer
  uint64_t count;    // payloads to give, or places for those to come
  uint64_t done;     // transfers
  uint64_t broken;   // cycles in which an output did not hold what it offered
  uint32_t stride;
  uint32_t stall;    // of 2^32: probability that the bench does not go on in a cycle
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  bool below(uint32_t limit) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return uint32_t(state_ >> 32) < limit;
  }

 private:
  uint64_t state_;
};

// An output stream in a cycle, and the one before: what was offered and not taken has to stay.
struct Offer {
  bool valid = false, waits = false;
  std::vector<uint32_t> payload, before;
};

}  // namespace

extern "C" {

// Runs until `patience` cycles pass without a transfer, or `SETTLE` once everything is there; the
// cycles it took.
uint64_t attnsieve_block_run(Stream* in, Stream* out, uint64_t seed, uint64_t patience) {
  const auto core = std::make_unique<Core>();
  Random random(seed);
  bool pending[Core::INPUTS] = {}, ready[Core::OUTPUTS] = {};
  Offer offer[Core::OUTPUTS];
  for (unsigned s = 0; s < Core::OUTPUTS; ++s) {
    offer[s].payload.resize(out[s].stride);
    offer[s].before.resize(out[s].stride);
  }
  auto edge = [&] {
    core->clock(true);
    core->settle();
    core->clock(false);
  };
  core->clock(false);
  core->reset(true);
  for (unsigned s = 0; s < Core::INPUTS; ++s) core->give(s, false, nullptr);
  for (unsigned s = 0; s < Core::OUTPUTS; ++s) core->accept(s, false);
  for (int n = 0; n < 2; ++n) {
    core->settle();
    edge();
  }
  core->reset(false);
  uint64_t now = 0, quiet = 0;
  auto complete = [&] {
    for (unsigned s = 0; s < Core::INPUTS; ++s)
      if (in[s].done < in[s].count) return false;
    for (unsigned s = 0; s < Core::OUTPUTS; ++s)
      if (out[s].done < out[s].count) return false;
    return true;
  };
  for (; quiet < patience && (quiet < SETTLE || !complete()); ++now, ++quiet) {
    for (unsigned s = 0; s < Core::INPUTS; ++s) {
      pending[s] = in[s].done < in[s].count && (pending[s] || !random.below(in[s].stall));
      core->give(s, pending[s], in[s].words + in[s].done * in[s].stride);
    }
    for (unsigned s = 0; s < Core::OUTPUTS; ++s) {
      ready[s] = !random.below(out[s].stall);
      core->accept(s, ready[s]);
    }
    core->settle();
    for (unsigned s = 0; s < Core::INPUTS; ++s) {
      if (!pending[s] || !core->taken(s)) continue;
      in[s].times[in[s].done++] = now;
      pending[s] = false;
      quiet = 0;
    }
    for (unsigned s = 0; s < Core::OUTPUTS; ++s) {
      Offer& o = offer[s];
      std::swap(o.payload, o.before);
      o.valid = core->offered(s, o.payload.data());
      out[s].broken += o.waits && (!o.valid || o.payload != o.before);
      o.waits = o.valid && !ready[s];
      if (!o.valid || !ready[s]) continue;
      if (out[s].done < out[s].count) {
        std::memcpy(out[s].words + out[s].done * out[s].stride, o.payload.data(), 4 * out[s].stride);
        out[s].times[out[s].done] = now;
      }
      ++out[s].done;
      quiet = 0;
    }
    edge();
  }
  return now;
}

}
