// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "drive.hpp"

struct Camera {
  std::string_view name;
  double yaw;  // degrees; above 0: to the left
};
inline constexpr std::array<Camera, 6> kCameras{{{"cam_front", 0},
                                                 {"cam_front_left", 55},
                                                 {"cam_front_right", -55},
                                                 {"cam_rear", 180},
                                                 {"cam_rear_left", 125},
                                                 {"cam_rear_right", -125}}};

// What a camera sees: [height, width, 3], red, green, blue.
std::vector<std::uint8_t> photograph(const Frame& frame, const LogId& id, const Camera& camera, int height, int width);

// Of a JPEG file, 4:2:0.
std::vector<std::byte> jpeg_of(const std::vector<std::uint8_t>& pixels, int height, int width);

// What the lidar on the roof hits: [n, 4]: x, y, z in metres in the car's frame, intensity 0 … 1. n differs.
std::vector<float> lidar_scan(const Frame& frame, const LogId& id);
