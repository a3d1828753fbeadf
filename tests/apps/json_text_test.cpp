// JSON from files that anyone may have written.
#include "apps/training/json_text.h"

#include "apps/training/recipe.h"
#include "engine/safetensors.h"
#include "tests/apps/program.h"

namespace omniconv::test {
namespace {

std::string nested(std::size_t levels) {
  return std::string(levels, '[') + std::string(levels, ']');
}

TEST_CASE("JSON is parsed down to a depth that can be written out again") {
  CHECK(parse_json("{\"a\": [1, {\"b\": null}]}").at("a")[1].at("b").is_null());
  CHECK(parse_json<nlohmann::ordered_json>("{\"b\": 1, \"a\": 2}").dump() == "{\"b\":1,\"a\":2}");
  CHECK(parse_json(nested(16)).dump() == nested(16));
  const std::vector<std::string> bad = {nested(18), "{\"a\": " + nested(17) + ", \"b\": 1}", nested(200'000), "[1",
                                        "{} {}",    "", "\"\xE9\""};
  for (const std::string& text : bad) {
    INFO(text.substr(0, 40));
    CHECK(parse_json(text).is_discarded());
  }
}

TEST_CASE("files of deeply nested JSON are refused in one line") {
  const TemporaryFolder folder;
  const std::string deep = nested(200'000), file = folder.file("x.json");
  const Words train = {"train", "--data", "synthetic", "--dry-run"};
  write_text(file, "[" + deep + "]");
  check_one_line_error(train + Words{"--stages", file}, 1, "[stages] " + file + ": expected stages of a run");
  write_text(file, "{\"stages\": " + deep + "}");
  check_one_line_error(train + Words{"--config", file}, 1, "[config] " + file + ": expected an object");
  write_text(folder.file("config.json"), "{\"data\": " + deep + "}");
  check_one_line_error({"report", folder.path().string()}, 1, "config.json: expected the JSON of a run");
  std::filesystem::remove(folder.file("config.json"));
  std::string recipe = to_json(Recipe{}).dump();
  recipe.replace(recipe.find("\"stages\":[]"), 11, "\"stages\":[" + deep + "]");
  write_safetensors(folder.file("resume.safetensors"), {{}, {{"recipe", recipe}, {"state", "{}"}}});
  check_one_line_error({"train", "--resume", folder.path().string()}, 1, "expected a JSON object as recipe");
}

}  // namespace
}  // namespace omniconv::test
