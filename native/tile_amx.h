// The tile with AMX (interface: product.h): one instruction multiplies [16 rows, 16 lanes] by [16 lanes, 1 panel].
//
//   registers 0 1 2 3  sums: 2 x 16 rows and two panels, or 16 rows and four panels
//             4 5      the left operand, [rows][LANES], read in place
//             6 7      the right operand, [LANES][WIDTH], from the packed group with a stride of panels * WIDTH floats
//
// Registers are configured for the exact number of rows, so that nothing beyond them is accessed. The configuration belongs to
// the thread; loading one clears all registers.

static_assert(WIDTH == 16 && PAIR == 2, "a register is 16 rows of 16 lanes of two bfloat16");
constexpr int REGISTER_ROWS = 16;
constexpr int LANES = 16;
constexpr bool STEPS = false;
constexpr int BLOCK_ROWS = 64;
constexpr int tile_rows(int) { return 2 * REGISTER_ROWS; }
constexpr int SUMS = tile_rows(PANELS) * PANELS;

inline void arrange(float*, int64_t, int64_t) {}

// Keeps the compiler from moving memory accesses past this point: not every compiler knows that tile instructions access memory.
inline void compiler_barrier(const void* memory) { asm volatile("" ::"r"(memory) : "memory"); }

struct alignas(64) Configuration {  // the format of LDTILECFG
  uint8_t palette = 0, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {};  // bytes a row of each register
  uint8_t rows[16] = {};
};

static thread_local int configured = 0;  // the number of rows this thread's registers are configured for; 0 if unknown

// Up to 16 rows use one register; more are split evenly over two.
inline int first_rows(int rows) { return rows <= REGISTER_ROWS ? rows : (rows + 1) / 2; }

inline void configure(int rows) {
  const int first = first_rows(rows), second = rows - first, third = second ? second : first;
  const int of_register[8] = {first, first, third, third, first, second, LANES, LANES};
  Configuration c;
  c.palette = 1;
  for (int i = 0; i < 8; i++)
    if (of_register[i]) c.rows[i] = uint8_t(of_register[i]), c.bytes[i] = sizeof(float) * WIDTH;
  compiler_barrier(&c);
  _tile_loadconfig(&c);
  configured = rows;
}

class Tiles {  // restores the thread's configuration: libraries used by JAX rely on theirs
 public:
  Tiles() {
    compiler_barrier(&before_);
    _tile_storeconfig(&before_);
    compiler_barrier(&before_);
    configured = 0;
  }
  ~Tiles() {
    compiler_barrier(&before_);
    if (before_.palette)
      _tile_loadconfig(&before_);
    else
      _tile_release();
  }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

 private:
  Configuration before_;
};

// R registers of rows, the first with `first` rows, times P panels of a group of `panels`.
template <int R, int P>
void tile(const float* a, int64_t row, int first, const float* b, int panels, int64_t lanes, float* z, bool add,
          Prefetcher* prefetcher) {
  constexpr bool second = P > 1, third = R > 1 || P > 2,
                 fourth = R > 1 ? P > 1 : P > 3;  // which registers of sums besides 0 are used
  const int64_t down = int64_t(sizeof(float)) * row, across = int64_t(sizeof(float)) * panels * WIDTH;  // bytes from row to row
  const float* a2 = a + first * row;
  float* z3 = z + (R > 1 ? first * panels : 2) * WIDTH;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if (add) {
    _tile_loadd(0, z, across);
    if constexpr (second) { _tile_loadd(1, z + WIDTH, across); }
    if constexpr (third) { _tile_loadd(2, z3, across); }
    if constexpr (fourth) { _tile_loadd(3, z3 + WIDTH, across); }
  }
  for (int64_t k = 0; k < lanes; k += LANES, b += LANES * panels * WIDTH) {
    if (prefetcher && k % PREFETCH_INTERVAL == 0) prefetcher->step();
    _tile_loadd(4, a + k, down);  // all loads first: where two threads share a core, it waits less
    _tile_loadd(6, b, across);
    if constexpr (second) { _tile_loadd(7, b + WIDTH, across); }
    if constexpr (R > 1) { _tile_loadd(5, a2 + k, down); }
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (second) { _tile_dpbf16ps(1, 4, 7); }
    if constexpr (R > 1) {
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (fourth) { _tile_dpbf16ps(3, 5, 7); }
    } else {
      if constexpr (third) {
        _tile_loadd(6, b + 2 * WIDTH, across);
        _tile_dpbf16ps(2, 4, 6);
      }
      if constexpr (fourth) {
        _tile_loadd(7, b + 3 * WIDTH, across);
        _tile_dpbf16ps(3, 4, 7);
      }
    }
  }
  _tile_stored(0, z, across);
  if constexpr (second) { _tile_stored(1, z + WIDTH, across); }
  if constexpr (third) { _tile_stored(2, z3, across); }
  if constexpr (fourth) { _tile_stored(3, z3 + WIDTH, across); }
}

// For up to tile_rows(panels) rows.
inline void tile_of(int panels, int rows, const float* a, int64_t row, int64_t, const float* b, int64_t lanes, float* z,
                    bool add = false, Prefetcher* prefetcher = nullptr) {
  if (rows != configured) configure(rows);
  compiler_barrier(z);
  const int first = first_rows(rows);
  if (first < rows) {
    for (int p = 0; p < panels; p += 2)
      (p + 1 < panels ? tile<2, 2> : tile<2, 1>)(a, row, first, b + p * WIDTH, panels, lanes, z + p * WIDTH, add, prefetcher);
  } else {
    constexpr decltype(&tile<1, 1>) tiles[PANELS] = {tile<1, 1>, tile<1, 2>, tile<1, 3>, tile<1, 4>};
    tiles[panels - 1](a, row, first, b, panels, lanes, z, add, prefetcher);
  }
  compiler_barrier(z);
}
