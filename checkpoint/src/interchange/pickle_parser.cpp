// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "interchange/foreign_tensors.hpp"
#include "interchange/pickle_values.hpp"
#include "interchange/unpickle.hpp"

namespace lockstep {
namespace {

using Id = std::uint32_t;
using Kind = PickleValue::Kind;
using Global = PickleValue::Global;

constexpr std::size_t kMostValues = 1 << 23;  // some 25 a tensor

[[noreturn]] void refuse_pickle(std::string why) { refuse("its data.pkl", std::move(why)); }

PickleValue find_global(std::string_view module, std::string_view name) {
  PickleValue value{.kind = Kind::global, .items = {}};
  if (module == "collections" && name == "OrderedDict") {
    value.global = Global::ordered_dict;
  } else if (module == "torch._utils" && name == "_rebuild_tensor_v2") {
    value.global = Global::rebuild_tensor;
  } else if (module == "torch._utils" && name == "_rebuild_parameter") {
    value.global = Global::rebuild_parameter;
  } else if (module == "torch" && name == "Size") {
    value.global = Global::size;
  } else {
    const auto found = std::ranges::find(kTorchStorages, name, &std::pair<std::string_view, DType>::first);
    if (module != "torch" || found == kTorchStorages.end()) {
      refuse_pickle(
          fmt::format("it names {}.{}, which is no part of a dictionary of dense tensors; nothing of it was "
                      "run",
                      module.substr(0, 80), name.substr(0, 80)));
    }
    value.global = Global::storage;
    value.number = static_cast<std::int64_t>(found->second);
  }
  return value;
}

// A machine with a stack, as Python's pickle.py is; protocol 2.
class Parser {
 public:
  explicit Parser(std::span<const std::byte> bytes) : rest_(bytes) {}

  Pickle parse() {
    while (step()) {
    }
    if (stack_.size() != 1 || !marks_.empty()) refuse_pickle("it ends with more or less than one value");
    return {std::move(values_), stack_.back()};
  }

 private:
  std::span<const std::byte> take(std::size_t bytes) {
    if (bytes > rest_.size()) refuse_pickle("it ends too early");
    const auto taken = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return taken;
  }
  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view take_text(std::size_t bytes) {
    const auto taken = take(bytes);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  std::string_view take_line() {
    const auto end = std::ranges::find(rest_, std::byte{'\n'});
    if (end == rest_.end()) refuse_pickle("it ends too early");
    const auto line = take_text(static_cast<std::size_t>(end - rest_.begin()));
    take(1);
    return line;
  }

  void push(PickleValue value) {
    if (values_.size() >= kMostValues) refuse_pickle("it has too many values");
    stack_.push_back(static_cast<Id>(values_.size()));
    values_.push_back(std::move(value));
  }
  void push_number(std::int64_t number) { push({.kind = Kind::number, .number = number, .items = {}}); }
  void push_text(std::size_t bytes) { push({.kind = Kind::text, .text = take_text(bytes), .items = {}}); }
  void push_sequence(std::vector<Id> items) { push({.kind = Kind::sequence, .items = std::move(items)}); }

  // What lies above the last mark cannot be taken by anything but what takes the mark.
  Id pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) refuse_pickle("it takes a value that is not there");
    const Id id = stack_.back();
    stack_.pop_back();
    return id;
  }
  std::vector<Id> pop_many(std::size_t count) {
    std::vector<Id> items(count);
    for (auto item = items.rbegin(); item != items.rend(); ++item) *item = pop();
    return items;
  }
  std::vector<Id> pop_to_mark() {
    if (marks_.empty()) refuse_pickle("it takes a mark that is not there");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Id> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  PickleValue& top(Kind kind) {
    const Id id = pop();
    stack_.push_back(id);
    return at(id, kind);
  }
  PickleValue& at(Id id, Kind kind) {
    if (values_[id].kind != kind) refuse_pickle("a value is of another kind than its use needs");
    return values_[id];
  }
  PickleValue& item(const std::vector<Id>& items, std::size_t index, Kind kind) {
    if (index >= items.size()) refuse_pickle("a tuple has too few values");
    return at(items[index], kind);
  }

  void append(Kind kind, const std::vector<Id>& items) {
    if (kind == Kind::dictionary && items.size() % 2 != 0) refuse_pickle("a key has no value");
    auto& target = top(kind).items;
    target.insert(target.end(), items.begin(), items.end());
  }

  void remember(std::uint32_t name) {
    const Id id = pop();
    stack_.push_back(id);
    memo_[name] = id;
  }
  void recall(std::uint32_t name) {
    const auto found = memo_.find(name);
    if (found == memo_.end()) refuse_pickle("it refers to a value that is not there");
    stack_.push_back(found->second);
  }

  void push_long() {
    const auto bytes = take(take<std::uint8_t>());
    std::int64_t number = 0;
    if (bytes.size() > sizeof number) refuse_pickle("a number has more than 64 bits");
    if (!bytes.empty()) {
      number = std::to_integer<int>(bytes.back() & std::byte{0x80}) != 0 ? -1 : 0;
      std::memcpy(&number, bytes.data(), bytes.size());
    }
    push_number(number);
  }

  // ("storage", class, key, location, elements)
  void push_storage() {
    const auto& items = at(pop(), Kind::sequence).items;
    const PickleValue& global = item(items, 1, Kind::global);
    if (item(items, 0, Kind::text).text != "storage" || global.global != Global::storage) {
      refuse_pickle("a persistent object is not a storage");
    }
    static_cast<void>(item(items, 4, Kind::number));
    push(
        {.kind = Kind::storage, .number = global.number, .text = item(items, 2, Kind::text).text, .items = {items[4]}});
  }

  // What the function would return; it is not called, there is none.
  void reduce() {
    const auto& arguments = at(pop(), Kind::sequence).items;
    switch (at(pop(), Kind::global).global) {
      case Global::ordered_dict:
        if (!arguments.empty()) refuse_pickle("an OrderedDict is made of something");
        push({.kind = Kind::dictionary, .items = {}});
        return;
      case Global::rebuild_tensor: {
        static_cast<void>(item(arguments, 0, Kind::storage));
        static_cast<void>(item(arguments, 1, Kind::number));
        static_cast<void>(item(arguments, 2, Kind::sequence));
        static_cast<void>(item(arguments, 3, Kind::sequence));
        push({.kind = Kind::tensor, .items = {arguments[0], arguments[1], arguments[2], arguments[3]}});
        return;
      }
      case Global::rebuild_parameter:
        static_cast<void>(item(arguments, 0, Kind::tensor));
        stack_.push_back(arguments[0]);
        return;
      case Global::size:
        static_cast<void>(item(arguments, 0, Kind::sequence));
        stack_.push_back(arguments[0]);
        return;
      case Global::storage:
        refuse_pickle("it calls a storage's class");
    }
  }

  // False at the end. The opcodes' names: pickletools.
  bool step() {
    const auto opcode = static_cast<char>(take<std::uint8_t>());
    switch (opcode) {
      case '\x80':  // PROTO
        if (take<std::uint8_t>() != 2) refuse_pickle("its protocol is not 2, which torch.save uses");
        return true;
      case '.':  // STOP
        return false;
      case 'c': {  // GLOBAL
        const auto module = take_line();
        push(find_global(module, take_line()));
        return true;
      }
      case 'R':  // REDUCE
        reduce();
        return true;
      case 'b':  // BUILD: a state_dict's _metadata
        pop();
        static_cast<void>(top(Kind::dictionary));
        return true;
      case 'Q':  // BINPERSID
        push_storage();
        return true;
      default:
        return step_of_container(opcode) || step_of_memo(opcode) || step_of_value(opcode) ||
               (refuse_pickle(fmt::format("opcode {:#04x} is none that torch.save writes for tensors",
                                          static_cast<unsigned>(static_cast<unsigned char>(opcode)))),
                false);
    }
  }

  bool step_of_container(char opcode) {
    switch (opcode) {
      case '(':  // MARK
        marks_.push_back(stack_.size());
        return true;
      case 't':  // TUPLE
        push_sequence(pop_to_mark());
        return true;
      case ')':     // EMPTY_TUPLE
      case ']':     // EMPTY_LIST
      case '\x8f':  // EMPTY_SET
        push_sequence({});
        return true;
      case '\x85':  // TUPLE1
      case '\x86':  // TUPLE2
      case '\x87':  // TUPLE3
        push_sequence(pop_many(static_cast<std::size_t>(opcode - '\x85') + 1));
        return true;
      case '}':  // EMPTY_DICT
        push({.kind = Kind::dictionary, .items = {}});
        return true;
      case 's':  // SETITEM
        append(Kind::dictionary, pop_many(2));
        return true;
      case 'u':  // SETITEMS
        append(Kind::dictionary, pop_to_mark());
        return true;
      case 'a':  // APPEND
        append(Kind::sequence, pop_many(1));
        return true;
      case 'e':  // APPENDS
        append(Kind::sequence, pop_to_mark());
        return true;
      default:
        return false;
    }
  }

  bool step_of_memo(char opcode) {
    switch (opcode) {
      case 'q':  // BINPUT
        remember(take<std::uint8_t>());
        return true;
      case 'r':  // LONG_BINPUT
        remember(take<std::uint32_t>());
        return true;
      case 'h':  // BINGET
        recall(take<std::uint8_t>());
        return true;
      case 'j':  // LONG_BINGET
        recall(take<std::uint32_t>());
        return true;
      default:
        return false;
    }
  }

  bool step_of_value(char opcode) {
    switch (opcode) {
      case 'X':  // BINUNICODE
        push_text(take<std::uint32_t>());
        return true;
      case 'U':  // SHORT_BINSTRING
        push_text(take<std::uint8_t>());
        return true;
      case 'K':  // BININT1
        push_number(take<std::uint8_t>());
        return true;
      case 'M':  // BININT2
        push_number(take<std::uint16_t>());
        return true;
      case 'J':  // BININT
        push_number(take<std::int32_t>());
        return true;
      case '\x8a':  // LONG1
        push_long();
        return true;
      case 'G':  // BINFLOAT
        take(8);
        push({.items = {}});
        return true;
      case 'N':     // NONE
      case '\x88':  // NEWTRUE
      case '\x89':  // NEWFALSE
        push({.items = {}});
        return true;
      default:
        return false;
    }
  }

  std::span<const std::byte> rest_;
  std::vector<PickleValue> values_;
  std::vector<Id> stack_;
  std::vector<std::size_t> marks_;  // sizes of the stack
  std::unordered_map<std::uint32_t, Id> memo_;
};

}  // namespace

Pickle parse_pickle(std::span<const std::byte> bytes) { return Parser(bytes).parse(); }

}  // namespace lockstep
