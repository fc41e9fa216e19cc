// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string_view>

#include "commands.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "picture.hpp"
#include "values.hpp"

namespace lockstep::tool {
namespace {

constexpr std::int64_t kShownSamples = 24;        // of each source
constexpr std::int64_t kCountedSamples = 10'000;  // for the labels
constexpr std::size_t kMostBars = 100;

constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Data sets</title>
<style>
body { font: 14px sans-serif; margin: 1.5em }
.sheet { display: flex; flex-wrap: wrap; gap: 8px }
figure { margin: 0; padding: 4px; border: 1px solid #ccc; max-width: 40em }
figure img { image-rendering: pixelated; min-height: 84px; max-height: 160px }
figcaption, .more { font-size: 11px; color: #555; overflow-wrap: anywhere }
td { padding: 1px 6px; white-space: nowrap }
td.number { text-align: right }
.bar { background: #4878a8; height: 0.9em }
</style>
)";

struct Bar {
  std::string name;
  std::int64_t count = 0;
};

std::string escaped(std::string_view text) {
  std::string found;
  for (const char c : text) {
    switch (c) {
      case '&':
        found += "&amp;";
        break;
      case '<':
        found += "&lt;";
        break;
      case '>':
        found += "&gt;";
        break;
      case '"':
        found += "&quot;";
        break;
      default:
        found += c;
    }
  }
  return found;
}

std::string bars_html(const std::vector<Bar>& bars) {
  constexpr double kLongest = 30.0;  // em
  const auto most = std::ranges::max(bars, {}, &Bar::count).count;
  std::string html = "<table>\n";
  for (const auto& [name, count] : bars) {
    html += fmt::format("<tr><td>{}<td class=number>{}<td><div class=bar style=\"width:{:.2f}em\"></div>\n",
                        escaped(name), count_text(count),
                        kLongest * static_cast<double>(count) / static_cast<double>(std::max<std::int64_t>(1, most)));
  }
  return html + "</table>\n";
}

// One sample: its pictures, or the first values of its fields where there is none.
std::string sample_html(const RecordReader& reader, std::int64_t sample, Record& record) {
  std::string pictures;
  std::string values;
  try {
    reader.read(sample, record);
    for (std::size_t i = 0; i < record.fields.size(); ++i) {
      const auto& field = reader.fields()[i];
      if (const auto url = picture_url(field, record.fields[i])) {
        pictures +=
            fmt::format("<img src=\"{}\" alt=\"{}\" title=\"{}\">", *url, escaped(field.name), escaped(field.name));
      } else {
        values += fmt::format("{}: {}<br>", escaped(field.name), escaped(show(field, record.fields[i]).value));
      }
    }
  } catch (const DamagedSample& error) {
    values += fmt::format("damaged: {}<br>", escaped(error.text().why));
  }
  return fmt::format("<figure>{}<figcaption>{}{}</figcaption></figure>\n", pictures, values,
                     escaped(reader.describe(sample)));
}

std::string sheet_html(const RecordReader& reader) {
  const auto shown = std::min(kShownSamples, reader.samples());
  Record record;
  std::string html = "<div class=sheet>\n";
  for (std::int64_t i = 0; i < shown; ++i) html += sample_html(reader, i * reader.samples() / shown, record);
  return html + "</div>\n";
}

// How often each whole number stands in each field.
std::map<std::string, std::map<std::int64_t, std::int64_t>> count_labels(const RecordReader& reader,
                                                                         TerminalProgress& progress) {
  const auto counted = std::min(kCountedSamples, reader.samples());
  std::map<std::string, std::map<std::int64_t, std::int64_t>> counts;
  Record record;
  for (std::int64_t i = 0; i < counted; ++i) {
    try {
      reader.read(i * reader.samples() / counted, record);
      for (std::size_t field = 0; field < record.fields.size(); ++field) {
        const auto& stored = reader.fields()[field];
        if (const auto number = whole_number(stored, record.fields[field])) ++counts[stored.name][*number];
      }
    } catch (const DamagedSample&) {
      continue;  // `verify` tells of it
    }
    progress.update(i + 1, counted);
  }
  return counts;
}

std::string labels_html(const RecordReader& reader) {
  TerminalProgress progress("plot");
  std::string html;
  for (const auto& [field, counts] : count_labels(reader, progress)) {
    html += fmt::format("<h3>{}</h3>\n", escaped(field));
    if (counts.size() > kMostBars) {
      html += fmt::format("<p>{} different numbers from {} to {}</p>\n",
                          count_text(static_cast<std::int64_t>(counts.size())), counts.begin()->first,
                          counts.rbegin()->first);
      continue;
    }
    std::vector<Bar> bars;
    for (const auto& [label, count] : counts) bars.push_back({std::to_string(label), count});
    html += bars_html(bars);
  }
  if (html.empty() || reader.samples() <= kCountedSamples) return html;
  return html +
         fmt::format("<p class=more>Counted in {} samples, spread evenly over all.</p>\n", count_text(kCountedSamples));
}

}  // namespace

int plot(const std::vector<DataArguments>& data, const std::string& output) {
  if (std::filesystem::exists(output)) {
    throw UsageError({.what = fmt::format("plot into {}", output),
                      .why = "it exists",
                      .fix = "remove it, or choose another file with --output"});
  }
  std::vector<Bar> sources;
  std::string parts;
  for (const auto& source : data) {
    const auto input = open_input(source);
    sources.push_back({source.location, input.reader->samples()});
    parts += fmt::format("<h2>{}</h2>\n<p>{}, {} samples in {} shards</p>\n", escaped(source.location), input.format,
                         count_text(input.reader->samples()),
                         count_text(static_cast<std::int64_t>(input.reader->shard_samples().size())));
    parts += labels_html(*input.reader) + sheet_html(*input.reader);
  }
  const auto overview = sources.size() > 1 ? "<h2>Samples of each source</h2>\n" + bars_html(sources) : "";
  write_file_durably(output, std::string(kHead) + overview + parts + "</html>\n");
  fmt::print("{}\n", output);
  return 0;
}

}  // namespace lockstep::tool
