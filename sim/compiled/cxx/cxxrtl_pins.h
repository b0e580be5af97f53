// Access to the ports of a CXXRTL model.
#pragma once
#include <cstring>

#include <cxxrtl/cxxrtl.h>

namespace attnsieve {

template <std::size_t N> inline uint64_t get(const cxxrtl::value<N>& port) {
  uint64_t low = port.data[0];
  if constexpr (N > 32) low |= uint64_t(port.data[1]) << 32;
  return low;
}
template <std::size_t N> inline uint64_t get(const cxxrtl::wire<N>& port) { return get(port.curr); }

template <std::size_t N> inline void set(cxxrtl::value<N>& port, uint64_t value) {
  port.data[0] = uint32_t(value);
  if constexpr (N > 32) port.data[1] = uint32_t(value >> 32);
}
template <std::size_t N> inline void set(cxxrtl::wire<N>& port, uint64_t value) { set(port.next, value); }

template <std::size_t N> inline void load(const cxxrtl::value<N>& port, uint32_t* words) {
  std::memcpy(words, port.data, sizeof port.data);
}
template <std::size_t N> inline void load(const cxxrtl::wire<N>& port, uint32_t* words) { load(port.curr, words); }
template <std::size_t N> inline void store(cxxrtl::value<N>& port, const uint32_t* words) {
  std::memcpy(port.data, words, sizeof port.data);
}
template <std::size_t N> inline void store(cxxrtl::wire<N>& port, const uint32_t* words) { store(port.next, words); }

}  // namespace attnsieve
