// SPDX-License-Identifier: Apache-2.0
#include "save/exchange.hpp"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>

#include "format/step_folder.hpp"
#include "lockstep/base/hash.hpp"

namespace lockstep {
namespace {

using nlohmann::json;

std::string encode(const std::vector<HeldSlice>& held) {
  json list = json::array();
  for (const HeldSlice& slice : held) {
    list.push_back(
        {slice.name, static_cast<int>(slice.dtype), slice.global_shape, slice.first_element, slice.elements});
  }
  return list.dump(-1, ' ', false, json::error_handler_t::replace);  // names that are not UTF-8 were refused before
}

std::vector<HeldSlice> decode(const std::string& text) {
  std::vector<HeldSlice> held;
  for (const json& slice : json::parse(text)) {
    held.push_back({slice.at(0), static_cast<DType>(slice.at(1).get<int>()), slice.at(2), slice.at(3), slice.at(4)});
  }
  return held;
}

// A report as a row of whole numbers.
class Row {
 public:
  Row() = default;
  explicit Row(std::span<const std::int64_t> numbers) : numbers_(numbers.begin(), numbers.end()) {}

  void add(std::int64_t number) { numbers_.push_back(number); }
  template <class T>
  void add(const std::vector<T>& list) {
    add(static_cast<std::int64_t>(list.size()));
    std::ranges::copy(list, std::back_inserter(numbers_));
  }
  [[nodiscard]] std::int64_t next() { return numbers_.at(at_++); }
  template <class T>
  [[nodiscard]] std::vector<T> next_list() {
    std::vector<T> list(static_cast<std::size_t>(next()));
    for (T& number : list) number = static_cast<T>(next());
    return list;
  }
  [[nodiscard]] const std::vector<std::int64_t>& numbers() const noexcept { return numbers_; }

 private:
  std::vector<std::int64_t> numbers_;
  std::size_t at_ = 0;
};

Row encode(const RankReport& report) {
  Row row;
  row.add(static_cast<std::int64_t>(report.part.file.bytes));
  row.add(report.part.file.block_crcs);
  row.add(report.part.offsets);
  row.add(report.part.crcs);
  row.add(report.compared_crcs);
  return row;
}

RankReport decode(Row row, int rank) {
  RankReport report;
  report.part.file.name = part_name(rank);
  report.part.file.bytes = static_cast<std::uint64_t>(row.next());
  report.part.file.block_crcs = row.next_list<std::uint32_t>();
  report.part.offsets = row.next_list<std::uint64_t>();
  report.part.crcs = row.next_list<std::uint32_t>();
  report.compared_crcs = row.next_list<std::uint32_t>();
  return report;
}

std::string encode(const SaveOutcome& outcome) {
  return json{{"step", outcome.step},
              {"path", outcome.path.string()},
              {"failure", outcome.failure},
              {"warnings", outcome.warnings},
              {"removed", outcome.removed}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

SaveOutcome decode_outcome(const std::string& text) {
  const json object = json::parse(text);
  return {.step = object.at("step"),
          .path = object.at("path").get<std::string>(),
          .failure = object.at("failure"),
          .warnings = object.at("warnings"),
          .removed = object.at("removed")};
}

}  // namespace

std::vector<std::vector<HeldSlice>> exchange_held(Communicator& world, const std::vector<HeldSlice>& held) {
  const std::string own = encode(held);
  const auto ranks = static_cast<std::size_t>(world.world_size());
  std::vector<std::uint64_t> hashes(ranks);
  std::uint64_t hash = fnv1a(own);
  world.all_gather(hashes.data(), {&hash, 1, DType::int64}).wait();
  const bool alike = std::ranges::all_of(hashes, [&](std::uint64_t other) { return other == hash; });
  if (alike) return std::vector<std::vector<HeldSlice>>(ranks, held);

  std::vector<std::vector<HeldSlice>> all;
  for (int rank = 0; rank < world.world_size(); ++rank) all.push_back(decode(world.broadcast(own, rank)));
  return all;
}

std::vector<RankReport> gather_reports(Communicator& world, const RankReport& report) {
  const Row own = encode(report);
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(world.world_size()));
  auto size = static_cast<std::int64_t>(own.numbers().size());
  world.all_gather(sizes.data(), {&size, 1, DType::int64}).wait();

  std::vector<std::int64_t> numbers(
      world.rank() == 0 ? static_cast<std::size_t>(std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0})) : 0);
  auto input = own.numbers();
  world.gather(numbers.data(), {input.data(), size, DType::int64}, sizes, 0).wait();

  std::vector<RankReport> reports;
  for (std::size_t first = 0; first < numbers.size(); first += static_cast<std::size_t>(sizes[reports.size() - 1])) {
    const auto rank = reports.size();
    reports.push_back(
        decode(Row(std::span(numbers).subspan(first, static_cast<std::size_t>(sizes[rank]))), static_cast<int>(rank)));
  }
  return reports;
}

std::vector<std::string> exchange_names(Communicator& world, const std::string& own) {
  constexpr std::size_t kRow = 64;
  std::string row = own;
  row.resize(kRow - 1);
  std::vector<char> rows(kRow * static_cast<std::size_t>(world.world_size()));
  world.all_gather(rows.data(), {row.data(), kRow, DType::uint8}).wait();  // with the string's last zero
  std::vector<std::string> names;
  for (std::size_t at = 0; at < rows.size(); at += kRow) names.emplace_back(rows.data() + at);
  return names;
}

SaveOutcome broadcast_outcome(Communicator& world, const SaveOutcome& outcome, int root) {
  return decode_outcome(world.broadcast(world.rank() == root ? encode(outcome) : "", root));
}

}  // namespace lockstep
