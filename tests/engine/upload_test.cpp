// What is sent from the host arrives whole, in its order, beside other work.
#include "engine/upload.h"

#include <random>
#include <vector>

#include "engine/device.h"
#include "engine/tensor.h"
#include "kernels/error.h"
#include "tests/catch.h"

#if OMNICONV_CUDA
#define ON_DEVICE "[upload][cuda]"
#else
#define ON_DEVICE "[upload]"
#endif

namespace omniconv::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes random_bytes(std::mt19937& random, std::size_t count) {
  Bytes bytes(count);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

void send(Upload& upload, const Bytes& bytes) {
  upload.send(bytes.size(), [&](std::byte* target) {
    for (std::size_t i = 0; i < bytes.size(); ++i) target[i] = static_cast<std::byte>(bytes[i]);
  });
}

Bytes receive(Upload& upload, const Tensor& target) {
  upload.receive(target.raw());
  return target.to_host<std::uint8_t>();
}

TEST_CASE("uploads arrive whole and in order, one ahead of the device, of any size that fits", ON_DEVICE) {
  const unsigned seed = std::random_device()();
  CAPTURE(seed);
  std::mt19937 random(seed);
  constexpr std::size_t most = 20000;
  constexpr int rounds = 50;
  std::vector<Bytes> sent;
  for (int i = 0; i < rounds; ++i) sent.push_back(random_bytes(random, i % 7 == 3 ? most : 1 + random() % most));
  Upload upload(most);
  const Tensor place = Tensor::empty({most}, DType::u8);
  std::vector<Tensor> received;  // read at the end, so that nothing but the upload itself waits for the device
  Bytes expected = place.to_host<std::uint8_t>();
  std::vector<Bytes> contents;
  send(upload, sent[0]);
  for (int i = 0; i < rounds; ++i) {
    upload.receive(place.raw());
    received.push_back(Tensor::empty({most}, DType::u8));
    received.back().copy_from(place);
    if (i + 1 < rounds) send(upload, sent[static_cast<std::size_t>(i) + 1]);
    const Bytes& now = sent[static_cast<std::size_t>(i)];
    std::copy(now.begin(), now.end(), expected.begin());
    contents.push_back(expected);  // behind a smaller one, what was there before
  }
  CHECK(upload.under_way() == 0);
  for (std::size_t i = 0; i < received.size(); ++i) {
    INFO("upload " << i);
    CHECK(received[i].to_host<std::uint8_t>() == contents[i]);
  }
}

TEST_CASE("two uploads may be under way, and a third one or one that is too large is refused", ON_DEVICE) {
  Upload upload(2);
  const Tensor place = Tensor::zeros({2}, DType::u8);
  CHECK_THROWS_WITH(upload.receive(place.raw()), "[upload] expected an upload under way, got none: send before");
  CHECK_THROWS_WITH(send(upload, {1, 2, 3}), "[upload] expected at most 2 bytes, got 3");
  send(upload, {1, 2});
  send(upload, {3, 4});
  CHECK_THROWS_WITH(send(upload, {5, 6}),
                    "[upload] expected at most two uploads under way, got a third: receive the first one before");
  CHECK(receive(upload, place) == Bytes{1, 2});
  send(upload, {7, 8});
  CHECK(receive(upload, place) == Bytes{3, 4});
  CHECK(receive(upload, place) == Bytes{7, 8});
  CHECK_THROWS_WITH(upload.receive(place.raw()), ContainsSubstring("got none"));
  CHECK_THROWS_WITH(Upload(0), "[upload] expected room for at least 1 byte, got none");
}

TEST_CASE("an upload whose bytes could not be written, or that is discarded, is never received", ON_DEVICE) {
  Upload upload(1);
  const Tensor place = Tensor::zeros({1}, DType::u8);
  send(upload, {1});
  CHECK_THROWS_WITH(upload.send(1, [](std::byte*) { fail("test", "no bytes"); }), "[test] no bytes");
  CHECK(upload.under_way() == 1);
  send(upload, {2});
  CHECK(receive(upload, place) == Bytes{1});
  upload.discard();
  CHECK(upload.under_way() == 0);
  send(upload, {3});
  send(upload, {4});
  CHECK(receive(upload, place) == Bytes{3});
  CHECK(receive(upload, place) == Bytes{4});
}

TEST_CASE("an upload is no part of recorded work", ON_DEVICE) {
  Upload upload(1);
  const Tensor place = Tensor::zeros({1}, DType::u8);
  const char* const refused =
      "[device] expected launches and copies within the device, got an upload, which cannot be recorded";
  CHECK_THROWS_AS(RecordedWork([] { const Upload inside(1); }), Error);
  CHECK_THROWS_WITH(RecordedWork([&] { send(upload, {1}); }), refused);
  CHECK(upload.under_way() == 0);
  send(upload, {1});
  CHECK_THROWS_WITH(RecordedWork([&] { upload.receive(place.raw()); }), refused);
  CHECK(receive(upload, place) == Bytes{1});
}

}  // namespace
}  // namespace omniconv::test
