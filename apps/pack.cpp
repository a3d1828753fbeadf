#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/training/json_text.h"
#include "apps/training/progress.h"
#include "apps/training/summary.h"
#include "apps/training/text.h"
#include "data/cifar10.h"
#include "data/image_folder.h"

namespace omniconv {
namespace {

struct PackCall {
  std::string images, out;
  bool skip_bad = false, json = false;
};

void pack(const PackCall& call) {
  Console console(call.json ? stderr : stdout);
  const FolderImages folder = read_image_folder(call.images, call.skip_bad, [&](std::int64_t done) {
    if (console.due()) console.show(concat(grouped(done), " pictures"));
  });
  const ImageData& data = folder.data;
  write_cifar10(call.out, data);

  for (const LeftOut& file : folder.left_out) console.print(concat("left out: ", one_line(file.reason)));
  console.print(concat(call.out, ": ", grouped(data.train.count()), " training and ", grouped(data.test.count()),
                       " test images of ", data.class_names.size(), " classes in CIFAR-10's format, ",
                       folder.left_out.size(), " files left out"));
  console.print(concat("Next: omniconv train --data ", shell_word(call.out),
                       " --width 16 --epochs 20 --temperature 1 --attention-init zero"));
  if (!call.json) return;
  nlohmann::ordered_json json = {{"train", data.train.count()},
                                 {"test", data.test.count()},
                                 {"classes", data.class_names},
                                 {"left_out", nlohmann::ordered_json::array()}};
  for (const LeftOut& file : folder.left_out)
    json["left_out"].push_back({{"file", file.path}, {"reason", file.reason}});
  std::printf("%s\n", json_line(json).c_str());
}

}  // namespace

void add_pack(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<PackCall>();
  CLI::App& command =
      *program.add_subcommand("pack", "Turn folders of pictures into a data set in CIFAR-10's binary format.");
  command.add_option("--images", call->images, "Folder with train/CLASS/ and test/CLASS/ of PNG, JPEG or BMP files")
      ->required();
  command.add_option("--out", call->out, "Folder to write the batch files to")->required();
  command.add_flag("--skip-bad", call->skip_bad, "Leave out files that are no whole pictures, and list them");
  command.add_flag("--json", call->json, "The result as one JSON object on stdout, text on stderr");
  command.callback([call, &exit_code] {
    pack(*call);
    exit_code = 0;
  });
}

}  // namespace omniconv
