// Images that stay on the host give the bits of images on the device: batches, evaluations and runs.
#include "apps/training/residence.h"

#include <limits>

#include "apps/training/evaluator.h"
#include "apps/training/feed.h"
#include "apps/training/mixing.h"
#include "engine/device.h"
#include "tests/apps/program.h"
#include "tests/apps/tiny_runs.h"
#include "tests/settings.h"

#if OMNICONV_CUDA
#define ON_DEVICE "[residence][cuda]"
#else
#define ON_DEVICE "[residence]"
#endif

namespace omniconv::test {
namespace {

constexpr Residence device = Residence::device, host = Residence::host;

TEST_CASE("images lie on the device by themselves as long as half of its free memory holds them", "[residence]") {
  CHECK(residence_for(500, 1000) == device);
  CHECK(residence_for(501, 1000) == host);
  CHECK(residence_for(1, 0) == host);
  CHECK(residence_for(0, 0) == device);
  CHECK(residence_for(std::numeric_limits<std::size_t>::max(), std::nullopt) == device);
  CHECK(parse_residence("device") == device);
  CHECK(parse_residence("host") == host);
  CHECK(parse_residence("auto") == std::nullopt);
  CHECK_THROWS_AS(parse_residence("gpu"), UsageError);
  CHECK_THROWS_WITH(parse_residence(""), "[options] expected --images device, host or auto, got \"\"");
#if !OMNICONV_CUDA
  CHECK(residence_now(std::numeric_limits<std::size_t>::max()) == device);
#endif
}

/// Batches of `sizes` out of an order, gathered in two parts each, as the trainer does it, but mixed and varied.
std::vector<std::vector<double>> gathered(const Dataset& set, const std::vector<std::int32_t>& order,
                                          const std::vector<BatchRange>& ranges, const kernels::Mix& mix, bool fed) {
  const kernels::Variation variation{.crop = true, .flip = kernels::Flip::random, .cutout = 3, .seed = 5};
  const std::vector<double> values = {mix.own_share, mix.top, mix.bottom, mix.left, mix.right};
  const Tensor device_mix = Tensor::from_host(values), indices = Tensor::from_host(order);
  Feed feed(set, 5);
  feed.start(order, ranges, 0);
  std::vector<std::vector<double>> results;
  for (const BatchRange& range : ranges) {
    if (fed) feed.next();
    for (const BatchRange& part : batch_ranges(range.size(), 3, false)) {
      const Batch batch = set.gather(indices.view(range.begin + part.begin, {part.size()}), DType::f64, variation,
                                     device_mix, fed ? feed.images(part.begin, part.size()) : Tensor());
      results.push_back(batch.images.to_doubles());
      for (const Tensor& labels : {batch.labels, batch.other_labels}) {
        const std::vector<std::int32_t> numbers = labels.to_host<std::int32_t>();
        results.emplace_back(numbers.begin(), numbers.end());
      }
    }
    if (fed && range.begin % 2 == 0) feed.prefetch();  // and where it is left out, next() brings the batch
  }
  return results;
}

TEST_CASE("batches from the host are those from the device, varied and mixed, whether fed or not", ON_DEVICE) {
  const ImageSet images = tiny_images(make_synthetic(1, 13, 1).train);
  const std::vector<std::int32_t> order = epoch_order(13, 3, 1, true);
  const std::vector<BatchRange> ranges = batch_ranges(13, 5, false);
  const kernels::Mix mix = GENERATE(kernels::Mix{0.3}, kernels::Mix{0.5, 2, 6, 1, 7});
  const Dataset on_device(images, device), on_host(images, host);
  CHECK(on_device.residence() == device);
  CHECK(on_host.residence() == host);
  const auto expected = gathered(on_device, order, ranges, mix, false);
  CHECK(gathered(on_device, order, ranges, mix, true) == expected);
  CHECK(gathered(on_host, order, ranges, mix, false) == expected);
  CHECK(gathered(on_host, order, ranges, mix, true) == expected);
}

TEST_CASE("a feed begins where it is told to, and forgets what it was to bring before", ON_DEVICE) {
  const ImageSet images = tiny_images(make_synthetic(1, 7, 1).train);
  const Dataset set(images, host);
  const auto of_image = [&](std::size_t index) {
    const auto begin = images.images.begin() + static_cast<std::ptrdiff_t>(index * set.bytes_per_image());
    return std::vector<std::uint8_t>(begin, begin + static_cast<std::ptrdiff_t>(set.bytes_per_image()));
  };
  Feed feed(set, 1);
  const std::vector<BatchRange> ranges = batch_ranges(7, 1, false);
  const auto next = [&] {
    feed.next();
    return feed.images(0, 1).to_host<std::uint8_t>();
  };
  feed.start({6, 5, 4, 3, 2, 1, 0}, ranges, 2);
  CHECK(next() == of_image(4));
  feed.prefetch();
  feed.start({0, 1, 2, 3, 4, 5, 6}, ranges, 5);
  CHECK(next() == of_image(5));
  feed.prefetch();
  CHECK(next() == of_image(6));
  feed.prefetch();  // nothing is left to bring
  CHECK_THROWS_WITH(feed.next(), ContainsSubstring("expected an upload under way, got none"));
}

TEST_CASE("an evaluation of images on the host finds the bits of one of images on the device", ON_DEVICE) {
  const Model model({.model = "od_resnet18", .width = 8, .kernels = 2, .image_size = 8}, 3, DType::f64);
  const ImageSet images = tiny_images(make_synthetic(1, 2, 23).test);
  const WithStepGraphs recorded(true);
  const std::int64_t batch_size = GENERATE(5, 100);
  const auto views = parse_views(GENERATE(as<std::string>(), "none", "flip"));
  Evaluation results[2];
  Tensor logits[2];
  for (const Residence residence : {device, host}) {
    const auto i = static_cast<std::size_t>(residence);
    logits[i] = Tensor::zeros({23, 10}, DType::f64);
    results[i] = evaluate(model, Dataset(images, residence), batch_size, logits[i], {}, views);
  }
  CHECK(results[0].loss == results[1].loss);
  CHECK(results[0].accuracy == results[1].accuracy);
  CHECK(logits[0].to_doubles() == logits[1].to_doubles());
}

// Recorded, where an address that changes from step to step shows.
TEST_CASE("a run with its images on the host ends in the bits of one with them on the device", ON_DEVICE) {
  const WithStepGraphs recorded(true);
  Recipe recipe = tiny_recipe();
  recipe.epochs = 2;
  SECTION("plain") {}
  SECTION("with every refinement, mixup and CutMix among them, in parts") {
    refine(recipe);
  }
  SECTION("with a partial batch at the end and images held out") {
    recipe.batch_size = 5;
    recipe.validation = 2;
    recipe.mixing = {0.4, 1};
  }
  SECTION("with a batch larger than the data") {
    recipe.batch_size = 100;
  }
  const TinyRun expected = run_tiny(recipe, {}, device), streamed = run_tiny(recipe, {}, host);
  CHECK_THAT(streamed.text, !ContainsSubstring("Steps are queued kernel by kernel"));
  check_same_runs(expected, streamed);
}

TEST_CASE("a run that stops within an epoch goes on with its images elsewhere", ON_DEVICE) {
  Recipe recipe = tiny_recipe();
  refine(recipe);
  recipe.epochs = 2;
  const WithStepGraphs recorded(true);
  const TinyRun expected = run_tiny(recipe, {}, device);
  check_same_runs(expected, run_tiny(recipe, 5, host, device));
  check_same_runs(expected, run_tiny(recipe, 5, device, host));
}

TEST_CASE("a loss that is not finite is blamed on the same layer, wherever the images lie", ON_DEVICE) {
  Recipe recipe = tiny_recipe();
  recipe.precision = DType::f32;
  recipe.lr_schedule = LearningRateSchedule::step;
  recipe.lr_milestones = {1};
  recipe.lr_factor = 1e30;  // the second epoch explodes
  std::string messages[2];
  for (const Residence residence : {device, host}) {
    try {
      run_tiny(recipe, {}, residence);
    } catch (const Error& error) {
      messages[static_cast<std::size_t>(residence)] = error.what();
    }
  }
  CHECK_THAT(messages[0], ContainsSubstring("expected a finite loss"));
  CHECK(messages[0] == messages[1]);
}

TEST_CASE("a data set needs as many images as labels, and has no others", ON_DEVICE) {
  const ImageSet images = tiny_images(make_synthetic(1, 3, 1).train);
  const Residence residence = GENERATE(device, host);
  ImageSet wrong = images;
  wrong.labels.push_back(0);
  CHECK_THROWS_WITH(Dataset(wrong, residence), "[dataset] expected 768 bytes of images for 4 labels, got 576");
  wrong = images;
  wrong.images.pop_back();
  CHECK_THROWS_WITH(Dataset(wrong, residence), "[dataset] expected 576 bytes of images for 3 labels, got 575");
  const Dataset set(images, host);
  for (const std::int32_t index : {-1, 3})
    CHECK_THROWS_WITH(set.gather(Tensor::from_host(std::vector<std::int32_t>{0, index}), DType::f32),
                      concat("[dataset] expected images 0 to 2, got ", index));
}

TEST_CASE("the program says where images lie, and streams them to the same files", "[residence]") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  const auto train = [&](const std::string& name, const Words& more) {
    const Outcome outcome = run(Words{"train", "--data", data, "--width", "8", "--kernels", "2", "--epochs", "2",
                                      "--batch-size", "12", "--no-report", "--out", folder.file(name)} +
                                more);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome.out;
  };
  CHECK_THAT(train("host", {"--images", "host"}), ContainsSubstring("20 test images, streamed from the host\n"));
  CHECK_THAT(train("device", {"--images", "device"}), ContainsSubstring("20 test images, on the device\n"));
  for (const char* const file : {"resume.safetensors", "config.json"})
    CHECK(read_text(folder.file(concat("host/", file))) == read_text(folder.file(concat("device/", file))));

  const auto eval = [&](const char* where) {
    return run({"eval", "--checkpoint", folder.file("host/last.safetensors"), "--data", data, "--images", where,
                "--logits", folder.file(concat(where, ".logits"))});
  };
  CHECK_THAT(eval("host").out, ContainsSubstring("on 20 test images, streamed from the host\n"));
  CHECK_THAT(eval("device").out, ContainsSubstring("on 20 test images, on the device\n"));
  CHECK(read_text(folder.file("host.logits")) == read_text(folder.file("device.logits")));

  const Words commands[] = {{"train", "--data", data},
                            {"eval", "--checkpoint", folder.file("host/last.safetensors"), "--data", data}};
  for (const Words& words : commands)
    check_one_line_error(words + Words{"--images", "gpu"}, 2, "expected --images device, host or auto, got \"gpu\"");
}

}  // namespace
}  // namespace omniconv::test
