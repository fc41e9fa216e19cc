// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lockstep/base/error.hpp"
#include "lockstep/hdf5/file.hpp"

// Objects of one file and their attributes. The caller holds lock(); `subject` names the object in errors, which are
// IoError where HDF5 fails and DataError where the file is not of our form.
namespace lockstep::hdf5 {

// Whether `path` names something in this very file. A link that could lead into another file is refused.
[[nodiscard]] bool exists(Id file, const std::string& path, const std::string& subject);
[[nodiscard]] bool is_dataset(const Handle& object) noexcept;
[[nodiscard]] Handle open_object(Id file, const std::string& path, const std::string& subject);

[[nodiscard]] DatasetInfo read_info(const Handle& dataset, const std::string& subject);
void mark_boolean(const Handle& dataset, const std::string& subject);  // uint8 that read_info() calls boolean

[[nodiscard]] std::optional<double> read_number(const Handle& object, const std::string& name,
                                                const std::string& subject);
[[nodiscard]] std::optional<std::string> read_text(const Handle& object, const std::string& name,
                                                   const std::string& subject);
// Both replace what has the name.
void write_number(const Handle& object, const std::string& name, double value, const std::string& subject);
void write_text(const Handle& object, const std::string& name, std::string_view text, const std::string& subject);

// The error for a file whose content is not of our form.
[[nodiscard]] DataError refused(const std::string& subject, std::string why);

}  // namespace lockstep::hdf5
