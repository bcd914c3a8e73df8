// Software prefetching of the operands of the next tiles. The hardware prefetcher cannot predict where the next row of a wide
// matrix begins. A few cache lines are requested at a time while the current tile is computed: all at once they would delay its
// own loads.

constexpr int64_t PREFETCH_INTERVAL = 32;  // lanes multiplied between two steps
inline int64_t prefetch_steps(int64_t lanes) { return (lanes + PREFETCH_INTERVAL - 1) / PREFETCH_INTERVAL; }

class Prefetcher {
 public:
  // The first `numbers` elements of each of `rows` rows, `stride` elements apart.
  template <class T>
  void add(const T* first, int64_t rows, int64_t stride, int64_t numbers) {
    if (rows <= 0 || numbers <= 0) return;
    Strip& strip = strips_[count_++];
    strip = {reinterpret_cast<const char*>(first), rows, stride * int64_t(sizeof(T)), numbers * int64_t(sizeof(T))};
    lines_ += rows * (rounded_up(strip.width, LINE) / LINE);
  }
  // A block of a matrix in memory order.
  void add(const Matrix& m, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const int64_t at = row * m.stride + column;
    m.bf16 ? add(static_cast<const uint16_t*>(m.data) + at, rows, m.stride, columns)
           : add(static_cast<const float*>(m.data) + at, rows, m.stride, columns);
  }
  // Requests everything added so far within this many calls of `step`.
  void spread_over(int64_t steps) { lines_a_step_ = steps > 0 ? (lines_ + steps - 1) / steps : 0; }

  void step() {
    for (int64_t i = 0; i < lines_a_step_ && now_ < count_; i++) {
      Strip& strip = strips_[now_];
      prefetch_once(strip.row + at_);
      at_ += LINE;
      if (at_ < strip.width) continue;
      at_ = 0, strip.row += strip.stride;
      if (--strip.rows == 0) now_++;
    }
  }

 private:
  struct Strip {
    const char* row;
    int64_t rows, stride, width;  // the last two in bytes
  };
  static constexpr int MOST = 4;
  Strip strips_[MOST];
  int count_ = 0, now_ = 0;
  int64_t lines_ = 0, lines_a_step_ = 0, at_ = 0;
};
