// SPDX-License-Identifier: Apache-2.0
#include "store/remote/remote_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "lockstep/base/environment.hpp"
#include "lockstep/base/error.hpp"
#include "store/blob_name.hpp"
#include "store/remote/fetcher.hpp"
#include "store/remote/place.hpp"
#include "store/remote/remote_blob.hpp"
#include "store/remote/xml.hpp"

namespace lockstep::remote {
namespace {

// What a listing or a HEAD tells of a blob.
struct Known {
  std::uint64_t size = 0;
  std::string validator;
};

struct Page {
  std::vector<std::pair<std::string, Known>> blobs;
  std::string next;  // empty: this is the last one
};

std::string cache_folder(const RemoteOptions& options) {
  if (!options.cache_folder.empty()) return options.cache_folder;
  if (const auto folder = environment_variable("XDG_CACHE_HOME")) return *folder + "/lockstep";
  if (const auto home = environment_variable("HOME")) return *home + "/.cache/lockstep";
  throw UsageError({.what = "cache of remote data",
                    .why = "neither XDG_CACHE_HOME nor HOME is set",
                    .fix = "set RemoteOptions::cache_folder"});
}

std::uint64_t number(const std::string& text) {
  if (text.empty() || text.size() > 18 || !std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; })) {
    throw DataError(
        {.what = "list an s3 bucket", .why = fmt::format("\"{}\" is no size", text), .fix = "check the server"});
  }
  return std::stoull(text);
}

Page parse_page(std::string_view text, const std::string& prefix) {
  Page page;
  if (xml_text(text, "IsTruncated") == "true") page.next = xml_text(text, "NextContinuationToken").value_or("");
  while (const auto object = xml_element(text, "Contents", &text)) {
    const auto key = xml_text(*object, "Key").value_or("");
    if (!key.starts_with(prefix)) continue;
    auto name = key.substr(prefix.size());
    if (name.empty() || name.find('/') != name.npos) continue;  // the folder itself, or below it
    page.blobs.emplace_back(std::move(name), Known{.size = number(xml_text(*object, "Size").value_or("")),
                                                   .validator = xml_text(*object, "ETag").value_or("")});
  }
  return page;
}

class RemoteStore final : public BlobStore {
 public:
  RemoteStore(Place place, const RemoteOptions& options)
      : place_(std::move(place)),
        patience_(3 * options.timeout),
        cache_(std::make_shared<Cache>(cache_folder(options), options.cache_bytes)),
        fetcher_(std::make_shared<Fetcher>(place_.credentials, options)) {}

  [[nodiscard]] const std::string& location() const noexcept override { return place_.shown; }

  [[nodiscard]] std::shared_ptr<const Blob> open(std::string_view name) const override {
    auto request = request_for(name);
    auto known = listed(name);
    if (!known) known = ask(request);
    if (!known) {
      throw DataError({.what = fmt::format("{} of data set {}", name, location()),
                       .why = "there is no such file",
                       .fix = "check the location, and that the data set was copied completely"});
    }
    const auto most_ahead = std::clamp<std::uint64_t>(cache_->pieces() / 16, 1, 32);
    const auto pieces = std::make_shared<PieceTable>(std::move(request), place_.url_without_query(name), known->size,
                                                     std::move(known->validator), cache_, patience_);
    return std::make_shared<RemoteBlob>(fetcher_, pieces, most_ahead);
  }

  [[nodiscard]] bool contains(std::string_view name) const override {
    const auto request = request_for(name);
    return listed(name) || ask(request);
  }

  [[nodiscard]] std::vector<std::string> list() const override {
    if (place_.list.empty()) {
      throw UsageError({.what = "list the files of " + location(),
                        .why = "http has no way to do so",
                        .fix = "name the shards (\"shard-{00000..00099}.tar\"), or put an index beside them"});
    }
    std::vector<std::string> names;
    std::string token;
    constexpr int kMostPages = 10'000;  // of 1000 keys: a server must not keep us for ever
    for (int i = 0; i < kMostPages; ++i) {
      auto page = fetch_page(token);
      const std::lock_guard lock(mutex_);
      for (auto& [name, known] : page.blobs) {
        names.push_back(name);
        listed_.insert_or_assign(std::move(name), std::move(known));
      }
      if (page.next.empty()) {
        std::ranges::sort(names);
        return names;
      }
      token = std::move(page.next);
    }
    throw DataError({.what = "list the files of " + location(),
                     .why = fmt::format("the list has more than {} pages", kMostPages),
                     .fix = "name the shards, or put them under a prefix of their own"});
  }

 private:
  [[nodiscard]] Request request_for(std::string_view name) const {
    check_blob_name(name, location());
    return {.url = place_.url_without_query(name) + place_.query, .shown = location() + std::string(name)};
  }

  [[nodiscard]] std::optional<Known> listed(std::string_view name) const {
    const std::lock_guard lock(mutex_);
    const auto at = listed_.find(std::string(name));
    if (at == listed_.end()) return std::nullopt;
    return at->second;
  }

  // Nothing: there is no such blob.
  [[nodiscard]] std::optional<Known> ask(Request request) const {
    request.head = true;
    const auto shown = request.shown;
    auto response = fetcher_->fetch(std::move(request));
    if (!response.found()) return std::nullopt;
    if (!response.has_size) {
      throw DataError({.what = "HEAD " + shown,
                       .why = "the answer has no Content-Length",
                       .fix = "serve the data set as files, not made up while they are sent"});
    }
    return Known{.size = response.size, .validator = std::move(response.validator)};
  }

  [[nodiscard]] Page fetch_page(const std::string& token) const {
    // In the order in which they are signed.
    auto query = token.empty() ? "" : "continuation-token=" + percent_encoded(token) + "&";
    query += "delimiter=%2F&list-type=2&prefix=" + percent_encoded(place_.prefix);
    const auto response =
        fetcher_->fetch({.url = fmt::format("{}?{}", place_.list, query), .shown = location() + " (list)"});
    if (!response.found()) {
      throw DataError({.what = "list the files of " + location(),
                       .why = fmt::format("there is no such bucket (HTTP {})", response.status),
                       .fix = "check the bucket's name, AWS_REGION and AWS_ENDPOINT_URL"});
    }
    const std::string_view text(reinterpret_cast<const char*>(response.body.data()), response.body.size());
    if (!xml_element(text, "ListBucketResult")) {
      throw DataError({.what = "list the files of " + location(),
                       .why = "the answer is not a list of objects",
                       .fix = "check AWS_ENDPOINT_URL: it does not speak S3's ListObjectsV2"});
    }
    return parse_page(text, place_.prefix);
  }

  const Place place_;
  const std::chrono::milliseconds patience_;
  const std::shared_ptr<Cache> cache_;
  const std::shared_ptr<Fetcher> fetcher_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<std::string, Known> listed_;  // guarded
};

bool is_s3(const std::string& location) { return location.starts_with("s3://"); }

}  // namespace

bool is_remote(const std::string& location) {
  return location.starts_with("http://") || location.starts_with("https://") || is_s3(location);
}

std::shared_ptr<const BlobStore> open_remote_store(const std::string& location, const RemoteOptions& options) {
  return std::make_shared<RemoteStore>(is_s3(location) ? s3_place(location) : http_place(location), options);
}

}  // namespace lockstep::remote
