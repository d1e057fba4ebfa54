// The group on c10d: a TCPStore for texts and meetings, Gloo or NCCL for tensors. The only file of this library that
// touches c10d's classes.
//
// Who is missing? A backend's error names a socket, not a rank. So a rank whose collective failed writes `stopped/RANK`
// into the store and looks for a moment who else did: whoever does not is the one that died or hangs; whoever left
// by an error of its own has said so there. A store served by a frozen rank answers never (its client has no limit on
// receiving), so every question to it has a deadline of our own: it is asked by a thread that is left behind when it
// does not come back.
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <c10/util/Logging.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <future>
#include <thread>

#include "core/dist/group.h"
#include "core/dist/nccl.h"
#include "core/dist/reminder.h"

namespace t2i {

MakeBackend make_nccl_backend = nullptr;

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using StorePointer = c10::intrusive_ptr<c10d::Store>;

constexpr milliseconds start_limit = 300s;     // processes of one run may load for different times
constexpr milliseconds barrier_limit = 3600s;  // one rank may write a large checkpoint to a slow disk
constexpr milliseconds patience = 10s;         // then it is said who has not come to the start
constexpr milliseconds look_around = 1500ms;   // for the other ranks of a failed collective to say that they stopped

// The engine's own words, without its stack and without the "[file:line]" that Gloo puts in front.
std::string first_line(const std::exception& e) {
  auto torch_error = dynamic_cast<const c10::Error*>(&e);
  std::string text = torch_error ? torch_error->what_without_backtrace() : e.what();
  text = text.substr(0, text.find('\n'));
  if (size_t end = text.find("] "); text.starts_with('[') && end != std::string::npos) text.erase(0, end + 2);
  while (text.ends_with('.')) text.pop_back();
  return printable(text);
}

// What `ask` returns, or nothing if it has not come back by then. Its exceptions come through.
template <class F>
auto by_deadline(milliseconds limit, F ask) -> std::optional<decltype(ask())> {
  std::packaged_task<decltype(ask())()> task(std::move(ask));
  auto answer = task.get_future();
  std::thread(std::move(task)).detach();
  if (answer.wait_for(limit) != std::future_status::ready) return std::nullopt;
  return answer.get();
}

// Nobody can know at this moment whether they come late or never: a notice, no failure.
void say_who_is_waited_for(const Launch& launch, const std::string& missing, milliseconds limit) {
  Error e{
      "launch by " + launch.launcher,
      fmt::format("rank {} of {} has waited {} s for {}", launch.rank, launch.world, patience.count() / 1000, missing),
      fmt::format("It will wait {} s more", (limit - patience).count() / 1000),
      "see that every rank was started and that none stopped with an error",
      "E5006",
      Exit::peer_failed};
  fmt::print(stderr, "notice: {}\n", to_string(e));
}

// Under stopped/RANK: why that rank goes no further.
constexpr uint8_t peer_was_lost = 1, own_error = 2;
std::string stopped_key(int rank) { return "stopped/" + std::to_string(rank); }

class C10dGroup final : public Group {
  // Constant after construction.
  int rank_, world_;
  bool serves_store_;
  milliseconds timeout_;
  std::vector<std::string> who_;  // "host h, pid p" by rank
  StorePointer store_;
  c10::intrusive_ptr<c10d::Backend>
      gloo_;  // for meetings: its sockets notice a peer's death at once, the store never does
  c10::intrusive_ptr<c10d::Backend> backend_;  // for tensors: NCCL on GPUs, else gloo_

  std::atomic<int64_t> collectives_{0};  // autograd's threads start some
  std::atomic<bool> failed_{false};
  int64_t meetings_ = 0;  // step thread only

  std::string name(int rank) const {
    std::string text = "rank " + std::to_string(rank);
    return static_cast<size_t>(rank) < who_.size() ? text + " (" + who_[static_cast<size_t>(rank)] + ")" : text;
  }

  [[noreturn]] void peer_failed(const std::string& label, const std::string& who, const std::string& why) {
    failed_ = true;
    // A launcher takes the earliest report for the cause, and the cause is elsewhere: let it be written first.
    std::this_thread::sleep_for(1s);
    fail({label, "on rank " + std::to_string(rank_) + " of " + std::to_string(world_) + ": " + who, why,
          "look at the output of that process: the first failure is the cause. Raise the timeout only if a step really "
          "is that slow",
          "E5001", Exit::peer_failed});
  }

  std::string names(const std::vector<int>& ranks) const {
    std::string text;
    for (size_t i = 0; i < ranks.size(); ++i) text += (i ? ", " : "") + name(ranks[i]);
    return text;
  }

  // Tells the others that this rank stopped, and says which ranks are to blame.
  std::string missing(milliseconds waited) {
    struct Ranks {
      std::vector<int> silent, failed;
    };
    // Whoever serves the store stays a little longer, and what was seen before it left still counts.
    milliseconds look = look_around + (serves_store_ ? 500ms : 0ms);
    auto ranks = by_deadline(look_around + 1s, [store = store_, rank = rank_, world = world_, look] {
      store->set(stopped_key(rank), std::vector<uint8_t>{peer_was_lost});
      std::optional<Ranks> last;
      for (auto end = std::chrono::steady_clock::now() + look;; std::this_thread::sleep_for(50ms)) {
        Ranks found;
        try {
          for (int r = 0; r < world; ++r) {
            if (!store->check({stopped_key(r)})) found.silent.push_back(r);
            else if (store->get(stopped_key(r)).at(0) == own_error) found.failed.push_back(r);
          }
        } catch (const std::exception&) {
          if (!last || std::count(last->silent.begin(), last->silent.end(), 0)) throw;
          return *last;
        }
        if (found.silent.empty() || std::chrono::steady_clock::now() > end) return found;
        last = std::move(found);
      }
    });
    if (!ranks) return name(0) + ", which serves the store, does not answer";
    if (!ranks->failed.empty()) return names(ranks->failed) + " stopped with an error";
    if (ranks->silent.empty()) return "the connection between the ranks broke";
    return names(ranks->silent) + " died, or did not take part within " + std::to_string(waited.count() / 1000) + " s";
  }

  template <class F>
  auto guarded(const std::string& label, F work) {
    return guarded(label, timeout_, std::move(work));
  }
  template <class F>
  auto guarded(const std::string& label, milliseconds limit, F work) {
    try {
      return work();
    } catch (const Failure&) {
      throw;
    } catch (const std::exception& e) {
      std::string why = first_line(e), who;
      try {
        who = missing(limit);
      } catch (const std::exception&) {
        who = "the store is gone, and with it " +
              (serves_store_ ? std::string("the network") : name(0) + " or the launcher");
      }
      peer_failed(label, who, why);
    }
  }

  std::string next_label(const char* collective, const std::string& what) {
    return std::string(collective) + " #" + std::to_string(collectives_++) + " '" + what + "'";
  }

  // NCCL reports an aborted communicator when asked, not at wait().
  void check_backend() {
    if (backend_->getBackendName() == "nccl" && backend_->getError() != c10d::ErrorType::SUCCESS)
      throw std::runtime_error("NCCL stopped after an error or a timeout");
  }

  // Every rank leaves a text and reads all of them. A rank that has come to this meeting has read all of the last one,
  // so our text of the last one can go.
  // `tell_absent` is called once, after `patience`, on the lowest rank that has come.
  std::vector<std::string> meet(const std::string& text, const std::string& what, milliseconds limit,
                                const std::function<void(const std::vector<int>&)>& tell_absent = {}) {
    std::string label = "meeting '" + what + "'";
    if (gloo_)
      guarded(label, limit, [&] {
        c10d::BarrierOptions options;
        options.timeout = limit;
        gloo_->barrier(options)->wait();
      });
    int64_t number = meetings_++;
    auto keys = [world = world_](int64_t n) {
      std::vector<std::string> all;
      for (int r = 0; r < world; ++r) all.push_back("meeting/" + std::to_string(n) + "/" + std::to_string(r));
      return all;
    };
    struct Outcome {
      std::vector<std::string> texts;
      std::vector<int> absent, stopped;
    };
    auto ask = [=, store = store_, rank = rank_, world = world_, now = keys(number), before = keys(number - 1)] {
      Outcome outcome;
      store->set(now[static_cast<size_t>(rank)], std::vector<uint8_t>(text.begin(), text.end()));
      bool told = !tell_absent;
      for (auto began = std::chrono::steady_clock::now(), end = began + limit;;) {
        try {
          store->wait(now, 1000ms);
          break;
        } catch (const c10::DistStoreError&) {  // not yet: see whether it is worth waiting on
          outcome.absent.clear();
          for (int r = 0; r < world; ++r) {
            if (store->check({now[static_cast<size_t>(r)]})) continue;
            outcome.absent.push_back(r);
            if (store->check({stopped_key(r)})) outcome.stopped.push_back(r);
          }
          if (!outcome.stopped.empty() || (!outcome.absent.empty() && std::chrono::steady_clock::now() > end))
            return outcome;
          if (told || outcome.absent.empty() || std::chrono::steady_clock::now() < began + patience) continue;
          told = true;
          int lowest = 0;
          while (std::count(outcome.absent.begin(), outcome.absent.end(), lowest)) ++lowest;
          if (lowest == rank) tell_absent(outcome.absent);
        }
      }
      outcome.absent.clear();
      for (const std::string& key : now) {
        auto bytes = store->get(key);
        outcome.texts.emplace_back(bytes.begin(), bytes.end());
      }
      if (number) store->deleteKey(before[static_cast<size_t>(rank)]);
      return outcome;
    };
    std::optional<Outcome> outcome;
    try {
      outcome = by_deadline(limit + 5s, ask);
    } catch (const std::exception& e) {
      peer_failed(label,
                  "the store is gone, and with it " +
                      (serves_store_ ? std::string("the network") : name(0) + " or the launcher"),
                  first_line(e));
    }
    if (!outcome) peer_failed(label, name(0) + ", which serves the store, does not answer", "");
    if (outcome->absent.empty()) return outcome->texts;
    if (!outcome->stopped.empty()) peer_failed(label, names(outcome->stopped) + " stopped with an error", "");
    peer_failed(label, names(outcome->absent) + " did not come within " + std::to_string(limit.count() / 1000) + " s",
                "");
  }

  class Reduction final : public Pending {
    C10dGroup& group_;
    c10::intrusive_ptr<c10d::Work> work_;
    std::string label_;

   public:
    Reduction(C10dGroup& group, c10::intrusive_ptr<c10d::Work> work, std::string label)
        : group_(group), work_(std::move(work)), label_(std::move(label)) {}
    void wait() override {
      group_.guarded(label_, [&] { work_->wait(), group_.check_backend(); });
    }
  };

 public:
  C10dGroup(const Launch& launch, at::Device device, milliseconds timeout)
      : rank_(launch.rank),
        world_(launch.world),
        serves_store_(launch.rank == 0 && !launch.agent_store),
        timeout_(timeout) {
    milliseconds start = std::max(timeout, start_limit);
    std::string master = launch.master_address + ":" + std::to_string(launch.master_port);
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(launch.master_port);
    options.isServer = serves_store_;
    options.waitWorkers = false;  // they meet below, where the ones that do not come can be named
    options.timeout = start;
    try {
      Reminder late(patience, [&] {
        say_who_is_waited_for(
            launch, "rank 0, which is to serve the store at " + master + " and cannot be reached there", start);
      });
      auto tcp = c10::make_intrusive<c10d::TCPStore>(launch.master_address, options);
      store_ = c10::make_intrusive<c10d::PrefixStore>("t2i/attempt" + std::to_string(launch.restart), tcp);
    } catch (const std::exception& e) {
      fail({"launch by " + launch.launcher,
            (serves_store_ ? "cannot serve the store at " : "cannot reach the store at ") + master, first_line(e),
            serves_store_ ? "set MASTER_PORT to a free port"
                          : "see that rank 0 runs and that MASTER_ADDR and MASTER_PORT are its own",
            "E5004", Exit::peer_failed});
    }
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    who_ = meet("host " + std::string(host) + ", pid " + std::to_string(getpid()), "start", start,
                [launch, start](const std::vector<int>& absent) {
                  std::string ranks = absent.size() == 1 ? "rank" : "ranks";
                  say_who_is_waited_for(launch, fmt::format("{} {}", ranks, fmt::join(absent, ", ")), start);
                });
    guarded("start of the collectives", [&] {
      auto gloo_options = c10d::ProcessGroupGloo::Options::create_default(timeout_);
      auto in = [&](const char* space) { return c10::make_intrusive<c10d::PrefixStore>(space, store_); };
      gloo_ = c10::make_intrusive<c10d::ProcessGroupGloo>(in("gloo"), rank_, world_, gloo_options);
      backend_ = device.is_cuda() ? make_nccl_backend({in("nccl"), rank_, world_, timeout_, device}) : gloo_;
    });
  }

  // The store must outlive everyone's last question, so the rank that serves it leaves last. On the way out of an error
  // the others are told instead.
  ~C10dGroup() override {
    try {
      if (failed_ && backend_) backend_->abort();
      if (failed_ && gloo_ && gloo_ != backend_) gloo_->abort();
      if (failed_) return;
      bool leaving_by_error = std::uncaught_exceptions() > 0;
      by_deadline(12s, [=, store = store_, rank = rank_, world = world_, serves = serves_store_] {
        store->set(leaving_by_error ? stopped_key(rank) : "bye/" + std::to_string(rank),
                   std::vector<uint8_t>{own_error});
        for (int r = 0; serves && !leaving_by_error && r < world; ++r) store->wait({"bye/" + std::to_string(r)}, 10s);
        return true;
      });
    } catch (const std::exception&) {
      // The others have left already; there is nobody to tell.
    }
  }

  int rank() const override { return rank_; }
  int world() const override { return world_; }

  std::unique_ptr<Pending> start_all_reduce(at::Tensor tensor, const std::string& what) override {
    std::string label = next_label("all_reduce", what);
    auto work = guarded(label, [&] {
      TORCH_CHECK(tensor.is_contiguous(), "the tensor is not contiguous");
      check_backend();
      std::vector<at::Tensor> tensors{tensor};
      return backend_->allreduce(tensors);
    });
    return std::make_unique<Reduction>(*this, std::move(work), std::move(label));
  }

  void broadcast(at::Tensor tensor, int from_rank, const std::string& what) override {
    guarded(next_label("broadcast", what), [&] {
      TORCH_CHECK(tensor.is_contiguous(), "the tensor is not contiguous");
      check_backend();
      std::vector<at::Tensor> tensors{tensor};
      c10d::BroadcastOptions options;
      options.rootRank = from_rank;
      backend_->broadcast(tensors, options)->wait();
      check_backend();
    });
  }

  double sum_on_hosts(double number, const std::string& what) override {
    return guarded(next_label("sum", what), [&] {
      at::Tensor sum = at::full({1}, number, at::kDouble);
      std::vector<at::Tensor> tensors{sum};
      gloo_->allreduce(tensors)->wait();
      return sum.item<double>();
    });
  }

  std::vector<std::string> gather_text(const std::string& text, const std::string& what) override {
    return meet(text, what, std::max(timeout_, milliseconds(1s)));
  }
  void barrier(const std::string& what) override { meet("", what, std::max(timeout_, barrier_limit)); }
};

}  // namespace

std::unique_ptr<Group> make_group(const Launch& launch, at::Device device, int timeout_seconds) {
  if (launch.world == 1) return single_group();
  if (device.is_cuda() && !make_nccl_backend)
    fail({"launch by " + launch.launcher, "several processes on GPUs need NCCL, and libt2i_cuda.so does not offer it",
          "", "build t2i with the CUDA wheels (./quickstart --build), or set train.device: cpu", "E5005",
          Exit::missing});
  // Gloo writes to its sockets by writev(): once a peer has died, that would end this process without a word.
  std::signal(SIGPIPE, SIG_IGN);
  // c10d logs each lost connection with a stack trace; what matters of it is in the Failure.
  if (!std::getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = 2;  // errors
  return std::make_unique<C10dGroup>(launch, device, std::chrono::seconds(timeout_seconds));
}

}  // namespace t2i
