// One function per service of plugin.h; each table lives as long as the process.
#pragma once
#include <t2i/plugin.h>

namespace t2i {

const t2i_tensor_api* tensor_service();
const t2i_op_api* op_service();
const t2i_autograd_api* autograd_service();
const t2i_param_api* param_service();
const t2i_block_api* block_service();
const t2i_rng_api* rng_service();
const t2i_asset_api* asset_service();
const t2i_metric_api* metric_service();

}  // namespace t2i
