// SPDX-License-Identifier: Apache-2.0
// Makes a synthetic driving data set: three sources of logs, two of them as tar shards, one as HDF5 (docs/driving.md).
#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <lockstep/base/error.hpp>
#include <lockstep/dataloader/pack.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "drive.hpp"
#include "sensors.hpp"

namespace {

struct Options {
  std::filesystem::path folder;
  std::int64_t logs = 4;
  std::int64_t frames = 40;
  int shards = 4;
  int height = 160;
  int width = 256;
  std::uint64_t seed = 0;
};

template <typename T>
std::span<const std::byte> bytes_of(const T& values) {
  return std::as_bytes(std::span(values));
}

// A .npy file, version 1, of little-endian elements.
std::string npy_of(const std::string& descr, const std::string& shape, std::span<const std::byte> elements) {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 0xFFU);
  file += static_cast<char>(header.size() >> 8U);
  return file + header + std::string(reinterpret_cast<const char*>(elements.data()), elements.size());
}

// x, y, z in metres and a quaternion w, x, y, z, in the world.
std::array<double, 7> pose_of(const Frame& frame) {
  return {frame.x, frame.y, 0, std::cos(frame.heading / 2), 0, 0, std::sin(frame.heading / 2)};
}

std::string metadata_of(const Frame& frame, const Source& source, const LogId& id) {
  const nlohmann::json data = {{"source", source.name},
                               {"log", id.log},
                               {"frame", frame.number},
                               {"time", frame.time},
                               {"trigger", frame.trigger},
                               {"city", frame.city},
                               {"weather", kWeather[static_cast<std::size_t>(frame.weather)]},
                               {"weather_class", static_cast<int>(frame.weather)},
                               {"vehicles", frame.vehicles.size()},
                               {"ego", {{"speed", frame.speed}, {"steering", frame.steering}}}};
  return data.dump();
}

struct Kept {
  LogId id;
  Frame frame;
};

std::vector<Kept> all_frames(const Source& source, std::int64_t number, const Options& options) {
  std::vector<Kept> all;
  for (std::int64_t log = 0; log < options.logs; ++log) {
    const LogId id{.seed = options.seed, .source = number, .log = log};
    for (auto& frame : drive(source, id, options.frames)) all.push_back({id, std::move(frame)});
  }
  return all;
}

std::string key_of(const Kept& kept) {
  std::array<char, 64> key{};
  std::snprintf(key.data(), key.size(), "log-%04lld/%06lld", static_cast<long long>(kept.id.log),
                static_cast<long long>(kept.frame.number));
  return key.data();
}

void write_tar(const Source& source, std::int64_t number, const Options& options) {
  const auto all = all_frames(source, number, options);
  const auto samples = static_cast<std::int64_t>(all.size());
  lockstep::TarWriter writer(options.folder / source.name,
                             {.shard_samples = (samples + options.shards - 1) / options.shards});
  for (const auto& kept : all) {
    std::vector<std::pair<std::string, std::vector<std::byte>>> images;
    for (const auto& camera : kCameras) {
      images.emplace_back(std::string(camera.name) + ".jpg",
                          jpeg_of(photograph(kept.frame, kept.id, camera, options.height, options.width),
                                  options.height, options.width));
    }
    const auto points = lidar_scan(kept.frame, kept.id);
    const auto lidar = npy_of("<f4", std::to_string(points.size() / 4) + ", 4", bytes_of(points));
    const auto pose = npy_of("<f8", "7,", bytes_of(pose_of(kept.frame)));
    const auto metadata = metadata_of(kept.frame, source, kept.id);
    std::vector<lockstep::FieldBytes> fields;
    for (const auto& [name, file] : images) fields.push_back({name, file});
    fields.push_back({"lidar.npy", bytes_of(lidar)});
    fields.push_back({"meta.json", bytes_of(metadata)});
    fields.push_back({"pose.npy", bytes_of(pose)});
    writer.add(key_of(kept), fields);
  }
  const auto counts = writer.finish();
  std::printf("%s: %lld frames of %lld logs in %lld tar shards\n", std::string(source.name).c_str(),
              static_cast<long long>(counts.samples), static_cast<long long>(options.logs),
              static_cast<long long>(counts.shards));
}

// Frames as HDF5 takes them: every field of one shape. Also what a reader of a format of one's own looks like.
class RawFrames final : public lockstep::RecordReader {
 public:
  RawFrames(std::vector<Kept> frames, const Options& options)
      : frames_(std::move(frames)), options_(options), shard_samples_{samples()} {
    using lockstep::DType;
    for (const auto& camera : kCameras) {
      fields_.push_back({std::string(camera.name), "raw", DType::uint8, {options.height, options.width, 3}});
    }
    fields_.push_back({"lidar", "raw", DType::float32, {kPoints, 4}});
    fields_.push_back({"pose", "raw", DType::float64, {7}});
    fields_.push_back({"speed", "raw", DType::float64, {}});
    fields_.push_back({"steering", "raw", DType::float64, {}});
    fields_.push_back({"weather_class", "raw", DType::int64, {}});
    fields_.push_back({"log", "raw", DType::int64, {}});
    fields_.push_back({"time", "raw", DType::float64, {}});
  }

  [[nodiscard]] std::int64_t samples() const noexcept override { return static_cast<std::int64_t>(frames_.size()); }
  [[nodiscard]] const std::vector<std::int64_t>& shard_samples() const noexcept override { return shard_samples_; }
  [[nodiscard]] std::string fingerprint() const override { return std::to_string(options_.seed); }
  [[nodiscard]] const std::vector<lockstep::StoredField>& fields() const noexcept override { return fields_; }
  [[nodiscard]] std::string describe(std::int64_t sample) const override {
    return key_of(frames_[static_cast<std::size_t>(sample)]);
  }

  void read(std::int64_t sample, lockstep::Record& record) const override {
    const auto& [id, frame] = frames_[static_cast<std::size_t>(sample)];
    record.buffer.clear();
    for (const auto& camera : kCameras) {
      append(record, bytes_of(photograph(frame, id, camera, options_.height, options_.width)));
    }
    append(record, bytes_of(evenly(lidar_scan(frame, id))));
    append(record, bytes_of(pose_of(frame)));
    append(record, bytes_of(std::array{frame.speed}));
    append(record, bytes_of(std::array{frame.steering}));
    append(record, bytes_of(std::array{static_cast<std::int64_t>(frame.weather)}));
    append(record, bytes_of(std::array{id.log}));
    append(record, bytes_of(std::array{frame.time}));
    record.fields.clear();
    std::size_t first = 0;
    for (const auto& field : fields_) {
      std::size_t bytes = lockstep::size_of(field.dtype);
      for (const auto length : field.shape) bytes *= static_cast<std::size_t>(length);
      record.fields.push_back(std::span<const std::byte>(record.buffer).subspan(first, bytes));
      first += bytes;
    }
  }

 private:
  static constexpr std::int64_t kPoints = 512;

  static void append(lockstep::Record& record, std::span<const std::byte> bytes) {
    record.buffer.insert(record.buffer.end(), bytes.begin(), bytes.end());
  }

  // kPoints points of the scan: HDF5 shards have no ragged fields.
  static std::vector<float> evenly(const std::vector<float>& scan) {
    const std::size_t found = scan.size() / 4;
    std::vector<float> points(kPoints * 4);
    for (std::size_t i = 0; i < kPoints && found > 0; ++i) {
      std::memcpy(&points[4 * i], &scan[4 * (i * found / kPoints)], 4 * sizeof(float));
    }
    return points;
  }

  const std::vector<Kept> frames_;
  const Options options_;
  const std::vector<std::int64_t> shard_samples_;
  std::vector<lockstep::StoredField> fields_;
};

void write_hdf5(const Source& source, std::int64_t number, const Options& options) {
  const RawFrames frames(all_frames(source, number, options), options);
  const auto counts = lockstep::pack_hdf5(frames, options.folder / source.name, options.shards);
  std::printf("%s: %lld frames of %lld logs in %lld HDF5 shards\n", std::string(source.name).c_str(),
              static_cast<long long>(counts.samples), static_cast<long long>(options.logs),
              static_cast<long long>(counts.shards));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Makes a synthetic driving data set below FOLDER: highway/ and city/ (tar), parking/ (HDF5).");
  app.add_option("FOLDER", options.folder)->required();
  app.add_option("--logs", options.logs, "logs of each source")->capture_default_str()->check(CLI::Range(1, 1'000'000));
  app.add_option("--frames", options.frames, "frames of each log (city: about)")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--shards", options.shards, "shards of each source")
      ->capture_default_str()
      ->check(CLI::Range(1, 99'999));
  app.add_option("--height", options.height, "of the images, pixels")
      ->capture_default_str()
      ->check(CLI::Range(16, 8192));
  app.add_option("--width", options.width, "of the images, pixels")->capture_default_str()->check(CLI::Range(16, 8192));
  app.add_option("--seed", options.seed, "of everything: the same seed, the same bytes")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    std::filesystem::create_directories(options.folder);
    write_tar(kHighway, 0, options);
    write_tar(kCity, 1, options);
    write_hdf5(kParking, 2, options);
  } catch (const lockstep::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.exit_code());
  } catch (const std::filesystem::filesystem_error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(lockstep::ExitCode::io);
  }
  return 0;
}
