// SPDX-License-Identifier: Apache-2.0
#include "drive.hpp"

#include <cmath>
#include <iterator>
#include <lockstep/dataloader/sample.hpp>
#include <numbers>

namespace {

constexpr double kLane = 3.5;      // metres
constexpr double kBehind = -70.0;  // a vehicle that gets out of this window comes in again at its other end
constexpr double kWindow = 180.0;
constexpr double kWheelbase = 2.8;

struct Wave {
  double amplitude;
  double length;
  double phase;
  [[nodiscard]] double at(double where) const { return amplitude * std::sin(where / length + phase); }
};

Wave random_wave(double amplitude, double length, lockstep::SampleRandom& random) {
  return {amplitude * (0.5 + random.uniform()), length * (0.7 + 0.6 * random.uniform()),
          2 * std::numbers::pi * random.uniform()};
}

// Another vehicle, along the road.
struct Traveller {
  double ahead;
  double left;
  double relative_speed;
  Vehicle shape;
};

std::vector<Traveller> random_traffic(const Source& source, lockstep::SampleRandom& random) {
  std::vector<Traveller> all;
  for (int i = 0; i < source.vehicles; ++i) {
    const bool truck = random.below(5) == 0;
    Traveller one{.ahead = kBehind + kWindow * random.uniform(),
                  .left = kLane * (static_cast<double>(random.below(5)) - 2.0),
                  .relative_speed = 0.3 * source.speed * (2 * random.uniform() - 1),
                  .shape = {}};
    if (truck) one.shape = {.length = 9.0, .width = 2.5, .height = 3.2};
    one.shape.colour = static_cast<std::uint32_t>(random.below(0x1000000)) | 0x202020U;
    all.push_back(one);
  }
  return all;
}

bool close_ahead(const Frame& frame) {
  for (const auto& vehicle : frame.vehicles) {
    if (std::abs(vehicle.y) < kLane / 2 && vehicle.x > 2.0 && vehicle.x < 15.0) return true;
  }
  return false;
}

// Clips around events: what a fleet sends home that cannot send all.
std::vector<Frame> clips_of(const std::vector<Frame>& all) {
  constexpr std::size_t kAround = 8;  // frames kept on each side
  std::vector<bool> kept(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!close_ahead(all[i]) && i != all.size() / 2) continue;  // one clip is taken in any case
    for (std::size_t j = i - std::min(i, kAround); j < std::min(all.size(), i + kAround + 1); ++j) kept[j] = true;
  }
  std::vector<Frame> clips;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!kept[i]) continue;
    clips.push_back(all[i]);
    clips.back().trigger = "close_vehicle";
  }
  return clips;
}

}  // namespace

std::vector<Frame> drive(const Source& source, const LogId& id, std::int64_t frames) {
  lockstep::SampleRandom random({.seed = id.seed, .pass = id.source, .sample = id.log});
  const Wave wide = random_wave(0.6 * source.curvature, 20 / std::sqrt(source.curvature), random);
  const Wave narrow = random_wave(0.4 * source.curvature, 6 / std::sqrt(source.curvature), random);
  const Wave pace = random_wave(0.2 * source.speed, 4.0, random);
  const auto weather = static_cast<Weather>(random.below(std::size(kWeather)));
  const auto city = kCities[random.below(std::size(kCities))];
  auto traffic = random_traffic(source, random);

  std::vector<Frame> all;
  Frame now{.weather = weather, .city = city, .trigger = "all", .vehicles = {}};
  const double step = 1 / source.rate;
  for (; now.number < frames * source.recorded; ++now.number) {
    now.time = static_cast<double>(now.number) * step;
    now.speed = std::max(0.0, source.speed + pace.at(now.time));
    now.curvature = wide.at(now.travelled) + narrow.at(now.travelled);
    now.steering = std::atan(kWheelbase * now.curvature);
    now.vehicles.clear();
    for (auto& one : traffic) {
      Vehicle vehicle = one.shape;
      vehicle.x = one.ahead;
      vehicle.y = one.left + now.curvature * one.ahead * one.ahead / 2;
      now.vehicles.push_back(vehicle);
      one.ahead += one.relative_speed * step;
      one.ahead -= kWindow * std::floor((one.ahead - kBehind) / kWindow);
    }
    all.push_back(now);
    now.x += now.speed * step * std::cos(now.heading);
    now.y += now.speed * step * std::sin(now.heading);
    now.heading += now.speed * step * now.curvature;
    now.travelled += now.speed * step;
  }
  return source.on_events ? clips_of(all) : all;
}
