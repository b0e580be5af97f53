// Access to the ports of a Verilator model, whatever type their width gives them.
#pragma once
#include <cstring>

#include "verilated.h"

namespace attnsieve {

template <class T> inline uint64_t get(const T& port) { return port; }
template <class T> inline void set(T& port, uint64_t value) { port = T(value); }

template <class T> inline void load(const T& port, uint32_t* words) { std::memcpy(words, &port, sizeof port); }
template <class T> inline void store(T& port, const uint32_t* words) { std::memcpy(&port, words, sizeof port); }
template <std::size_t N> inline void load(const VlWide<N>& port, uint32_t* words) {
  std::memcpy(words, port.data(), N * 4);
}
template <std::size_t N> inline void store(VlWide<N>& port, const uint32_t* words) {
  std::memcpy(port.data(), words, N * 4);
}

}  // namespace attnsieve
