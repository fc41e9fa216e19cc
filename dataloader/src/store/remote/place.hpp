// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace lockstep::remote {

// With what requests to an object store are signed (AWS Signature Version 4).
struct Credentials {
  std::string key{};  // empty: requests are not signed
  std::string secret{};
  std::string token{};  // of temporary credentials, or empty
  std::string region{};
};

// Where the files of a store stand.
struct Place {
  std::string base;      // "https://host/data/", ends with a slash
  std::string query{};   // "?sv=…" of the location, goes behind every name; may hold secrets
  std::string shown;     // `base` without user and password, or "s3://bucket/prefix/": for messages
  std::string list{};    // s3: the bucket's URL; empty: cannot be listed
  std::string prefix{};  // s3: of the keys, empty or ends with a slash
  Credentials credentials{};

  [[nodiscard]] std::string url_without_query(std::string_view name) const;
};

// Both throw UsageError if `location` is no such URL.
[[nodiscard]] Place http_place(const std::string& location);
[[nodiscard]] Place s3_place(const std::string& location);  // reads the AWS_… environment variables

[[nodiscard]] std::string percent_encoded(std::string_view text, std::string_view kept = "");

}  // namespace lockstep::remote
