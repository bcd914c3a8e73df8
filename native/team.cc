#include "team.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace lmgen {

namespace {

constexpr int MOST_THREADS = 64;
constexpr int SPINS = 2000;   // so often a thread looks before it gives way: some ten microseconds
constexpr int YIELDS = 1000;  // so often it gives way before it sleeps: for longer than lies between two steps, if no other works

// A number that others wait to see changed. Who waits sleeps in the end: where processes share the cores, the one waited for may
// need the core of the one that waits, and the system moves nobody to a core that only seems busy.
class Signal {
 public:
  int get() const { return value_.load(std::memory_order_acquire); }

  void set(int value) {
    value_.store(value);  // before the look at the sleepers, as these count themselves before they look at the value
    if (sleepers_.load() == 0) return;
    { std::lock_guard<std::mutex> lock(mutex_); }  // until those that still saw the old value do sleep
    woken_.notify_all();
  }

  int changed_from(int old) {  // the number, as soon as it is another
    for (int i = 0; i < SPINS + YIELDS; i++) {
      if (const int value = get(); value != old) return value;
      i < SPINS ? __builtin_ia32_pause() : void(sched_yield());
    }
    sleepers_.fetch_add(1);
    std::unique_lock<std::mutex> lock(mutex_);
    woken_.wait(lock, [&] { return value_.load() != old; });
    sleepers_.fetch_sub(1);
    return get();
  }

 private:
  std::atomic<int> value_{0}, sleepers_{0};
  std::mutex mutex_;
  std::condition_variable woken_;
};

// Memory that a thread keeps from call to call, so that it is mapped and faulted in only once.
class Arena {
 public:
  void* take(size_t bytes) {
    size_t begin = (used_ + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (blocks_.empty() || begin + bytes > blocks_.back().size) {
      if (!add(std::max(bytes, LEAST))) throw std::bad_alloc();
      begin = 0;
    }
    used_ = begin + bytes;
    return blocks_.back().data.get() + begin;
  }

  void reset() {  // several blocks become one, if the memory suffices
    if (blocks_.size() > 1 || LEAST == 0) {
      size_t total = 0;
      for (const Block& block : blocks_) total += block.size;
      blocks_.clear();
      if (LEAST > 0) add(total);
    }
    used_ = 0;
  }

 private:
  static constexpr size_t ALIGNMENT = 64;
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t LEAST = 0;  // a block for each request, whose ends are watched
#else
  static constexpr size_t LEAST = size_t(1) << 20;
#endif
  struct Free {
    void operator()(char* data) const { ::operator delete(data, std::align_val_t(ALIGNMENT)); }
  };
  struct Block {
    std::unique_ptr<char, Free> data;
    size_t size;
  };

  bool add(size_t bytes) {
    std::unique_ptr<char, Free> data(static_cast<char*>(::operator new(bytes, std::align_val_t(ALIGNMENT), std::nothrow)));
    if (!data) return false;
    blocks_.push_back({std::move(data), bytes});
    return true;
  }

  std::vector<Block> blocks_;
  size_t used_ = 0;
};

thread_local Arena of_thread;
thread_local Arena* arena = &of_thread;

}  // namespace

// Where a worker fails it abandons the meeting, and the others, which would wait for it for ever, leave their work by an
// exception.
class Meeting {
 public:
  struct Abandoned {};

  explicit Meeting(int count) : count_(count) {
    for (int i = 0; i < count; i++) cores_[i].store(-1, std::memory_order_relaxed);
  }

  // Goes to another core if one of a lower number is on this thread's. They would take turns, each waiting for the other, until
  // the system moves one, and that takes milliseconds, since it sees two that are busy.
  void spread(int number) {
    const int core = sched_getcpu();
    if (core < 0) return;
    if (cores_[number].load(std::memory_order_relaxed) != core) cores_[number].store(core, std::memory_order_relaxed);
    bool shared = false;
    for (int i = 0; i < number; i++) shared |= cores_[i].load(std::memory_order_relaxed) == core;
    cpu_set_t all;
    if (!shared || sched_getaffinity(0, sizeof all, &all)) return;
    cpu_set_t others = all;
    for (int i = 0; i < number; i++)
      if (const int other = cores_[i].load(std::memory_order_relaxed); other >= 0) CPU_CLR(other, &others);
    if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others)) return;
    cores_[number].store(sched_getcpu(), std::memory_order_relaxed);
    sched_setaffinity(0, sizeof all, &all);  // it may go where it likes again
  }

  void wait() {
    int round = round_.get();
    if (round != ABANDONED && arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.set(round + 1);
    } else if (round != ABANDONED) {
      round = round_.changed_from(round);
    }
    if (round == ABANDONED) throw Abandoned();
  }

  void abandon() { round_.set(ABANDONED); }

 private:
  static constexpr int ABANDONED = -1;
  const int count_;
  std::atomic<int> arrived_{0};
  Signal round_;
  std::atomic<int> cores_[MOST_THREADS];  // where each was seen last; -1 where that is not known
};

void Worker::wait() const {
  if (count == 1) return;
  meeting->wait();
  meeting->spread(number);
}

void* Worker::memory(size_t bytes) const { return arena->take(bytes); }

namespace {

class Team {  // threads that live as long as the process
 public:
  using Work = std::function<void(const Worker&)>;

  void run(int threads, const Work& work) {
    std::unique_lock<std::mutex> only(busy_, std::defer_lock);
    threads = threads > 1 && only.try_lock() ? enlist(threads) : 1;
    Meeting meeting(threads);
    if (threads == 1) {
      if (!perform(work, {0, 1, &meeting})) throw std::bad_alloc();
      return;
    }
    const int before = finished_.get();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work, meeting_ = &meeting, threads_ = threads;
      left_.store(threads, std::memory_order_relaxed);
      failed_.store(false, std::memory_order_relaxed);
      call_.set(call_.get() + 1);
    }
    arena = &of_caller_;
    share(work, {0, threads, &meeting});
    arena = &of_thread;
    finished_.changed_from(before);
    if (failed_.load(std::memory_order_relaxed)) throw std::bad_alloc();
  }

 private:
  int enlist(int threads) {  // how many there are now; where the system grants no more, fewer do the work
    try {
      for (; members_ < threads - 1; members_++) std::thread(&Team::member, this, members_ + 1).detach();
    } catch (const std::exception&) {}
    return std::min(threads, members_ + 1);
  }

  void member(int number) {
    for (int seen = 0;;) {
      call_.changed_from(seen);
      std::unique_lock<std::mutex> lock(mutex_);
      seen = call_.get();
      if (number >= threads_) continue;
      const Worker worker{number, threads_, meeting_};
      const Work& work = *work_;
      lock.unlock();
      share(work, worker);
    }
  }

  void share(const Work& work, const Worker& worker) {
    if (!perform(work, worker)) failed_.store(true, std::memory_order_relaxed);
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) finished_.set(finished_.get() + 1);
  }

  static bool perform(const Work& work, const Worker& worker) {  // false where the memory did not suffice
    bool fine = true;
    try {
      if (worker.count > 1) worker.meeting->spread(worker.number);
      worker.wait();  // so that each is on a core, and on one of its own, before any works for long
      work(worker);
    } catch (const std::bad_alloc&) {
      worker.meeting->abandon();
      fine = false;
    } catch (const Meeting::Abandoned&) {}
    arena->reset();
    return fine;
  }

  std::mutex busy_, mutex_;  // of a whole call; of the three that say what it is
  Arena of_caller_;          // whoever that is: JAX calls from one of its threads or another
  const Work* work_ = nullptr;
  Meeting* meeting_ = nullptr;
  int threads_ = 0;
  int members_ = 0;
  std::atomic<int> left_{0};
  std::atomic<bool> failed_{false};
  Signal call_, finished_;  // how many calls began and ended
};

// Never destroyed: its threads may outlive main. A forked child has none of them, so it begins with a team of its own.
Team* team = [] {
  pthread_atfork(nullptr, nullptr, [] { team = new Team; });
  return new Team;
}();

}  // namespace

int most_threads() {
  static const int found = [] {
    if (const char* wanted = std::getenv("LMGEN_THREADS"))
      if (const int n = std::atoi(wanted); n > 0) return std::min(n, MOST_THREADS);
    cpu_set_t cores;
    return sched_getaffinity(0, sizeof cores, &cores) ? 1 : std::clamp(CPU_COUNT(&cores), 1, 16);
  }();
  return found;
}

void together(int threads, const std::function<void(const Worker&)>& work) {
  team->run(std::clamp(threads, 1, most_threads()), work);
}

}  // namespace lmgen
