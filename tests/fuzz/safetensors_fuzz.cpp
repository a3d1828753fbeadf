// libFuzzer on the safetensors reader: an exception that is no Error, a leak, or a finding of the address or
// undefined-behaviour sanitizer ends it with the input that caused it. scripts/fuzz.sh builds and runs it.
#include "tests/fuzz/safetensors_property.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  omniconv::test::check_safetensors(std::as_bytes(std::span(data, size)));
  return 0;
}
