// Checks of what a core does on its ports, against the AXI4 and AXI4-Lite rules.
#pragma once
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>

#include "pins.h"

namespace attnsieve {

class Checker {
 public:
  uint64_t violations = 0;
  std::string first;

  void channel(unsigned c, const ChannelOut& out, const ChannelIn& in, uint64_t cycle, unsigned beat) {
    State& s = state_[c];
    if (s.known) stable(c, s, out, cycle, beat);
    if (out.arvalid) address(c, "ar", out.araddr, out.arlen, out.arsize, out.arburst, cycle, beat);
    if (out.awvalid) address(c, "aw", out.awaddr, out.awlen, out.awsize, out.awburst, cycle, beat);
    if (in.awready && out.awvalid) s.lengths.push_back(out.awlen + 1u);
    if (in.wready && out.wvalid) s.lasts.push_back(out.wlast);
    while (!s.lengths.empty() && !s.lasts.empty()) last(c, s, cycle);
    s.known = true;
    s.ar = out.arvalid && !in.arready;
    s.aw = out.awvalid && !in.awready;
    s.w = out.wvalid && !in.wready;
    if (s.ar || s.aw || s.w) s.out = out;
  }

  void lite(const LiteOut& out, const LiteIn& in, uint64_t cycle) {
    if (b_held_ && (!out.bvalid || out.bresp != lite_.bresp)) fail(cycle, "s_axil: b changed before bready");
    if (r_held_ && (!out.rvalid || out.rresp != lite_.rresp || out.rdata != lite_.rdata))
      fail(cycle, "s_axil: r changed before rready");
    writes_ += in.awvalid && out.awready;
    words_ += in.wvalid && out.wready;
    reads_ += in.arvalid && out.arready;
    if (out.bvalid && (answered_ >= writes_before_ || answered_ >= words_before_))
      fail(cycle, "s_axil: bvalid without a write");
    if (out.rvalid && read_ >= reads_before_) fail(cycle, "s_axil: rvalid without a read");
    answered_ += out.bvalid && in.bready;
    read_ += out.rvalid && in.rready;
    b_held_ = out.bvalid && !in.bready;
    r_held_ = out.rvalid && !in.rready;
    lite_ = out;
    // A response may come in the cycle after its request, not in the same.
    writes_before_ = writes_;
    words_before_ = words_;
    reads_before_ = reads_;
  }

  void reset() {
    for (State& s : state_) s = State();
    b_held_ = r_held_ = false;
    writes_ = words_ = reads_ = answered_ = read_ = 0;
    writes_before_ = words_before_ = reads_before_ = 0;
  }

 private:
  struct State {
    bool known = false, ar = false, aw = false, w = false;
    ChannelOut out{};
    std::deque<uint32_t> lengths;
    std::deque<uint8_t> lasts;
    uint32_t beats = 0;
  };
  State state_[MAX_CHANNELS];
  LiteOut lite_{};
  bool b_held_ = false, r_held_ = false;
  uint64_t writes_ = 0, words_ = 0, reads_ = 0, answered_ = 0, read_ = 0;
  uint64_t writes_before_ = 0, words_before_ = 0, reads_before_ = 0;

  void fail(uint64_t cycle, const char* format, ...) __attribute__((format(printf, 3, 4))) {
    if (violations++) return;
    char text[200];
    va_list args;
    va_start(args, format);
    std::vsnprintf(text, sizeof text, format, args);
    va_end(args);
    first = "cycle " + std::to_string(cycle) + ": " + text;
  }

  void stable(unsigned c, const State& s, const ChannelOut& out, uint64_t cycle, unsigned beat) {
    const ChannelOut& o = s.out;
    if (s.ar && (!out.arvalid || out.araddr != o.araddr || out.arlen != o.arlen || out.arid != o.arid ||
                 out.arsize != o.arsize || out.arburst != o.arburst))
      fail(cycle, "channel %u: ar changed before arready", c);
    if (s.aw && (!out.awvalid || out.awaddr != o.awaddr || out.awlen != o.awlen || out.awid != o.awid ||
                 out.awsize != o.awsize || out.awburst != o.awburst))
      fail(cycle, "channel %u: aw changed before awready", c);
    if (s.w && (!out.wvalid || out.wlast != o.wlast || out.wstrb != o.wstrb ||
                std::memcmp(out.wdata, o.wdata, beat)))
      fail(cycle, "channel %u: w changed before wready", c);
  }

  void address(unsigned c, const char* name, uint64_t addr, unsigned len, unsigned size, unsigned burst,
               uint64_t cycle, unsigned beat) {
    if (burst != 1) fail(cycle, "channel %u: %sburst is %u, not INCR", c, name, burst);
    if (1u << size != beat) fail(cycle, "channel %u: %ssize is %u, not the full width", c, name, size);
    const uint64_t end = addr - addr % beat + uint64_t(len + 1) * beat - 1;
    if (addr >> 12 != end >> 12)
      fail(cycle, "channel %u: %s burst at %#llx crosses 4 KB", c, name, (unsigned long long)addr);
    if (addr % beat)
      fail(cycle, "channel %u: %saddr %#llx is not aligned", c, name, (unsigned long long)addr);
  }

  void last(unsigned c, State& s, uint64_t cycle) {
    const bool want = s.beats + 1 == s.lengths.front();
    if (bool(s.lasts.front()) != want)
      fail(cycle, "channel %u: wlast is %u in beat %u of %u", c, s.lasts.front(), s.beats, s.lengths.front());
    s.lasts.pop_front();
    if (want) {
      s.lengths.pop_front();
      s.beats = 0;
    } else {
      ++s.beats;
    }
  }
};

}  // namespace attnsieve
