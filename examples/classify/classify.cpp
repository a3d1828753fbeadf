// Classifies a picture of 32x32 pixels: classify CHECKPOINT PICTURE
#include <stb/stb_image.h>

#include <algorithm>
#include <cstdio>

#include "data/normalise.h"
#include "models/checkpoint.h"
#include "models/inference.h"

int main(int argc, char** argv) try {
  omniconv::expect(argc == 3, "classify", "expected a checkpoint and a picture, got ", argc - 1, " arguments");
  const omniconv::LoadedModel loaded = omniconv::load_model(argv[1], omniconv::DType::f32);
  omniconv::InferenceNet net(*loaded.model);

  int width = 0, height = 0;
  unsigned char* pixels = stbi_load(argv[2], &width, &height, nullptr, 3);
  omniconv::expect(pixels && width == 32 && height == 32, "classify", argv[2], ": expected a picture of 32x32 pixels");
  omniconv::ImageSet image{{}, {0}};  // red, green and blue planes, and a label that nobody reads
  for (int channel = 0; channel < 3; ++channel)
    for (int pixel = 0; pixel < width * height; ++pixel) image.images.push_back(pixels[3 * pixel + channel]);
  stbi_image_free(pixels);

  const auto logits = net.forward(omniconv::normalise(image, omniconv::DType::f32)).to_host<float>();
  std::printf("class %d\n", static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
