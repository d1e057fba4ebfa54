#include "core/plug/meter.h"

#include <ATen/ATen.h>

#include <mutex>

namespace t2i {
namespace {

struct Running {
  at::Tensor sum;
  int64_t count = 0;
};
std::mutex mutex;
std::map<std::string, Running> running;

}  // namespace

void meter_put(const std::string& name, const at::Tensor& scalar) {
  at::NoGradGuard no_grad;
  at::Tensor value = scalar.detach().to(at::kFloat).reshape({});
  std::lock_guard lock(mutex);
  Running& r = running[name];
  r.sum = r.count ? r.sum + value : value.clone();
  ++r.count;
}

std::map<std::string, double> meter_read() {
  std::map<std::string, double> means;
  std::lock_guard lock(mutex);
  for (auto& [name, r] : running) means[name] = r.sum.item<double>() / static_cast<double>(r.count);
  running.clear();
  return means;
}

void meter_clear() {
  std::lock_guard lock(mutex);
  running.clear();
}

}  // namespace t2i
