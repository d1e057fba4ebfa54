// T5's encoder (Raffel et al. 2020, arXiv:1910.10683) in version 1.1's form and the first one's: transformers'
// T5EncoderModel. Attention without scaling, over a learnt bias of relative distances; root-mean-square norms.
#pragma once
#include <string>
#include <vector>

#include "norm.hpp"

namespace t2i {

struct T5Config {
  int64_t vocabulary = 32128, width = 512, head_width = 64, inner_width = 2048, layers = 6, heads = 8;
  int64_t buckets = 32, max_distance = 128;  // of relative distances
  bool gated = false;                        // version 1.1: act(wi_0 x) * (wi_1 x)
  Activation activation = Activation::relu;
  double eps = 1e-6;
};
// Throws t2i::Error with every problem, each naming `file`, key and value.
T5Config read_t5_config(const Json& json, const std::string& file);

struct T5Norm {
  Scope scope;
  t2i_param weight = T2I_NO_PARAM;
  double eps = 1e-6;
  T5Norm() = default;
  T5Norm(const Scope& s, int64_t width, double eps_) : scope(s), weight(s.declare("weight", {width}, "ones")), eps(eps_) {}
  Tensor operator()(const Tensor& x) const;
};

struct T5Layer {
  Scope scope;
  std::string name;
  T5Norm attention_norm, feed_norm;
  Linear q, k, v, o, wi_0, wi_1, wo;  // wi_1 only where gated
  T5Config config;
  T5Layer(const Scope& s, const T5Config& c);
  // x [B,L,width], bias [1,heads,L,L]; one block of the core.
  Tensor operator()(const Tensor& x, const Tensor& bias) const;
};

// Is run by address (blocks are recomputed through pointers into it): neither moved nor copied.
class T5Encoder {
 public:
  T5Encoder(const Scope& s, const T5Config& config);
  T5Encoder(const T5Encoder&) = delete;
  // tokens [B,L] int64 -> [B,L,width]. Every position sees every other, padding too, as the pipelines have it.
  Tensor operator()(const Tensor& tokens) const;

 private:
  Tensor distance_bias(int64_t length, const Tensor& like) const;

  Scope scope_;
  T5Config config_;
  t2i_param embedding_, relative_bias_;
  std::vector<T5Layer> layers_;
  T5Norm final_norm_;
};

}  // namespace t2i
