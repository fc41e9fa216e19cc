// SPDX-License-Identifier: Apache-2.0
#include "store/remote/transfer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <new>
#include <optional>
#include <utility>

#include "store/remote/xml.hpp"

namespace lockstep::remote {
namespace {

constexpr std::size_t kLongestComplaint = 4096;  // bytes of a refusal that are kept
constexpr auto kNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";  // SHA-256 of no bytes

// "bytes 0-99/1234"
struct ContentRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::uint64_t size = 0;
};

bool take_number(std::string_view& text, std::uint64_t& number) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  if (result.ec != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(result.ptr - text.data()));
  return true;
}

bool take_text(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  ContentRange range;
  const bool read = take_text(text, "bytes ") && take_number(text, range.first) && take_text(text, "-") &&
                    take_number(text, range.last) && take_text(text, "/") && take_number(text, range.size);
  if (!read || !text.empty() || range.last < range.first || range.last >= range.size) return std::nullopt;
  return range;
}

// S3 says it in XML, others in a line of text or in HTML.
std::string complaint(std::string_view body) {
  if (const auto code = xml_text(body, "Code"))
    return fmt::format("{}: {}", *code, xml_text(body, "Message").value_or(""));
  std::string line(body.substr(0, std::min<std::size_t>(body.find('\n'), 200)));
  std::erase_if(line, [](char c) { return static_cast<unsigned char>(c) < ' '; });
  return line;
}

std::string fix_for(long status, bool is_signed) {
  if (status == 401 || status == 403) {
    return is_signed
               ? "check the credentials in the environment, and that they may read this bucket; one that may not be "
                 "listed answers 403 for what is not there"
               : "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ask for read access";
  }
  if (status >= 300 && status < 400)
    return "give the address that it redirects to (s3: set AWS_REGION to the bucket's)";
  return "check the location";
}

bool passes_by_itself(CURLcode code) {
  switch (static_cast<int>(code)) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_OUT_OF_MEMORY:
    case CURLE_WRITE_ERROR:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
      return false;
  }
  return true;
}

std::string_view text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void sign(CURL* handle, const Credentials& credentials,
          std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>& headers) {
  const auto add = [&](const std::string& line) {
    auto* const longer = curl_slist_append(headers.get(), line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    static_cast<void>(headers.release());  // the list grew at its end: the same head, or the first
    headers.reset(longer);
  };
  add(fmt::format("x-amz-content-sha256: {}", kNothing));
  if (!credentials.token.empty()) add("x-amz-security-token: " + credentials.token);
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(handle, CURLOPT_AWS_SIGV4, ("aws:amz:" + credentials.region + ":s3").c_str());
  curl_easy_setopt(handle, CURLOPT_USERNAME, credentials.key.c_str());
  curl_easy_setopt(handle, CURLOPT_PASSWORD, credentials.secret.c_str());
}

}  // namespace

// Filled member by member: with designated initialisers g++ 12 warns of what is not so (-Wmaybe-uninitialized).
Verdict failure(Verdict::Kind kind, std::string why, std::string fix) {
  Verdict verdict;
  verdict.kind = kind;
  verdict.why = std::move(why);
  verdict.fix = std::move(fix);
  return verdict;
}

Transfer::Transfer(const Request& request, const Credentials& credentials, const RemoteOptions& options)
    : request_(request), handle_(curl_easy_init(), &curl_easy_cleanup) {
  CURL* const handle = handle_.get();
  if (handle == nullptr) throw std::bad_alloc();
  const auto timeout_ms = static_cast<long>(options.timeout.count());
  const bool tls = request.url.starts_with("https:");
  curl_easy_setopt(handle, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, tls ? "https" : "http,https");
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, credentials.key.empty() ? 1L : 0L);  // a signature names its host
  curl_easy_setopt(handle, CURLOPT_MAXREDIRS, 5L);
  // Streams of one HTTP/2 connection share one window and one loss: many connections are faster.
  curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "lockstep");
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_QUICK_EXIT, 1L);  // does not wait for a name server when given up
  curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, 512L << 10U);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, 30 * timeout_ms);  // one that trickles is no better than one that stalls
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, error_.data());
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &Transfer::write);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(handle, CURLOPT_PRIVATE, this);
  if (request.head) curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
  if (request.bytes > 0) {
    const auto range = fmt::format("{}-{}", request.offset, request.offset + request.bytes - 1);
    curl_easy_setopt(handle, CURLOPT_RANGE, range.c_str());
  }
  if (!credentials.key.empty()) sign(handle, credentials, headers_);
}

std::size_t Transfer::write(char* data, std::size_t size, std::size_t count, void* self) noexcept {
  try {
    return static_cast<Transfer*>(self)->take(reinterpret_cast<const std::byte*>(data), size * count);
  } catch (const std::bad_alloc&) {
    return 0;  // curl gives up with CURLE_WRITE_ERROR
  }
}

std::size_t Transfer::take(const std::byte* data, std::size_t bytes) {
  const auto now = Clock::now();
  longest_wait_ = std::max(longest_wait_, now - last_byte_);
  last_byte_ = now;
  if (status() >= 300) {
    body_.insert(body_.end(), data, data + std::min(bytes, kLongestComplaint - body_.size()));
    return bytes;
  }
  const auto limit = request_.bytes > 0 ? request_.bytes : kLongestText;
  too_long_ = bytes > limit - body_.size();
  if (too_long_) return 0;
  if (body_.empty()) body_.reserve(request_.bytes);
  body_.insert(body_.end(), data, data + bytes);
  return bytes;
}

Verdict Transfer::judge(CURLcode code) {
  if (code != CURLE_OK) return judge_failure(code);
  const long status = this->status();
  if (status >= 200 && status < 300) return judge_body(status);
  return judge_status(status);
}

Verdict Transfer::judge_failure(CURLcode code) const {
  if (too_long_ && request_.bytes > 0) {
    return failure(Verdict::Kind::hopeless, "it sends more than the range that was asked for",
                   "serve the data set by a server that answers range requests (nginx, Apache, an object store)");
  }
  if (too_long_) {
    return failure(Verdict::Kind::hopeless, fmt::format("it sends more than {} bytes", kLongestText),
                   "check the location");
  }
  const char* const text = error_[0] != '\0' ? error_.data() : curl_easy_strerror(code);
  return failure(passes_by_itself(code) ? Verdict::Kind::again : Verdict::Kind::hopeless,
                 fmt::format("{} (curl {})", text, static_cast<int>(code)),
                 "check the network, the address and the server");
}

Verdict Transfer::judge_status(long status) const {
  Verdict verdict;
  if (status == 404 || status == 410 || status == 416) {
    verdict.response.status = status;
    return verdict;
  }
  curl_off_t seconds = 0;
  curl_easy_getinfo(handle(), CURLINFO_RETRY_AFTER, &seconds);
  constexpr curl_off_t kDay = 86'400;  // the caller has a tighter bound; this one is for the multiplication
  verdict.wait_for = std::chrono::seconds(std::clamp<curl_off_t>(seconds, 0, kDay));
  const bool passes = status >= 500 || status == 429 || status == 408;
  verdict.kind = passes ? Verdict::Kind::again : Verdict::Kind::hopeless;
  const auto said = complaint(text_of(body_));
  verdict.why = said.empty() ? fmt::format("HTTP {}", status) : fmt::format("HTTP {}: {}", status, said);
  verdict.fix = passes ? "look at the server; start again when it is well" : fix_for(status, headers_ != nullptr);
  return verdict;
}

Verdict Transfer::judge_body(long status) {
  Verdict verdict;
  auto& response = verdict.response;
  response.status = status;
  response.validator = header("ETag");
  if (response.validator.empty()) response.validator = header("Last-Modified");
  if (request_.head) {
    curl_off_t length = -1;
    curl_easy_getinfo(handle(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    response.has_size = length >= 0;
    response.size = response.has_size ? static_cast<std::uint64_t>(length) : 0;
    return verdict;
  }
  response.has_size = true;
  response.size = body_.size();
  if (status == 206) {
    const auto range = parse_content_range(header("Content-Range"));
    if (!range || range->first != request_.offset || range->last - range->first + 1 != body_.size()) {
      return failure(Verdict::Kind::again,
                     fmt::format("{} bytes came with Content-Range \"{}\"", body_.size(), header("Content-Range")),
                     "look at the server and at proxies before it");
    }
    response.size = range->size;
  }
  response.body = std::move(body_);
  return verdict;
}

std::string Transfer::header(const char* name) const {
  curl_header* found = nullptr;
  if (curl_easy_header(handle(), name, 0, CURLH_HEADER, -1, &found) != CURLHE_OK) return {};
  return found->value;
}

long Transfer::status() const {
  long status = 0;
  curl_easy_getinfo(handle(), CURLINFO_RESPONSE_CODE, &status);
  return status;
}

}  // namespace lockstep::remote
