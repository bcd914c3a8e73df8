#include "thread_pool.h"

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

#include "cpu.h"

namespace lmgen {

namespace {

constexpr int MAX_THREADS = 64;
constexpr int SPINS = 2000;   // a waiting thread spins first, for some ten microseconds
constexpr int YIELDS = 1000;  // then yields, for longer than the time between two steps on an idle machine, and then sleeps

// An integer whose changes other threads wait for. A waiting thread sleeps in the end: where processes share the cores, the
// thread it waits for may need its core, and the scheduler moves no thread to a core that looks busy.
class WaitableInt {
 public:
  int get() const { return value_.load(std::memory_order_acquire); }

  void set(int value) {
    value_.store(value);  // before reading sleepers_: a sleeper increments that before it reads the value
    if (sleepers_.load() == 0) return;
    { std::lock_guard<std::mutex> lock(mutex_); }  // until every thread that saw the old value sleeps
    woken_.notify_all();
  }

  int wait_for_change(int old) {  // the first value other than `old`
    for (int i = 0; i < SPINS + YIELDS; i++) {
      if (const int value = get(); value != old) return value;
      i < SPINS ? cpu_relax() : void(sched_yield());
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

// Memory that a thread keeps between calls, so that its pages are faulted in only once.
class Arena {
 public:
  void* take(size_t bytes) {
    size_t begin = (used_ + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (blocks_.empty() || begin + bytes > blocks_.back().size) {
      if (!add(std::max(bytes, MIN_BLOCK))) throw std::bad_alloc();
      begin = 0;
    }
    used_ = begin + bytes;
    return blocks_.back().data.get() + begin;
  }

  void reset() {  // merges several blocks into one, if there is enough memory
    if (blocks_.size() > 1 || MIN_BLOCK == 0) {
      size_t total = 0;
      for (const Block& block : blocks_) total += block.size;
      blocks_.clear();
      if (MIN_BLOCK > 0) add(total);
    }
    used_ = 0;
  }

 private:
  static constexpr size_t ALIGNMENT = 64;
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t MIN_BLOCK = 0;  // one block a request, so that the sanitizer checks its ends
#else
  static constexpr size_t MIN_BLOCK = size_t(1) << 20;
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

thread_local Arena thread_arena;
thread_local Arena* arena = &thread_arena;

}  // namespace

// A barrier for the threads of one call. A worker that fails aborts it; the others, which would wait forever, then leave their
// work by an exception.
class Barrier {
 public:
  struct Aborted {};

  explicit Barrier(int count) : count_(count) {
    for (int i = 0; i < count; i++) cores_[i].store(-1, std::memory_order_relaxed);
  }

  // Moves this thread to another core if a worker with a lower number runs on the same one. Otherwise the two would take turns,
  // each waiting for the other, for the milliseconds that the scheduler needs to move one of two busy threads. Only Linux says
  // where a thread runs.
  void leave_shared_core([[maybe_unused]] int number) {
#if defined(__linux__)
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
    sched_setaffinity(0, sizeof all, &all);  // the pinning was only needed to move
#endif
  }

  void wait() {
    int round = round_.get();
    if (round != ABORTED && arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.set(round + 1);
    } else if (round != ABORTED) {
      round = round_.wait_for_change(round);
    }
    if (round == ABORTED) throw Aborted();
  }

  void abort() { round_.set(ABORTED); }

 private:
  static constexpr int ABORTED = -1;
  const int count_;
  std::atomic<int> arrived_{0};
  WaitableInt round_;
  std::atomic<int> cores_[MAX_THREADS];  // the last known core of each worker, or -1
};

void Worker::wait() const {
  if (count == 1) return;
  barrier->wait();
  barrier->leave_shared_core(number);
}

void* Worker::memory(size_t bytes) const { return arena->take(bytes); }

namespace {

class ThreadPool {  // its threads live as long as the process
 public:
  using Work = std::function<void(const Worker&)>;

  void run(int threads, const Work& work) {
    std::unique_lock<std::mutex> only(busy_, std::defer_lock);
    threads = threads > 1 && only.try_lock() ? start_threads(threads) : 1;
    Barrier barrier(threads);
    if (threads == 1) {
      if (!perform(work, {0, 1, &barrier})) throw std::bad_alloc();
      return;
    }
    const int before = finished_.get();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work, barrier_ = &barrier, threads_ = threads;
      left_.store(threads, std::memory_order_relaxed);
      failed_.store(false, std::memory_order_relaxed);
      call_.set(call_.get() + 1);
    }
    arena = &caller_arena_;
    share(work, {0, threads, &barrier});
    arena = &thread_arena;
    finished_.wait_for_change(before);
    if (failed_.load(std::memory_order_relaxed)) throw std::bad_alloc();
  }

 private:
  int start_threads(int threads) {  // returns how many there are: fewer if the system refuses more
    try {
      for (; started_ < threads - 1; started_++) std::thread(&ThreadPool::serve_calls, this, started_ + 1).detach();
    } catch (const std::exception&) {}
    return std::min(threads, started_ + 1);
  }

  void serve_calls(int number) {
    for (int seen = 0;;) {
      call_.wait_for_change(seen);
      std::unique_lock<std::mutex> lock(mutex_);
      seen = call_.get();
      if (number >= threads_) continue;
      const Worker worker{number, threads_, barrier_};
      const Work& work = *work_;
      lock.unlock();
      share(work, worker);
    }
  }

  void share(const Work& work, const Worker& worker) {
    if (!perform(work, worker)) failed_.store(true, std::memory_order_relaxed);
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) finished_.set(finished_.get() + 1);
  }

  static bool perform(const Work& work, const Worker& worker) {  // false if the worker ran out of memory
    bool fine = true;
    try {
      if (worker.count > 1) worker.barrier->leave_shared_core(worker.number);
      worker.wait();  // every worker has a core of its own before any of them starts
      work(worker);
    } catch (const std::bad_alloc&) {
      worker.barrier->abort();
      fine = false;
    } catch (const Barrier::Aborted&) {}
    arena->reset();
    return fine;
  }

  std::mutex busy_, mutex_;  // held for a whole call; guards the three fields that describe it
  Arena caller_arena_;       // of the caller: JAX calls from any of its threads
  const Work* work_ = nullptr;
  Barrier* barrier_ = nullptr;
  int threads_ = 0;
  int started_ = 0;
  std::atomic<int> left_{0};
  std::atomic<bool> failed_{false};
  WaitableInt call_, finished_;  // numbers of calls begun and finished
};

// Never destroyed, as its threads may outlive main. A forked child has none of the threads and gets a new pool.
ThreadPool* pool = [] {
  pthread_atfork(nullptr, nullptr, [] { pool = new ThreadPool; });
  return new ThreadPool;
}();

}  // namespace

int max_threads() {
  static const int found = [] {
    if (const char* wanted = std::getenv("LMGEN_THREADS"))
      if (const int n = std::atoi(wanted); n > 0) return std::min(n, MAX_THREADS);
#if defined(__linux__)
    cpu_set_t set;
    const int cores = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
#else
    const int cores = int(std::thread::hardware_concurrency());
#endif
    return std::clamp(cores, 1, 16);
  }();
  return found;
}

void run_on_threads(int threads, const std::function<void(const Worker&)>& work) {
  pool->run(std::clamp(threads, 1, max_threads()), work);
}

}  // namespace lmgen
