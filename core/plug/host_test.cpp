#include "core/plug/host.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/plug/check/faulty_host.h"
#include "core/plug/handle.h"

namespace t2i {
namespace {

const std::vector<std::string> services{"t2i.tensor/1", "t2i.op/1",  "t2i.autograd/1", "t2i.param/1",
                                        "t2i.block/1",  "t2i.rng/1", "t2i.asset/1",    "t2i.metric/1"};

// A plugin that asks for a later version must hear that there is none, not get the one whose id begins alike.
TEST(Host, ServicesAreFoundByTheirWholeIdAlone) {
  for (const t2i_host* h : {host(), faulty_host()}) {
    for (const std::string& id : services) {
      EXPECT_NE(h->service(h, id.c_str()), nullptr) << id;
      for (const std::string& other :
           {id + "1", id + ".2", id + " ", id + "~", id + "/1", " " + id, id.substr(0, id.size() - 1)})
        EXPECT_EQ(h->service(h, other.c_str()), nullptr) << "'" << other << "'";
    }
    EXPECT_EQ(h->service(h, ""), nullptr);
  }
}

// A node that counts its drops; forward squares, or fails.
struct Counted {
  bool fails = false;
  int drops = 0;

  static int32_t forward(void* self, const t2i_tensor* in, uint32_t, t2i_tensor* out) {
    if (static_cast<Counted*>(self)->fails) return set_last_error(T2I_E_INVALID, "not today");
    *out = wrap(unwrap(in[0]) * unwrap(in[0]));
    return T2I_OK;
  }
  static int32_t backward(void*, const t2i_tensor* saved, uint32_t, t2i_tensor grad, t2i_tensor* grad_in) {
    grad_in[0] = wrap(2 * unwrap(saved[0]) * unwrap(grad));
    return T2I_OK;
  }
  static void drop(void* self) { ++static_cast<Counted*>(self)->drops; }
};

class Drops : public testing::TestWithParam<const t2i_host* (*)()> {
 protected:
  // Applies the node to a tensor; its result, and in `drops` how often the node was dropped by then.
  at::Tensor apply(Counted& node, const at::Tensor& x) {
    auto* api = static_cast<const t2i_autograd_api*>(GetParam()()->service(GetParam()(), "t2i.autograd/1"));
    t2i_tensor in = borrow(x), out = nullptr;
    code = api->apply(Counted::forward, Counted::backward, Counted::drop, &node, &in, 1, &out);
    return take(out);
  }
  int32_t code = 0;
};

TEST_P(Drops, OnceAfterBackwardWhenTheGraphGoes) {
  Counted node;
  at::Tensor x = at::full({3}, 2.0).requires_grad_(true);
  {
    at::Tensor y = apply(node, x);
    ASSERT_EQ(code, T2I_OK);
    torch::autograd::backward({y.sum()}, {});
    EXPECT_TRUE(x.grad().equal(at::full({3}, 4.0)));
    EXPECT_EQ(node.drops, 0);
  }
  EXPECT_EQ(node.drops, 1);
}

TEST_P(Drops, OnceWithoutBackward) {
  Counted node;
  apply(node, at::ones({3}).requires_grad_(true));
  EXPECT_EQ(node.drops, 1);
}

TEST_P(Drops, OnceWithoutAGraph) {
  Counted node;
  apply(node, at::ones({3}));
  EXPECT_EQ(node.drops, 1);
}

TEST_P(Drops, OnceWhenForwardFails) {
  Counted node{true};
  apply(node, at::ones({3}).requires_grad_(true));
  EXPECT_EQ(code, T2I_E_INVALID);
  EXPECT_EQ(last_error_text(), "not today");
  EXPECT_EQ(node.drops, 1);
}

INSTANTIATE_TEST_SUITE_P(Hosts, Drops, testing::Values(&host, &faulty_host));

TEST(FaultyHost, CountsNodesThatWereNeverDropped) {
  auto* api = static_cast<const t2i_autograd_api*>(faulty_host()->service(faulty_host(), "t2i.autograd/1"));
  forget_nodes();
  Counted node, other;
  at::Tensor x = at::ones({3}).requires_grad_(true);
  t2i_tensor in = borrow(x), out = nullptr;
  ASSERT_EQ(api->apply(Counted::forward, Counted::backward, Counted::drop, &node, &in, 1, &out), T2I_OK);
  at::Tensor kept = take(out);
  fail_at_call(1);
  EXPECT_NE(api->apply(Counted::forward, Counted::backward, Counted::drop, &other, &in, 1, &out), T2I_OK);
  fail_at_call(0);
  EXPECT_EQ(other.drops, 1);
  DropCount count = drop_count();
  EXPECT_EQ(count.nodes, 2);
  EXPECT_EQ(count.never, 1);
  kept.reset();
  count = drop_count();
  EXPECT_EQ(count.never, 0);
  EXPECT_EQ(count.again, 0);
  EXPECT_EQ(node.drops, 1);
}

}  // namespace
}  // namespace t2i
