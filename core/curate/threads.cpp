#include "core/curate/threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/metric/job_bar.h"

namespace t2i {
namespace {

struct Shared {
  std::atomic<uint64_t> next{0}, done{0};
  std::mutex mutex;
  std::condition_variable finished;
  size_t running = 0;
  std::exception_ptr wrong;
};

void work_off(Shared& shared, uint64_t count, const std::function<void(uint64_t)>& work) {
  try {
    for (uint64_t i; (i = shared.next.fetch_add(1)) < count; shared.done.fetch_add(1)) work(i);
  } catch (...) {
    std::lock_guard lock(shared.mutex);
    if (!shared.wrong) shared.wrong = std::current_exception();
    shared.next = count;  // nobody takes another
  }
  std::lock_guard lock(shared.mutex);
  --shared.running;
  shared.finished.notify_all();
}

}  // namespace

void for_each_in_threads(const std::string& what, uint64_t count, const std::function<void(uint64_t)>& work) {
  constexpr unsigned most_threads = 16;  // beyond, the disk is waited for
  const uint64_t wanted = std::min<uint64_t>(std::clamp(std::thread::hardware_concurrency(), 1u, most_threads), (count + 15) / 16);
  JobBar bar(what, count);
  Shared shared;
  std::vector<std::thread> threads;
  try {
    for (uint64_t i = 0; i < wanted; ++i) {
      {
        std::lock_guard lock(shared.mutex);
        ++shared.running;
      }
      threads.emplace_back([&] { work_off(shared, count, work); });
    }
  } catch (const std::system_error&) {  // no more threads to be had: fewer do it too
    std::lock_guard lock(shared.mutex);
    --shared.running;
  }
  if (threads.empty()) {
    shared.running = 1;
    work_off(shared, count, work);
  }
  std::unique_lock lock(shared.mutex);
  while (shared.running > 0) {
    shared.finished.wait_for(lock, std::chrono::milliseconds(50));
    bar.done(shared.done);
  }
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
  if (shared.wrong) std::rethrow_exception(shared.wrong);
}

}  // namespace t2i
