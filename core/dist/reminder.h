// Something said once, if what is waited for takes long.
#pragma once
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace t2i {

class Reminder {
 public:
  // Calls `say` from a thread of its own, unless destroyed before `after` has passed.
  Reminder(std::chrono::milliseconds after, std::function<void()> say)
      : thread_([this, after, say = std::move(say)] {
          std::unique_lock lock(mutex_);
          if (!over_.wait_for(lock, after, [&] { return done_; })) say();
        }) {}
  ~Reminder() {
    {
      std::lock_guard lock(mutex_);
      done_ = true;
    }
    over_.notify_all();
    thread_.join();
  }
  Reminder(const Reminder&) = delete;
  Reminder& operator=(const Reminder&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool done_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace t2i
