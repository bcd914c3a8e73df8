// Memory that is to be read soon: its lines are asked for little by little while others are multiplied, so that nothing waits for
// them later. A processor cannot foresee where the next row of a wide matrix lies; asked for all at once, they would stand in the
// way of what is being multiplied.

constexpr int64_t TURN = 32;  // lanes multiplied from turn to turn
inline int64_t turns(int64_t lanes) { return (lanes + TURN - 1) / TURN; }

class Soon {
 public:
  // Some numbers of each of so many rows, which lie `stride` numbers apart.
  template <class T>
  void add(const T* first, int64_t rows, int64_t stride, int64_t numbers) {
    if (rows <= 0 || numbers <= 0) return;
    Strip& strip = strips_[count_++];
    strip = {reinterpret_cast<const char*>(first), rows, stride * int64_t(sizeof(T)), numbers * int64_t(sizeof(T))};
    lines_ += rows * (rounded_up(strip.width, LINE) / LINE);
  }
  // Rows and columns of a matrix as it lies in memory.
  void add(const Matrix& m, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const int64_t at = row * m.stride + column;
    m.bf16 ? add(static_cast<const uint16_t*>(m.data) + at, rows, m.stride, columns)
           : add(static_cast<const float*>(m.data) + at, rows, m.stride, columns);
  }
  // All that was added is to be here after so many turns.
  void within(int64_t turns) { a_turn_ = turns > 0 ? (lines_ + turns - 1) / turns : 0; }

  void turn() {
    for (int64_t i = 0; i < a_turn_ && now_ < count_; i++) {
      Strip& strip = strips_[now_];
      ask_once(strip.row + at_);
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
  int64_t lines_ = 0, a_turn_ = 0, at_ = 0;
};
