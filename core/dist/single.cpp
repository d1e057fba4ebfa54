// A world of one: every collective is already done.
#include "core/dist/group.h"

namespace t2i {
namespace {

struct Done final : Pending {
  void wait() override {}
};

struct SingleGroup final : Group {
  int rank() const override { return 0; }
  int world() const override { return 1; }
  std::unique_ptr<Pending> start_all_reduce(at::Tensor, const std::string&) override {
    return std::make_unique<Done>();
  }
  void broadcast(at::Tensor, int, const std::string&) override {}
  double sum_on_hosts(double number, const std::string&) override { return number; }
  std::vector<std::string> gather_text(const std::string& text, const std::string&) override { return {text}; }
  void barrier(const std::string&) override {}
};

}  // namespace

std::unique_ptr<Group> single_group() { return std::make_unique<SingleGroup>(); }

}  // namespace t2i
