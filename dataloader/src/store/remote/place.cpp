// SPDX-License-Identifier: Apache-2.0
#include "store/remote/place.hpp"

#include <curl/curl.h>
#include <fmt/format.h>

#include <memory>

#include "lockstep/base/environment.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::remote {
namespace {

using Url = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

bool is_alphanumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

[[noreturn]] void refuse(const std::string& location, std::string why) {
  // Without what may be a password or a signature.
  const auto scheme = location.find("://");
  const auto user = location.find('@');
  const auto shown = user != location.npos && scheme != location.npos
                         ? location.substr(0, scheme + 3) + "…" + location.substr(user)
                         : location;
  throw UsageError({.what = fmt::format("data set {}", shown.substr(0, shown.find('?'))),
                    .why = std::move(why),
                    .fix = "give http(s)://host/folder or s3://bucket/prefix"});
}

std::string part(const Url& url, CURLUPart which) {
  char* text = nullptr;
  if (curl_url_get(url.get(), which, &text, 0) != CURLUE_OK) return {};
  const std::unique_ptr<char, decltype(&curl_free)> owner(text, &curl_free);
  return text;
}

std::string with_slash(std::string text) {
  if (!text.empty() && text.back() != '/') text += '/';
  return text;
}

Credentials credentials_from_environment() {
  Credentials credentials;
  credentials.region = environment_variable("AWS_REGION").value_or("us-east-1");
  const auto key = environment_variable("AWS_ACCESS_KEY_ID");
  const auto secret = environment_variable("AWS_SECRET_ACCESS_KEY");
  if (key && secret) {
    credentials.key = *key;
    credentials.secret = *secret;
    credentials.token = environment_variable("AWS_SESSION_TOKEN").value_or("");
  }
  return credentials;
}

std::string bucket_url(const std::string& bucket, const std::string& region) {
  if (auto endpoint = environment_variable("AWS_ENDPOINT_URL")) {
    return with_slash(http_place(*endpoint).base) + percent_encoded(bucket);
  }
  // A dot in the name would not match the wildcard of the host's certificate.
  if (bucket.find('.') != bucket.npos) return fmt::format("https://s3.{}.amazonaws.com/{}", region, bucket);
  return fmt::format("https://{}.s3.{}.amazonaws.com", bucket, region);
}

}  // namespace

std::string Place::url_without_query(std::string_view name) const { return base + percent_encoded(name, "/"); }

std::string percent_encoded(std::string_view text, std::string_view kept) {
  constexpr std::string_view kUnreserved = "-._~";
  std::string encoded;
  for (const char c : text) {
    if (is_alphanumeric(c) || kUnreserved.find(c) != kUnreserved.npos || kept.find(c) != kept.npos) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

Place http_place(const std::string& location) {
  const Url url(curl_url(), &curl_url_cleanup);
  if (const auto code = curl_url_set(url.get(), CURLUPART_URL, location.c_str(), 0); code != CURLUE_OK) {
    refuse(location, fmt::format("it is not a URL ({})", curl_url_strerror(code)));
  }
  const auto query = part(url, CURLUPART_QUERY);
  curl_url_set(url.get(), CURLUPART_QUERY, nullptr, 0);
  curl_url_set(url.get(), CURLUPART_FRAGMENT, nullptr, 0);
  Place place;
  place.base = with_slash(part(url, CURLUPART_URL));
  if (!query.empty()) place.query = fmt::format("?{}", query);
  curl_url_set(url.get(), CURLUPART_USER, nullptr, 0);
  curl_url_set(url.get(), CURLUPART_PASSWORD, nullptr, 0);
  place.shown = with_slash(part(url, CURLUPART_URL));
  return place;
}

Place s3_place(const std::string& location) {
  constexpr std::string_view kScheme = "s3://";
  const auto rest = location.substr(kScheme.size());
  const auto slash = rest.find('/');
  const auto bucket = rest.substr(0, slash);
  for (const char c : bucket) {
    if (!is_alphanumeric(c) && c != '-' && c != '.' && c != '_') refuse(location, "a bucket is not named so");
  }
  if (bucket.empty()) refuse(location, "it names no bucket");
  Place place;
  place.credentials = credentials_from_environment();
  place.prefix = slash == rest.npos ? "" : with_slash(rest.substr(slash + 1));
  place.list = bucket_url(bucket, place.credentials.region);
  place.base = place.list + "/" + percent_encoded(place.prefix, "/");
  place.shown = std::string(kScheme) + bucket + "/" + place.prefix;
  return place;
}

}  // namespace lockstep::remote
