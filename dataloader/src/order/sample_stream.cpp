// SPDX-License-Identifier: Apache-2.0
#include "order/sample_stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "lockstep/base/error.hpp"
#include "lockstep/base/hash.hpp"
#include "lockstep/base/mix.hpp"

namespace lockstep {
namespace {

[[noreturn]] void refuse(std::string why, std::string fix) {
  throw UsageError({.what = "DataLoader", .why = std::move(why), .fix = std::move(fix)});
}

// A source of a name has an order of its own, which depends on no other source.
std::uint64_t seed_of_source(const Source& source, std::uint64_t seed) {
  return source.name.empty() ? seed : mix_bits(mix_bits(seed + kGoldenGamma) ^ fnv1a(source.name));
}

std::vector<std::int64_t> weights_of(const std::vector<Source>& sources, const std::vector<std::int64_t>& samples) {
  const auto weighted = std::ranges::count_if(sources, [](const Source& source) { return source.weight.has_value(); });
  if (weighted == 0) return samples;
  std::vector<double> shares;
  for (const auto& source : sources) {
    if (!source.weight) {
      refuse(fmt::format("source \"{}\" has no weight, and {} of {} have one", source.name, weighted, sources.size()),
             "give all sources a weight, or none to mix them by their samples");
    }
    shares.push_back(*source.weight);
  }
  return whole_weights(shares);
}

}  // namespace

SampleStream::SampleStream(const std::vector<Source>& sources, const LoaderOptions& options)
    : options_(options), mixture_({1}) {
  std::vector<std::int64_t> samples;
  for (const auto& source : sources) {
    const std::int64_t stored = source.dataset->samples();
    auto order = source.order ? source.order : options.shuffle ? shuffled(stored) : in_order(stored);
    samples.push_back(order->samples_per_pass());
    if (samples.back() <= 0) refuse(fmt::format("the data set {} is empty", source.name), "leave it out");
    tracks_.push_back({std::move(order), seed_of_source(source, options.seed), samples.back()});
  }
  weights_ = weights_of(sources, samples);
  mixture_ = Mixture(weights_);
  epoch_samples_ = options.epoch_samples > 0 ? options.epoch_samples
                                             : std::accumulate(samples.begin(), samples.end(), std::int64_t{0});
  if (options.last_batch == LastBatch::drop && epoch_samples_ < options.global_batch) {
    refuse(fmt::format("an epoch's {} samples are fewer than global_batch={}, and short steps are dropped",
                       epoch_samples_, options.global_batch),
           "use a smaller global batch, or another policy for the last one");
  }
  position_.sources.resize(sources.size());
}

std::int64_t SampleStream::steps_per_epoch() const noexcept {
  const bool rest = options_.last_batch != LastBatch::drop && epoch_samples_ % options_.global_batch != 0;
  return epoch_samples_ / options_.global_batch + (rest ? 1 : 0);
}

StepPlan SampleStream::next() {
  const std::int64_t fresh = std::min(options_.global_batch, epoch_samples_ - position_.samples_in_epoch);
  StepPlan plan{
      .epoch = position_.epoch, .step_in_epoch = position_.step_in_epoch, .samples = fresh, .parts = {}, .after = {}};
  if (options_.last_batch == LastBatch::pad) plan.samples = options_.global_batch;
  const auto range_of = [&](std::int64_t k) { return even_split(plan.samples, options_.micro_batches, k); };
  if (plan.samples == fresh) {
    give(range_of(options_.owned.first).first, nullptr);
    for (auto k = options_.owned.first; k < options_.owned.last; ++k) {
      auto& part = plan.parts.emplace_back(StepPlan::Part{.micro_batch = static_cast<int>(k), .ids = {}});
      give(range_of(k).size(), &part.ids);
    }
    const std::int64_t given =
        options_.owned.empty() ? range_of(options_.owned.first).first : range_of(options_.owned.last - 1).last;
    give(fresh - given, nullptr);
  } else {  // the step's own samples again, round and round
    std::vector<SampleId> ids;
    give(fresh, &ids);
    for (auto k = options_.owned.first; k < options_.owned.last; ++k) {
      auto& part = plan.parts.emplace_back(StepPlan::Part{.micro_batch = static_cast<int>(k), .ids = {}});
      for (auto i = range_of(k).first; i < range_of(k).last; ++i) {
        part.ids.push_back(ids[static_cast<std::size_t>(i % fresh)]);
      }
    }
  }
  finish_step(fresh);
  plan.after = position_;
  return plan;
}

void SampleStream::finish_step(std::int64_t samples) {
  ++position_.step_in_epoch;
  position_.samples_in_epoch += samples;
  const std::int64_t left = epoch_samples_ - position_.samples_in_epoch;
  if (left > 0 && (options_.last_batch != LastBatch::drop || left >= options_.global_batch)) return;
  give(left, nullptr);
  ++position_.epoch;
  position_.step_in_epoch = 0;
  position_.samples_in_epoch = 0;
}

void SampleStream::give(std::int64_t samples, std::vector<SampleId>* ids) {
  if (tracks_.size() == 1 && ids == nullptr) {
    advance(0, samples);
    return;
  }
  for (; samples > 0; --samples) {
    const std::size_t source = tracks_.size() == 1 ? 0 : mixture_.next();
    if (ids != nullptr) ids->push_back(id_of_next(source));
    advance(source, 1);
  }
}

SampleId SampleStream::id_of_next(std::size_t source) {
  Track& track = tracks_[source];
  const SourcePosition& at = position_.sources[source];
  if (!track.order_of_pass) track.order_of_pass = track.order->pass(track.seed, at.pass);
  return {.source = static_cast<std::int32_t>(source), .pass = at.pass, .sample = (*track.order_of_pass)(at.position)};
}

void SampleStream::advance(std::size_t source, std::int64_t samples) {
  Track& track = tracks_[source];
  SourcePosition& at = position_.sources[source];
  at.mixed += samples;
  at.position += samples;
  if (at.position < track.samples_per_pass) return;
  at.pass += at.position / track.samples_per_pass;
  at.position %= track.samples_per_pass;
  track.order_of_pass.reset();
}

void SampleStream::check(const StreamPosition& position) const { (void)resumed(position); }

void SampleStream::seek(const StreamPosition& position) {
  mixture_ = resumed(position);
  position_ = position;
  for (auto& track : tracks_) track.order_of_pass.reset();
}

Mixture SampleStream::resumed(const StreamPosition& position) const {
  Mixture mixture(weights_);
  std::vector<std::int64_t> counts;
  for (const auto& source : position.sources) counts.push_back(source.mixed);
  mixture.resume(counts);
  return mixture;
}

}  // namespace lockstep
