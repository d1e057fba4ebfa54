// Normalisations with their parameters.
#pragma once
#include <t2i/functions.hpp>

namespace t2i {

// The name of the part that a scope is for, "down_blocks.0.resnets.1": what its block is called.
inline std::string path_of(const Scope& s) { return s.prefix.substr(0, s.prefix.empty() ? 0 : s.prefix.size() - 1); }

struct LayerNorm {
  Scope scope;
  t2i_param weight = T2I_NO_PARAM, bias = T2I_NO_PARAM;
  double eps = 1e-5;
  LayerNorm() = default;
  LayerNorm(const Scope& s, int64_t width, double eps_)
      : scope(s), weight(s.declare("weight", {width}, "ones")), bias(s.declare("bias", {width}, "zeros")), eps(eps_) {}
  Tensor operator()(const Tensor& x) const { return layer_norm(x, scope.get(weight), scope.get(bias), eps); }
};

// Over the last dimension, by the root of the mean square (Zhang and Sennrich 2019, arXiv:1910.07467), in the type of x.
inline Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  return op<"t2i::rms_norm">({x, weight, eps});
}

struct GroupNorm {
  Scope scope;
  t2i_param weight = T2I_NO_PARAM, bias = T2I_NO_PARAM;
  int64_t groups = 32;
  double eps = 1e-5;
  GroupNorm() = default;
  GroupNorm(const Scope& s, int64_t channels, int64_t groups_, double eps_)
      : scope(s), weight(s.declare("weight", {channels}, "ones")), bias(s.declare("bias", {channels}, "zeros")),
        groups(groups_), eps(eps_) {}
  Tensor operator()(const Tensor& x) const { return group_norm(x, groups, scope.get(weight), scope.get(bias), eps); }
  // Followed by an activation: in one kernel where that is SiLU.
  Tensor operator()(const Tensor& x, Activation a) const {
    if (a == Activation::silu) return group_norm_silu(x, groups, scope.get(weight), scope.get(bias), eps);
    return activate(a, (*this)(x));
  }
};

}  // namespace t2i
