#include "apps/export/onnx.h"

#include "engine/usage.h"

namespace omniconv {

void check_opset(const ModelConfig& config, std::int64_t opset) {
  require_in("export", opset >= oldest_opset && opset <= newest_opset, "--opset of ", oldest_opset, " to ",
             newest_opset, ", got ", opset);
  constexpr std::int64_t first_with_layer_norm = 17;
  const bool layer_norms = config.dynamic() && config.attention_norm == AttentionNorm::layer;
  require_in("export", !layer_norms || opset >= first_with_layer_norm, "--opset ", first_with_layer_norm,
             " for a model with layer norms, got ", opset);
}

#if !OMNICONV_ONNX
void export_onnx(const Model&, std::int64_t, std::int64_t, const std::string&) {
  fail("export",
       "expected a build with ONNX, got one without: install libonnx-dev and libprotobuf-dev, configure and build "
       "again");
}
#endif

}  // namespace omniconv
