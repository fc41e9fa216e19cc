// SPDX-License-Identifier: Apache-2.0
#include "sensors.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>  // jpeglib.h needs it
#include <cstdlib>
#include <lockstep/dataloader/sample.hpp>
#include <numbers>

#include <jpeglib.h>

namespace {

constexpr double kRadians = std::numbers::pi / 180;
constexpr double kCameraHeight = 1.6;
constexpr double kLidarHeight = 1.9;
constexpr double kHalfRoad = 5.25;  // three lanes

struct Colour {
  double red;
  double green;
  double blue;
};

Colour blend(const Colour& from, const Colour& to, double part) {
  return {from.red + (to.red - from.red) * part, from.green + (to.green - from.green) * part,
          from.blue + (to.blue - from.blue) * part};
}

lockstep::SampleRandom noise_of(const Frame& frame, const LogId& id, std::uint64_t sensor) {
  return lockstep::SampleRandom(
      {.seed = id.seed + (sensor << 32U), .pass = 1 + id.source, .sample = id.log << 32 | frame.number});
}

Colour ground(double along, double lateral) {
  const double side = std::abs(lateral);
  if (side > kHalfRoad) {
    const bool light = (static_cast<long>(std::floor(along / 2)) + static_cast<long>(std::floor(lateral / 2))) % 2 == 0;
    return light ? Colour{70, 120, 50} : Colour{60, 105, 45};
  }
  const bool edge = kHalfRoad - side < 0.3;
  const bool dash = std::abs(side - kHalfRoad / 3) < 0.12 && along - 9 * std::floor(along / 9) < 4;
  return edge || dash ? Colour{225, 225, 220} : Colour{85, 85, 90};
}

// A picture being painted.
class Painter {
 public:
  Painter(const Frame& frame, const Camera& camera, int height, int width)
      : frame_(frame),
        height_(height),
        width_(width),
        cosine_(std::cos(camera.yaw * kRadians)),
        sine_(std::sin(camera.yaw * kRadians)),
        focal_(width / 2.0 / std::tan(35 * kRadians)),
        pixels_(static_cast<std::size_t>(height) * static_cast<std::size_t>(width)) {}

  void paint_world() {
    for (int v = 0; v < height_; ++v) {
      const double down = (v + 0.5 - height_ / 2.0) / focal_;
      for (int u = 0; u < width_; ++u) {
        const double right = (u + 0.5 - width_ / 2.0) / focal_;
        at(v, u) = down > 0.01 ? ground_at(kCameraHeight / down, right) : sky(down);
      }
    }
  }

  void paint(const Vehicle& vehicle) {
    const double depth = depth_of(vehicle);
    if (depth < 1.5) return;
    const double right = vehicle.x * sine_ - vehicle.y * cosine_;
    // The broader, the more it is seen from its side.
    const double half = (std::abs(cosine_) * vehicle.width + std::abs(sine_) * vehicle.length) / 2;
    const auto column = [&](double metres) { return width_ / 2.0 + focal_ * metres / depth; };
    const auto row = [&](double up) { return height_ / 2.0 + focal_ * (kCameraHeight - up) / depth; };
    const Colour paint{static_cast<double>(vehicle.colour >> 16U), static_cast<double>(vehicle.colour >> 8U & 0xFFU),
                       static_cast<double>(vehicle.colour & 0xFFU)};
    const double top = row(vehicle.height);
    const double bottom = row(0);
    for (int v = std::max(0, static_cast<int>(top)); v < std::min<double>(height_, bottom); ++v) {
      const double up = (bottom - v) / (bottom - top);  // 0 at the wheels, 1 at the roof
      const Colour body = up < 0.15 ? Colour{25, 25, 25} : up > 0.55 && up < 0.9 ? Colour{50, 60, 75} : paint;
      for (int u = std::max(0, static_cast<int>(column(right - half)));
           u < std::min<double>(width_, column(right + half)); ++u) {
        at(v, u) = in_weather(body, depth);
      }
    }
  }

  [[nodiscard]] double depth_of(const Vehicle& vehicle) const { return vehicle.x * cosine_ + vehicle.y * sine_; }

  [[nodiscard]] std::vector<std::uint8_t> develop(lockstep::SampleRandom noise) const {
    std::vector<std::uint8_t> bytes;
    bytes.reserve(pixels_.size() * 3);
    for (const auto& pixel : pixels_) {
      const double grain = static_cast<double>(noise.bits() >> 28U) - 7.5;
      for (const double value : {pixel.red, pixel.green, pixel.blue}) {
        bytes.push_back(static_cast<std::uint8_t>(std::clamp(value + grain, 0.0, 255.0)));
      }
    }
    return bytes;
  }

 private:
  Colour& at(int v, int u) {
    return pixels_[static_cast<std::size_t>(v) * static_cast<std::size_t>(width_) + static_cast<std::size_t>(u)];
  }

  [[nodiscard]] Colour ground_at(double depth, double right) const {
    const double x = depth * cosine_ + depth * right * sine_;
    const double y = depth * sine_ - depth * right * cosine_;
    const double seen = std::clamp(x, -80.0, 80.0);
    return in_weather(ground(frame_.travelled + x, y - frame_.curvature * seen * seen / 2), depth);
  }

  [[nodiscard]] Colour sky(double down) const {
    const Colour blue = blend({200, 215, 235}, {90, 140, 210}, std::min(1.0, -2 * down + 0.02));
    return in_weather(blue, 120);
  }

  [[nodiscard]] Colour in_weather(const Colour& colour, double depth) const {
    switch (frame_.weather) {
      case Weather::clear:
        return colour;
      case Weather::rain:
        return blend(blend(colour, {110, 115, 120}, 0.35), {20, 20, 25}, 0.2);
      case Weather::fog:
        return blend(colour, {190, 190, 190}, 1 - std::exp(-depth / 35));
      case Weather::night:
        return blend(colour, {8, 8, 16}, std::min(0.97, 0.45 + depth / 60));
    }
    return colour;
  }

  const Frame& frame_;
  const int height_;
  const int width_;
  const double cosine_;
  const double sine_;
  const double focal_;
  std::vector<Colour> pixels_;
};

// How far from the lidar a ray in the plane hits a vehicle's outline; infinite: it does not.
double distance_to(const Vehicle& vehicle, double cosine, double sine) {
  const auto span = [](double from, double to, double direction) {
    const double first = from / direction;
    const double second = to / direction;
    return std::pair{std::min(first, second), std::max(first, second)};
  };
  const auto [near_x, far_x] = span(vehicle.x - vehicle.length / 2, vehicle.x + vehicle.length / 2, cosine);
  const auto [near_y, far_y] = span(vehicle.y - vehicle.width / 2, vehicle.y + vehicle.width / 2, sine);
  const double near = std::max(near_x, near_y);
  return near > 0 && near <= std::min(far_x, far_y) ? near : INFINITY;
}

}  // namespace

std::vector<std::uint8_t> photograph(const Frame& frame, const LogId& id, const Camera& camera, int height, int width) {
  Painter painter(frame, camera, height, width);
  painter.paint_world();
  auto vehicles = frame.vehicles;
  std::ranges::stable_sort(vehicles, std::greater(), [&](const auto& one) { return painter.depth_of(one); });
  for (const auto& vehicle : vehicles) painter.paint(vehicle);
  return painter.develop(noise_of(frame, id, static_cast<std::uint64_t>(&camera - kCameras.data())));
}

std::vector<std::byte> jpeg_of(const std::vector<std::uint8_t>& pixels, int height, int width) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);  // which ends the program: out of memory is all that can happen here
  jpeg_create_compress(&info);
  unsigned char* buffer = nullptr;
  unsigned long bytes = 0;
  jpeg_mem_dest(&info, &buffer, &bytes);
  info.image_height = static_cast<JDIMENSION>(height);
  info.image_width = static_cast<JDIMENSION>(width);
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 85, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row = const_cast<JSAMPLE*>(pixels.data()) + std::size_t{info.next_scanline} * info.image_width * 3;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  const auto* const first = reinterpret_cast<const std::byte*>(buffer);
  std::vector<std::byte> file(first, first + bytes);
  std::free(buffer);
  jpeg_destroy_compress(&info);
  return file;
}

std::vector<float> lidar_scan(const Frame& frame, const LogId& id) {
  constexpr int kRings = 16;
  constexpr int kSteps = 120;
  constexpr double kFarthest = 80;
  auto noise = noise_of(frame, id, kCameras.size());
  const double lost = frame.weather == Weather::rain || frame.weather == Weather::fog ? 0.3 : 0.05;
  std::vector<float> points;
  for (int ring = 0; ring < kRings; ++ring) {
    const double slope = std::tan((ring - 14.5) * kRadians);
    for (int step = 0; step < kSteps; ++step) {
      const double angle = 2 * std::numbers::pi * step / kSteps + 1e-3;  // never along an axis
      const double cosine = std::cos(angle);
      const double sine = std::sin(angle);
      double distance = slope < 0 ? kLidarHeight / -slope : INFINITY;
      double intensity = 0.2;
      for (const auto& vehicle : frame.vehicles) {
        const double hit = distance_to(vehicle, cosine, sine);
        if (hit < distance && kLidarHeight + hit * slope < vehicle.height) {
          distance = hit;
          intensity = 0.8;
        }
      }
      const bool is_lost = noise.uniform() < lost;
      distance += 0.02 * noise.normal();
      if (is_lost || distance > kFarthest) continue;
      for (const double value : {distance * cosine, distance * sine, kLidarHeight + distance * slope, intensity}) {
        points.push_back(static_cast<float>(value));
      }
    }
  }
  return points;
}
