// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/operation_log.hpp"

#include <cstring>
#include <span>
#include <stdexcept>
#include <string_view>

#include "lockstep/base/file.hpp"

namespace lockstep::testing {
namespace {

std::string_view take(std::string_view& text, std::size_t bytes) {
  if (bytes > text.size()) throw std::runtime_error("the log of operations ends early");
  const std::string_view taken = text.substr(0, bytes);
  text.remove_prefix(bytes);
  return taken;
}

}  // namespace

std::vector<Operation> read_operations(const std::filesystem::path& log) {
  const std::string text = read_file(log);
  std::vector<Operation> operations;
  for (std::string_view rest = text; !rest.empty();) {
    Operation operation{.at = text.size() - rest.size()};
    shim::RecordHeader header;
    std::memcpy(&header, take(rest, sizeof header).data(), sizeof header);
    operation.kind = header.kind;
    operation.path = take(rest, header.path_bytes);
    operation.other_path = take(rest, header.other_path_bytes);
    operation.began_at = header.began_at;
    operation.offset = header.offset;
    operation.length = header.length;
    if (header.kind == shim::Kind::write) {
      const auto bytes = std::as_bytes(std::span(take(rest, header.length)));
      operation.bytes.assign(bytes.begin(), bytes.end());
    }
    operations.push_back(std::move(operation));
  }
  return operations;
}

}  // namespace lockstep::testing
