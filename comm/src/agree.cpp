// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/agree.hpp"

#include <nlohmann/json.hpp>

namespace lockstep {
namespace {

std::string encode(const Error& error) {
  const ErrorText& text = error.text();
  return nlohmann::json{{"who", text.who},
                        {"what", text.what},
                        {"why", text.why},
                        {"fix", text.fix},
                        {"code", static_cast<int>(error.exit_code())}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

[[noreturn]] void throw_decoded(const std::string& encoded) {
  const auto json = nlohmann::json::parse(encoded);
  throw AgreedError({.who = json.at("who"), .what = json.at("what"), .why = json.at("why"), .fix = json.at("fix")},
                    static_cast<ExitCode>(json.at("code").get<int>()));
}

}  // namespace

void detail::agree(Communicator& world, void (*call)(const void* body), const void* body) {
  std::string error;
  try {
    call(body);
  } catch (const CommError&) {
    throw;  // the ranks cannot talk any more
  } catch (const Error& thrown) {
    error = encode(thrown);
  }
  std::int64_t failed_rank = error.empty() ? world.world_size() : world.rank();
  world.all_reduce({&failed_rank, 1, DType::int64}, ReduceOp::min).wait();
  if (failed_rank < world.world_size()) throw_decoded(world.broadcast(error, static_cast<int>(failed_rank)));
}

}  // namespace lockstep
