// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

// A synthetic drive: a car follows a winding road among boxes that stand for other vehicles. Plain arithmetic on a
// seed.

// One fleet's way to drive and to collect.
struct Source {
  std::string_view name;
  double rate;                // frames a second
  double speed;               // metres a second, on average
  double curvature;           // of the road, 1/metre, at most about
  int vehicles;               // around the car
  bool on_events;             // keeps clips around events only, else all frames
  std::int64_t recorded = 1;  // frames driven for one that the user asked for
};
inline constexpr Source kHighway{"highway", 10.0, 30.0, 0.001, 10, false};
inline constexpr Source kCity{"city", 10.0, 10.0, 0.008, 14, true, 4};
inline constexpr Source kParking{"parking", 2.0, 2.0, 0.03, 8, false};

enum class Weather : std::uint8_t { clear, rain, fog, night };
inline constexpr std::string_view kWeather[] = {"clear", "rain", "fog", "night"};
inline constexpr std::string_view kCities[] = {"Aachen", "Bern", "Cork", "Delft", "Espoo"};

// Metres, in the car's frame: x ahead, y to the left.
struct Vehicle {
  double x = 0;
  double y = 0;
  double length = 4.5;
  double width = 1.9;
  double height = 1.5;
  std::uint32_t colour = 0;  // 0xRRGGBB
};

struct Frame {
  std::int64_t number = 0;  // in the log; numbers are missing where nothing was kept
  double time = 0;          // seconds since the log began
  double speed = 0;         // metres a second
  double curvature = 0;     // of the road here, 1/metre; above 0: to the left
  double steering = 0;      // of the front wheels, radians: what a driver can be trained to predict
  double x = 0;             // in the world, metres
  double y = 0;
  double heading = 0;    // radians
  double travelled = 0;  // metres since the log began
  Weather weather = Weather::clear;
  std::string_view city;
  std::string_view trigger;  // why it was kept: "all", "close_vehicle"
  std::vector<Vehicle> vehicles;
};

// Which log of which source; with the frame's number all that a frame's noise depends on.
struct LogId {
  std::uint64_t seed = 0;
  std::int64_t source = 0;
  std::int64_t log = 0;
};

// The kept frames of one log, in order; `frames` of them, or, of a source that collects on events, any number above 0.
std::vector<Frame> drive(const Source& source, const LogId& id, std::int64_t frames);
