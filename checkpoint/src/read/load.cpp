// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/load.hpp"
#include "lockstep/checkpoint/reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include <algorithm>
#include <set>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

bool matches_any(const std::vector<std::string>& globs, const std::string& name) {
  return std::ranges::any_of(globs, [&](const auto& glob) { return ::fnmatch(glob.c_str(), name.c_str(), 0) == 0; });
}

bool is_selected(const LoadOptions& options, const std::string& name) {
  return (options.include.empty() || matches_any(options.include, name)) && !matches_any(options.exclude, name);
}

std::string stored_name(const LoadOptions& options, const std::string& wanted) {
  for (const auto& [from, to] : options.rename) {
    if (wanted.starts_with(from)) return to + wanted.substr(from.size());
  }
  return wanted;
}

// The inverse, for the question whether the caller's globs mean a stored tensor.
std::string wanted_name(const LoadOptions& options, const std::string& stored) {
  for (const auto& [to, from] : options.rename) {
    if (stored.starts_with(from)) return to + stored.substr(from.size());
  }
  return stored;
}

std::string form_of(DType dtype, const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}] {}", fmt::join(shape, ", "), name_of(dtype));
}

void check(const LoadTarget& target) {
  std::int64_t elements = 1;
  bool good = target.first_element >= 0 && target.elements >= 0 && (target.data != nullptr || target.elements == 0);
  for (const std::int64_t dimension : target.global_shape) {
    good = good && dimension >= 0 && !__builtin_mul_overflow(elements, dimension, &elements);
  }
  if (good && target.first_element <= elements && target.elements <= elements - target.first_element) return;
  throw UsageError(
      {.what = fmt::format("load {}", target.name),
       .why = fmt::format("{} elements from {} on, at {}, are no run of {}", target.elements, target.first_element,
                          static_cast<const void*>(target.data), form_of(target.dtype, target.global_shape)),
       .fix = "give a run within the tensor, and its memory"});
}

// What is to be read, and what does not fit, with the words for it.
class LoadPlan {
 public:
  LoadPlan(const Checkpoint& checkpoint, const std::vector<LoadTarget>& targets, const LoadOptions& options)
      : checkpoint_(checkpoint), options_(options) {
    std::set<std::string> taken;  // stored names
    std::set<std::string> seen;   // wanted ones: a target may be one run of several
    requests_.reserve(targets.size());
    for (const LoadTarget& target : targets) {
      check(target);
      if (!is_selected(options, target.name)) continue;
      const std::string name = stored_name(options, target.name);
      taken.insert(name);
      add(target, checkpoint.find(name), seen.insert(target.name).second);
    }
    for (const StoredTensor& tensor : checkpoint.tensors()) {
      if (taken.contains(tensor.name) || !is_selected(options, wanted_name(options, tensor.name))) continue;
      report_.unexpected.push_back(tensor.name);
      unexpected_.push_back(fmt::format("{} ({})", tensor.name, form_of(tensor.dtype, tensor.shape)));
    }
  }

  void throw_unless_it_fits() const {
    std::vector<std::string> reasons;
    const auto add_reason = [&](Strictness strictness, const char* what, const std::vector<std::string>& which) {
      if (strictness == Strictness::error && !which.empty()) {
        reasons.push_back(fmt::format("{} {}: {}", which.size(), what, fmt::join(which, ", ")));
      }
    };
    add_reason(options_.missing, "that the program wants and the checkpoint lacks", missing_);
    add_reason(options_.unexpected, "that the checkpoint has and the program does not want", unexpected_);
    add_reason(options_.mismatched, "of another shape or dtype", report_.mismatched);
    if (reasons.empty()) return;
    throw CheckpointError({.what = fmt::format("load tensors of {}", checkpoint_.path().string()),
                           .why = fmt::format("they do not fit: {}", fmt::join(reasons, "; ")),
                           .fix = "load it into the model that it was written from, or say what may differ"});
  }

  [[nodiscard]] const std::vector<ReadRequest>& requests() const noexcept { return requests_; }
  [[nodiscard]] LoadReport take_report() { return std::move(report_); }

 private:
  void add(const LoadTarget& target, const StoredTensor* stored, bool first_run) {
    const std::string wanted_form = form_of(target.dtype, target.global_shape);
    if (stored == nullptr) {
      if (!first_run) return;
      report_.missing.push_back(target.name);
      missing_.push_back(fmt::format("{} ({})", target.name, wanted_form));
    } else if (stored->dtype != target.dtype || stored->shape != target.global_shape) {
      if (!first_run) return;
      report_.mismatched.push_back(fmt::format("{}: the checkpoint has {}, the program {}", target.name,
                                               form_of(stored->dtype, stored->shape), wanted_form));
    } else {
      if (first_run) report_.loaded.push_back(target.name);
      const auto bytes = static_cast<std::size_t>(target.elements) * size_of(target.dtype);
      requests_.push_back({stored->name, target.first_element, {target.data, bytes}});
    }
  }

  const Checkpoint& checkpoint_;
  const LoadOptions& options_;
  std::vector<ReadRequest> requests_;
  LoadReport report_;
  std::vector<std::string> missing_;  // with their forms
  std::vector<std::string> unexpected_;
};

}  // namespace

LoadReport load_tensors(const Checkpoint& checkpoint, const std::vector<LoadTarget>& targets,
                        const LoadOptions& options) {
  LoadPlan plan(checkpoint, targets, options);
  plan.throw_unless_it_fits();
  checkpoint.read(plan.requests(), options.threads);
  return plan.take_report();
}

}  // namespace lockstep
