// What the harness sees of a core: its outputs in a cycle and the inputs it is given.
#pragma once
#include <cstdint>

namespace attnsieve {

constexpr unsigned MAX_CHANNELS = 16;
constexpr unsigned MAX_WORDS = 16;  // 512 data bits

// One AXI4 master of the core. Fields beside valid and ready matter only while valid is 1.
struct ChannelOut {
  uint64_t araddr, awaddr, wstrb;
  uint32_t arid, awid;
  uint8_t arvalid, arlen, arsize, arburst;
  uint8_t awvalid, awlen, awsize, awburst;
  uint8_t wvalid, wlast;
  uint8_t rready, bready;
  uint32_t wdata[MAX_WORDS];
};

struct ChannelIn {
  uint8_t arready, awready, wready;
  uint8_t rvalid, rlast, rresp;
  uint8_t bvalid, bresp;
  uint32_t rid, bid;
  uint32_t rdata[MAX_WORDS];
};

// The AXI4-Lite slave of the core.
struct LiteOut {
  uint8_t awready, wready, arready, bvalid, bresp, rvalid, rresp;
  uint32_t rdata;
};

struct LiteIn {
  uint8_t awvalid, wvalid, arvalid, bready, rready, wstrb;
  uint32_t awaddr, araddr, wdata;
};

struct Outputs {
  ChannelOut channel[MAX_CHANNELS];
  LiteOut lite;
  uint8_t irq;
};

struct Inputs {
  ChannelIn channel[MAX_CHANNELS];
  LiteIn lite;
  uint8_t rst;
};

// What the generated adapter provides as `Core`:
//   static constexpr unsigned CHANNELS, BEAT_BYTES;
//   void drive(const Inputs&);   set the inputs, clock low
//   void sample(Outputs&);       settle and read the outputs
//   void rise();                 rising clock edge
//   bool trace(const char* path); void trace_close();

}  // namespace attnsieve
