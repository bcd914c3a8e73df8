// The AMX tile intrinsics in plain C++, for tests on processors without them (tests/nn/test_amx.py). An operand that the
// instruction would reject ends the process.
//
// Source: Intel Software Developer's Manual, volume 2: LDTILECFG, STTILECFG, TILELOADD, TILESTORED, TILEZERO, TILERELEASE,
// TDPBF16PS.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace lmgen::emulated {

constexpr int REGISTERS = 8, MAX_ROWS = 16, MAX_BYTES = 64;

struct Shapes {  // a configuration in memory
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
};

inline void require(bool fine, const char* what) {
  if (fine) return;
  std::fprintf(stderr, "emulated AMX: %s\n", what);
  std::abort();
}

// The initial configuration of a thread: none, or one left by another library.
inline Shapes found() {
  static int threads = 0;
  Shapes s{};
  if (__atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED) % 2 == 0) s.palette = 1, s.rows[2] = 3, s.bytes[2] = 12;
  return s;
}

struct Thread {
  Shapes before = found(), now = before;
  float data[REGISTERS][MAX_ROWS][MAX_BYTES / 4] = {};

  void require_configured(int i) const {
    require(i >= 0 && i < REGISTERS && now.palette && now.rows[i], "a register is not configured");
  }
  void clear(int i) { std::memset(data[i], 0, sizeof data[i]); }
};

inline thread_local Thread thread;

inline void loadconfig(const void* memory) {
  Shapes s;
  std::memcpy(&s, memory, sizeof s);
  require(s.palette == 1 && s.start_row == 0, "no such palette");
  for (uint8_t byte : s.reserved) require(byte == 0, "reserved bytes of a configuration are set");
  for (int i = 0; i < 16; i++) {
    const bool real = i < REGISTERS;
    require(s.rows[i] <= (real ? MAX_ROWS : 0) && s.bytes[i] <= (real ? MAX_BYTES : 0), "a register is too large");
    require((s.rows[i] == 0) == (s.bytes[i] == 0), "a register has rows of no bytes, or none");
  }
  thread.now = s;
  for (int i = 0; i < REGISTERS; i++) thread.clear(i);
}

inline void release() {
  thread.now = Shapes{};
  for (int i = 0; i < REGISTERS; i++) thread.clear(i);
}

// Kernels call this first, so it checks that the previous kernel restored the configuration.
inline void storeconfig(void* memory) {
  require(!std::memcmp(&thread.now, &thread.before, sizeof(Shapes)), "the previous configuration was not restored");
  std::memcpy(memory, &thread.now, sizeof(Shapes));
}

inline void zero(int i) {
  thread.require_configured(i);
  thread.clear(i);
}

inline void load(int i, const void* memory, int64_t stride) {
  zero(i);
  for (int r = 0; r < thread.now.rows[i]; r++)
    std::memcpy(thread.data[i][r], static_cast<const char*>(memory) + r * stride, thread.now.bytes[i]);
}

inline void store(int i, void* memory, int64_t stride) {
  thread.require_configured(i);
  for (int r = 0; r < thread.now.rows[i]; r++)
    std::memcpy(static_cast<char*>(memory) + r * stride, thread.data[i][r], thread.now.bytes[i]);
}

// Denormals are treated as zero, as operands and as results.
inline float flushed(float x) { return x < 0x1p-126f && x > -0x1p-126f ? 0 : x; }

// The lower (0) or upper (1) bfloat16 of a lane.
inline float half(float lane, int which) {
  uint32_t bits;
  std::memcpy(&bits, &lane, sizeof bits);
  bits = which ? bits & 0xffff0000u : bits << 16;
  std::memcpy(&lane, &bits, sizeof bits);
  return flushed(lane);
}

// c += a b. The lower and the upper halves are summed separately; the two sums are added to c last.
inline void multiply(int c, int a, int b) {
  thread.require_configured(c), thread.require_configured(a), thread.require_configured(b);
  require(c != a && c != b && a != b, "the registers of a product are not three");
  const Shapes& s = thread.now;
  require(s.rows[c] == s.rows[a] && s.bytes[c] == s.bytes[b] && s.bytes[a] == 4 * s.rows[b],
          "the shapes of a product do not fit");
  const int columns = s.bytes[c] / 4;
  for (int m = 0; m < s.rows[c]; m++) {
    float sums[2][MAX_BYTES / 4] = {};
    for (int k = 0; k < s.rows[b]; k++)
      for (int n = 0; n < columns; n++)
        for (int i = 0; i < 2; i++)
          sums[i][n] = flushed(__builtin_fmaf(half(thread.data[a][m][k], i), half(thread.data[b][k][n], i), sums[i][n]));
    for (int n = 0; n < columns; n++) {
      float& sum = thread.data[c][m][n];
      sum = flushed(flushed(sum) + flushed(sums[0][n] + sums[1][n]));
    }
  }
}

}  // namespace lmgen::emulated

#undef _tile_loadconfig
#undef _tile_storeconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig lmgen::emulated::loadconfig
#define _tile_storeconfig lmgen::emulated::storeconfig
#define _tile_release lmgen::emulated::release
#define _tile_zero lmgen::emulated::zero
#define _tile_loadd lmgen::emulated::load
#define _tile_stored lmgen::emulated::store
#define _tile_dpbf16ps lmgen::emulated::multiply
