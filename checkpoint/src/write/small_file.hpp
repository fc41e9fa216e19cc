// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>

namespace lockstep {

// Throws IoError: "pwrite /a/b: No space left on device (errno 28)".
[[noreturn]] void throw_errno(const char* call, const std::filesystem::path& path, int code = errno);

// Makes the file, mode 0600, writes and fsyncs it; not the folder. It must not exist. Throws IoError.
void write_new_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

// The same over a file that may exist, at once for who reads it; durable on return. Throws IoError.
void replace_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

// Mode 0700, and those above it that do not exist; durable. One that exists is taken as it is; a symbolic link to one,
// too. Throws IoError.
void make_folders(const std::filesystem::path& folder);

// Whatever it is; a symbolic link is one, wherever it leads. Throws IoError.
[[nodiscard]] bool is_taken(const std::filesystem::path& path);

}  // namespace lockstep
