// SPDX-License-Identifier: Apache-2.0
// D4: how much of a plain loop of libjpeg with as many threads the whole loader keeps, JPEGs in tar shards. D21: how
// much of that pipeline the driving sample keeps (driving_generate): six cameras, lidar, pose and metadata in windows
// of two frames from three sources, one of which has no JPEG.
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "jpegs.hpp"
#include "lockstep/dataloader/data_loader.hpp"
#include "lockstep/dataloader/pack.hpp"
#include "lockstep/dataloader/source_options.hpp"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using Files = std::vector<std::vector<std::byte>>;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Images a second.
double plain_rate(const Files& files, std::size_t image_bytes, int threads, double seconds) {
  constexpr std::size_t kBatch = 32;
  std::atomic<std::int64_t> images{0};
  const auto begin = Clock::now();
  {
    std::vector<std::jthread> running;
    for (int t = 0; t < threads; ++t) {
      running.emplace_back([&, t] {
        PlainJpeg plain;
        std::vector<JSAMPLE> batch(kBatch * image_bytes);
        for (std::size_t i = static_cast<std::size_t>(t); seconds_since(begin) < seconds;
             i += static_cast<std::size_t>(threads)) {
          plain.decode(files[i % files.size()], batch.data() + i % kBatch * image_bytes);
          ++images;
        }
      });
    }
  }
  return static_cast<double>(images) / seconds_since(begin);
}

// `images_of`: how many images a sample of each source has.
double loader_rate(std::vector<Source> sources, const std::vector<int>& images_of, std::int64_t batch, int threads,
                   double seconds) {
  DataLoader loader(std::move(sources), {.global_batch = batch, .threads = threads});
  std::int64_t images = 0;
  const auto run = [&](double for_seconds) {
    images = 0;
    const auto begin = Clock::now();
    while (seconds_since(begin) < for_seconds) {
      const LoadedStep step = loader.next();
      for (const auto& id : step.micro_batches.front().batch.ids) {
        images += images_of[static_cast<std::size_t>(id.source)];
      }
    }
    return static_cast<double>(images) / seconds_since(begin);
  };
  run(0.2);
  return run(seconds);
}

// `reference`: what "images_per_second" is compared with.
void print(const std::string& name, const std::string& what, int threads, const std::string& reference, double of,
           double loader) {
  fmt::print(R"({{"case": "{}", "contender": "{}, {} threads", "{}_images_per_second": {}, )"
             R"("images_per_second": {}}})"
             "\n",
             name, what, threads, reference, of, loader);
}

void run_images(const std::filesystem::path& folder, double seconds) {
  for (const auto size : kImageSizes) {
    const auto name = fmt::format("{}x{}", size.width, size.height);
    const auto shards = folder / "D4" / name;
    Files files;
    for (std::uint32_t i = 0; i < 32; ++i) files.push_back(make_jpeg(size, i));
    if (!std::filesystem::exists(shards)) {
      TarWriter writer(shards);
      for (std::size_t i = 0; i < files.size(); ++i) {
        const FieldBytes field{"jpg", files[i]};
        writer.add(fmt::format("{:06}", i), std::span(&field, 1));
      }
      (void)writer.finish();
    }
    for (const int threads : {1, 2}) {
      const SourceOptions options{
          .name = name, .path = shards.string(), .fields = {{.name = "data", .from = "jpg", .channels_first = false}}};
      const double plain = plain_rate(files, std::size_t{size.height} * size.width * 3, threads, seconds);
      print("D4", name, threads, "plain", plain, loader_rate({open_source(options)}, {1}, 8, threads, seconds));
    }
  }
}

constexpr std::array kCameras{"front", "front_left", "front_right", "rear", "rear_left", "rear_right"};

SourceOptions drive(const std::string& folder, const std::string& name, double weight, bool tar) {
  SourceOptions options{.name = name, .path = folder + "/driving/" + name, .weight = weight};
  for (const std::string camera : kCameras) {
    options.fields.push_back(
        {.name = camera, .from = "cam_" + camera + (tar ? ".jpg" : ""), .dtype = DType::uint8, .channels_first = !tar});
  }
  options.fields.push_back({.name = "lidar", .from = tar ? "lidar.npy" : "", .ragged = true});
  options.fields.push_back({.name = "pose", .from = tar ? "pose.npy" : "", .dtype = DType::float32});
  options.fields.push_back(
      {.name = "speed", .from = tar ? "meta.json" : "", .dtype = DType::float32, .pointer = tar ? "/ego/speed" : ""});
  options.windows =
      Windows{.length = 2, .step = tar ? 5 : 1, .log = tar ? ValueAt{"meta.json", "/log"} : ValueAt{"log"}};
  return options;
}

// The cameras of the same drives, frame by frame: D4's pipeline with D21's images.
SourceOptions cameras_of(SourceOptions drive) {
  drive.fields.resize(kCameras.size());
  drive.windows.reset();
  return drive;
}

void run_driving(const std::string& folder, double seconds) {
  const auto highway = drive(folder, "highway", 2, true);
  const auto city = drive(folder, "city", 1, true);
  for (const int threads : {1, 2}) {
    const double cameras =
        loader_rate({open_source(cameras_of(highway)), open_source(cameras_of(city))}, {6, 6}, 8, threads, seconds);
    const double whole =
        loader_rate({open_source(highway), open_source(city), open_source(drive(folder, "parking", 1, false))},
                    {12, 12, 0}, 8, threads, seconds);
    print("D21", "driving", threads, "cameras", cameras, whole);
  }
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: {} FOLDER D4|D21 [SECONDS]\n", argv[0]);
    return 2;
  }
  try {
    const double seconds = argc > 3 ? std::stod(argv[3]) : 2;
    if (std::string(argv[2]) == "D4") lockstep::run_images(argv[1], seconds);
    if (std::string(argv[2]) == "D21") lockstep::run_driving(argv[1], seconds);
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
