// Text that is prepared: fingerprints of lines (BLAKE2b, RFC 7693) and the numbers of words. Plain C++, called through ctypes.
#include <cstdint>
#include <cstring>

namespace {

constexpr uint64_t IV[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
                            0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
constexpr uint8_t SIGMA[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};
constexpr int64_t BLOCK = 128;
constexpr uint64_t DIGEST = 8;  // bytes

uint64_t rotated(uint64_t x, int n) { return x >> n | x << (64 - n); }

void mix(uint64_t* v, int a, int b, int c, int d, uint64_t x, uint64_t y) {
  v[a] += v[b] + x, v[d] = rotated(v[d] ^ v[a], 32);
  v[c] += v[d], v[b] = rotated(v[b] ^ v[c], 24);
  v[a] += v[b] + y, v[d] = rotated(v[d] ^ v[a], 16);
  v[c] += v[d], v[b] = rotated(v[b] ^ v[c], 63);
}

void compress(uint64_t* h, const uint8_t* block, uint64_t count, bool last) {
  uint64_t v[16], m[16];
  std::memcpy(m, block, sizeof m);
  std::memcpy(v, h, 8 * sizeof *h), std::memcpy(v + 8, IV, sizeof IV);
  v[12] ^= count;
  if (last) v[14] = ~v[14];
#pragma GCC unroll 12
  for (int r = 0; r < 12; r++) {
    const uint8_t* s = SIGMA[r];
    mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]), mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
    mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]), mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
    mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]), mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
    mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]), mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
  }
  for (int k = 0; k < 8; k++) h[k] ^= v[k] ^ v[k + 8];
}

uint64_t fingerprint(const uint8_t* text, int64_t length) {
  uint64_t h[8];
  std::memcpy(h, IV, sizeof h);
  h[0] ^= 0x01010000 ^ DIGEST;
  int64_t at = 0;
  for (; length - at > BLOCK; at += BLOCK) compress(h, text + at, uint64_t(at + BLOCK), false);
  uint8_t rest[BLOCK] = {};
  if (length > at) std::memcpy(rest, text + at, size_t(length - at));
  compress(h, rest, uint64_t(length), true);
  return h[0];
}

// The bytes of the white space that begins at a place of UTF-8 (what str.split() splits at), or 0.
inline int space(const uint8_t* p, const uint8_t* end) {
  if (p[0] > ' ' && p[0] < 0xc2) return 0;
  if (p[0] <= ' ') return p[0] == ' ' || (p[0] >= 0x09 && p[0] <= 0x0d) || p[0] >= 0x1c;
  if (p[0] == 0xc2) return end - p > 1 && (p[1] == 0x85 || p[1] == 0xa0) ? 2 : 0;
  if (p[0] < 0xe1 || p[0] > 0xe3 || end - p < 3) return 0;
  const uint32_t three = uint32_t(p[0]) << 16 | uint32_t(p[1]) << 8 | p[2];
  const bool one = three == 0xe19a80 || (three >= 0xe28080 && three <= 0xe2808a) || three == 0xe280a8 || three == 0xe280a9 ||
                   three == 0xe280af || three == 0xe2819f || three == 0xe38080;
  return one ? 3 : 0;
}

}  // namespace

extern "C" {

// The first 8 bytes of the digest of text[starts[k]:stops[k]], for each of n lines.
__attribute__((visibility("default"))) void lmgen_fingerprints(const uint8_t* text, const int64_t* starts, const int64_t* stops,
                                                               int64_t n, uint64_t* found) {
  for (int64_t k = 0; k < n; k++) found[k] = fingerprint(text + starts[k], stops[k] - starts[k]);
}

// The words of lines of UTF-8, numbered from 1 in the order in which they first occur: `numbers` has them all, and a 0 for the
// end of each line with a word (or of each line, if blank ones are kept). `joined` gets the words with one space between them and
// a line end after each such line, `words` the different ones with a line end after each, `places` where each of these begins,
// and their end. `table` [slots] is scratch, zeros, a power of two; all others have length + 2 places. The `seed` of the hash
// changes no result. `counts` gets the number of numbers, of different words, and of bytes joined. False where the table is more
// than half full.
__attribute__((visibility("default"))) bool lmgen_words(const uint8_t* text, int64_t length, bool keep_blank, int32_t* numbers,
                                                        uint8_t* joined, uint8_t* words, int32_t* places, uint64_t* table,
                                                        int64_t slots, uint64_t seed, int64_t* counts) {
  const uint8_t *p = text, *const end = text + length;
  int64_t all = 0, out = 0, line = 0, different = 0;
  places[0] = 0;
  while (p < end) {
    if (const int size = space(p, end)) {
      if (*p == '\n') {
        if (keep_blank || out > line) numbers[all++] = 0, joined[out++] = '\n', line = out;
      }
      p += size;
      continue;
    }
    if (out > line) joined[out++] = ' ';
    const uint8_t* first = p;
    uint64_t hash = seed;
    while (p < end && !space(p, end)) hash = (hash ^ *p++) * 0x100000001b3;
    const int64_t size = p - first;
    std::memcpy(joined + out, first, size_t(size));
    hash ^= hash >> 32, hash *= 0x9e3779b97f4a7c15, hash ^= hash >> 29;
    const uint64_t mark = hash & 0xffffffff00000000;  // in a slot, beside the number
    int64_t slot = int64_t(hash & uint64_t(slots - 1));
    uint64_t found;
    for (; (found = table[slot]); slot = (slot + 1) & (slots - 1)) {
      if ((found & 0xffffffff00000000) != mark) continue;
      const int64_t k = int64_t(found & 0xffffffff) - 1;
      if (places[k + 1] - places[k] == size + 1 && !std::memcmp(words + places[k], first, size_t(size))) break;
    }
    if (!found) {
      if (2 * (different + 1) > slots) return false;
      std::memcpy(words + places[different], first, size_t(size));
      words[places[different] + size] = '\n';
      places[different + 1] = int32_t(places[different] + size + 1);
      table[slot] = found = mark | uint64_t(++different);
    }
    numbers[all++] = int32_t(found & 0xffffffff), out += size;
  }
  if (length && end[-1] != '\n' && (keep_blank || out > line)) numbers[all++] = 0, joined[out++] = '\n';
  counts[0] = all, counts[1] = different, counts[2] = out;
  return true;
}
}
