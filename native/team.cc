#include "team.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

namespace lmgen {

namespace {

constexpr int SPINS = 2000;  // so long a thread waits before it gives way: some ten microseconds

void pause() { __builtin_ia32_pause(); }

template <class Ready>
void wait_until(Ready ready) {
  for (int spins = 0; !ready(); spins++) spins < SPINS ? pause() : void(sched_yield());
}

// Memory that a thread keeps from call to call, so that it is mapped and faulted in only once.
class Arena {
 public:
  ~Arena() { release(); }
  void* take(size_t bytes) {
    bytes = (bytes + 63) / 64 * 64;
    if (blocks_.empty() || used_ + bytes > blocks_.back().size) {
      const size_t size = std::max(bytes, size_t(1) << 20);
      blocks_.push_back({static_cast<char*>(std::aligned_alloc(64, size)), size});
      if (!blocks_.back().data) throw std::bad_alloc();
      used_ = 0;
    }
    used_ += bytes;
    return blocks_.back().data + used_ - bytes;
  }
  void reset() {  // several blocks become one
    if (blocks_.size() > 1) {
      size_t total = 0;
      for (const Block& block : blocks_) total += block.size;
      release();
      take(total);
    }
    used_ = 0;
  }

 private:
  struct Block {
    char* data;
    size_t size;
  };
  void release() {
    for (const Block& block : blocks_) std::free(block.data);
    blocks_.clear();
  }
  std::vector<Block> blocks_;
  size_t used_ = 0;
};

thread_local Arena arena;

}  // namespace

class Meeting {
 public:
  explicit Meeting(int count) : count_(count) {}
  void wait() {
    const int round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
    } else {
      wait_until([&] { return round_.load(std::memory_order_acquire) != round; });
    }
  }

 private:
  const int count_;
  std::atomic<int> arrived_{0}, round_{0};
};

void Worker::wait() const {
  if (count > 1) meeting->wait();
}

void* Worker::memory(size_t bytes) const { return arena.take(bytes); }

namespace {

class Team {  // threads that live as long as the process
 public:
  void run(int threads, const std::function<void(const Worker&)>& work) {
    std::unique_lock<std::mutex> only(busy_, std::try_to_lock);
    if (!only.owns_lock()) threads = 1;
    Meeting meeting(threads);
    if (threads > 1) {
      while (int(members_.size()) < threads - 1) members_.emplace_back(&Team::member, this, int(members_.size()) + 1).detach();
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work, meeting_ = &meeting, threads_ = threads;
      left_.store(threads - 1, std::memory_order_relaxed);
      call_.fetch_add(1, std::memory_order_release);
    }
    if (threads > 1) called_.notify_all();
    perform(work, {0, threads, &meeting});
    if (threads > 1) wait_until([&] { return left_.load(std::memory_order_acquire) == 0; });
  }

 private:
  static void perform(const std::function<void(const Worker&)>& work, const Worker& worker) {
    arena.reset();
    work(worker);
    arena.reset();
  }

  void member(int number) {
    for (int seen = 0;;) {
      for (int spins = 0; call_.load(std::memory_order_acquire) == seen && spins < SPINS; spins++) pause();
      std::unique_lock<std::mutex> lock(mutex_);
      called_.wait(lock, [&] { return call_.load(std::memory_order_relaxed) != seen; });
      seen = call_.load(std::memory_order_relaxed);
      if (number >= threads_) continue;
      const Worker worker{number, threads_, meeting_};
      const auto& work = *work_;
      lock.unlock();
      perform(work, worker);
      left_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::mutex busy_, mutex_;
  std::condition_variable called_;
  std::vector<std::thread> members_;
  const std::function<void(const Worker&)>* work_ = nullptr;
  Meeting* meeting_ = nullptr;
  int threads_ = 0;
  std::atomic<int> call_{0}, left_{0};
};

}  // namespace

int most_threads() {
  static const int found = [] {
    if (const char* wanted = std::getenv("LMGEN_THREADS"))
      if (const int n = std::atoi(wanted); n > 0) return std::min(n, 64);
    cpu_set_t cores;
    return sched_getaffinity(0, sizeof cores, &cores) ? 1 : std::clamp(CPU_COUNT(&cores), 1, 16);
  }();
  return found;
}

void together(int threads, const std::function<void(const Worker&)>& work) {
  static Team* team = new Team;  // never destroyed: its threads may outlive main
  team->run(std::clamp(threads, 1, most_threads()), work);
}

}  // namespace lmgen
