// The numbers of an update with eight-bit moments (adam8.h), from its options and what the device knows: host and device compile
// this same text.
#pragma once
#include <cstdint>

#include "core/base/philox.h"
#include "core/kernel/adam8_rows.h"

namespace t2i {

// As the names of torch.optim.AdamW have them.
struct Adam8Options {
  double learning_rate, beta1, beta2, adam_epsilon, weight_decay;
};

// base^n by squaring: products alone, which hosts and devices round alike. Their pow() do not.
T2I_HOST_DEVICE inline double whole_power(double base, int64_t n) {
  double power = 1;
  for (; n > 0; n /= 2, base *= base)
    if (n % 2) power *= base;
  return power;
}

// `step`: the update's number, from 1 on.
T2I_HOST_DEVICE inline Adam8Numbers adam8_numbers(const Adam8Options& o, float step, float grad_divisor) {
  const auto t = static_cast<int64_t>(step);
  Adam8Numbers a;
  a.grad_divisor = grad_divisor;
  a.beta1 = static_cast<float>(o.beta1), a.one_minus_beta1 = static_cast<float>(1 - o.beta1);
  a.beta2 = static_cast<float>(o.beta2), a.one_minus_beta2 = static_cast<float>(1 - o.beta2);
  a.step_size = static_cast<float>(o.learning_rate / (1 - whole_power(o.beta1, t)));
  a.denominator = static_cast<float>(sqrt(1 - whole_power(o.beta2, t)));
  a.added = static_cast<float>(o.adam_epsilon);
  a.kept = static_cast<float>(1 - o.learning_rate * o.weight_decay);
  return a;
}

}  // namespace t2i
