// SPDX-License-Identifier: Apache-2.0
#include "optimizer_state.hpp"

#include <ATen/ops/scalar_tensor.h>
#include <c10/util/Type.h>
#include <fmt/format.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

namespace optim = torch::optim;
using Json = nlohmann::json;

// What each kind of optimizer keeps a parameter, in one place for saving and restoring.
template <class Visitor>
void visit(optim::SGDParamState& state, Visitor& slot) {
  slot("momentum_buffer", state.momentum_buffer());
}
template <class State, class Visitor>
void visit_adam(State& state, Visitor& slot) {
  slot("step", state.step());
  slot("exp_avg", state.exp_avg());
  slot("exp_avg_sq", state.exp_avg_sq());
  slot("max_exp_avg_sq", state.max_exp_avg_sq());
}
template <class Visitor>
void visit(optim::AdamParamState& state, Visitor& slot) {
  visit_adam(state, slot);
}
template <class Visitor>
void visit(optim::AdamWParamState& state, Visitor& slot) {
  visit_adam(state, slot);
}
template <class Visitor>
void visit(optim::RMSpropParamState& state, Visitor& slot) {
  slot("step", state.step());
  slot("square_avg", state.square_avg());
  slot("momentum_buffer", state.momentum_buffer());
  slot("grad_avg", state.grad_avg());
}
template <class Visitor>
void visit(optim::AdagradParamState& state, Visitor& slot) {
  slot("sum", state.sum());
  slot("step", state.step());
}

// And of a parameter group.
template <class Visitor>
void visit(optim::SGDOptions& options, Visitor& option) {
  option("lr", options.lr());
  option("momentum", options.momentum());
  option("dampening", options.dampening());
  option("weight_decay", options.weight_decay());
  option("nesterov", options.nesterov());
}
template <class Options, class Visitor>
void visit_adam_options(Options& options, Visitor& option) {
  option("lr", options.lr());
  option("beta1", std::get<0>(options.betas()));
  option("beta2", std::get<1>(options.betas()));
  option("eps", options.eps());
  option("weight_decay", options.weight_decay());
  option("amsgrad", options.amsgrad());
}
template <class Visitor>
void visit(optim::AdamOptions& options, Visitor& option) {
  visit_adam_options(options, option);
}
template <class Visitor>
void visit(optim::AdamWOptions& options, Visitor& option) {
  visit_adam_options(options, option);
}
template <class Visitor>
void visit(optim::RMSpropOptions& options, Visitor& option) {
  option("lr", options.lr());
  option("alpha", options.alpha());
  option("eps", options.eps());
  option("weight_decay", options.weight_decay());
  option("momentum", options.momentum());
  option("centered", options.centered());
}
template <class Visitor>
void visit(optim::AdagradOptions& options, Visitor& option) {
  option("lr", options.lr());
  option("lr_decay", options.lr_decay());
  option("weight_decay", options.weight_decay());
  option("initial_accumulator_value", options.initial_accumulator_value());
  option("eps", options.eps());
}

struct SaveSlots {
  std::vector<OptimizerSlot>& slots;
  void operator()(const char* name, const at::Tensor& value) {
    if (value.defined()) slots.push_back({name, value});
  }
  void operator()(const char* name, std::int64_t value) {
    slots.push_back({name, at::scalar_tensor(value, at::kLong)});
  }
};

struct LoadSlots {
  const std::vector<OptimizerSlot>& slots;
  at::Device device;  // of the parameter
  std::size_t taken = 0;
  [[nodiscard]] const at::Tensor* find(const char* name) {
    const auto slot = std::find_if(slots.begin(), slots.end(), [&](const OptimizerSlot& s) { return s.name == name; });
    if (slot == slots.end()) return nullptr;
    ++taken;
    return &slot->value;
  }
  void operator()(const char* name, at::Tensor& value) {
    if (const at::Tensor* const stored = find(name)) value = stored->to(device);
  }
  void operator()(const char* name, std::int64_t& value) {
    if (const at::Tensor* const stored = find(name)) value = stored->item<std::int64_t>();
  }
};

struct SaveOptions {
  Json& json;
  template <class T>
  void operator()(const char* name, const T& value) {
    json[name] = value;
  }
};

struct LoadOptions {
  const Json& json;
  template <class T>
  void operator()(const char* name, T& value) {
    json.at(name).get_to(value);
  }
};

// Calls `use` with a null pointer of the optimizer's per-parameter state and one of its options, which name their
// types.
template <class Use>
void with_kind(const optim::Optimizer& optimizer, Use use) {
  if (dynamic_cast<const optim::SGD*>(&optimizer) != nullptr) {
    use("SGD", static_cast<optim::SGDParamState*>(nullptr), static_cast<optim::SGDOptions*>(nullptr));
  } else if (dynamic_cast<const optim::Adam*>(&optimizer) != nullptr) {
    use("Adam", static_cast<optim::AdamParamState*>(nullptr), static_cast<optim::AdamOptions*>(nullptr));
  } else if (dynamic_cast<const optim::AdamW*>(&optimizer) != nullptr) {
    use("AdamW", static_cast<optim::AdamWParamState*>(nullptr), static_cast<optim::AdamWOptions*>(nullptr));
  } else if (dynamic_cast<const optim::RMSprop*>(&optimizer) != nullptr) {
    use("RMSprop", static_cast<optim::RMSpropParamState*>(nullptr), static_cast<optim::RMSpropOptions*>(nullptr));
  } else if (dynamic_cast<const optim::Adagrad*>(&optimizer) != nullptr) {
    use("Adagrad", static_cast<optim::AdagradParamState*>(nullptr), static_cast<optim::AdagradOptions*>(nullptr));
  } else {
    throw UsageError({.what = fmt::format("an optimizer of type {}", c10::demangle(typeid(optimizer).name())),
                      .why = "lockstep does not know what state it keeps, so it cannot be saved",
                      .fix = "use SGD, Adam, AdamW, RMSprop or Adagrad, or leave it out of the train state"});
  }
}

}  // namespace

std::string optimizer_kind(const optim::Optimizer& optimizer) {
  std::string kind;
  with_kind(optimizer, [&](const char* name, auto*, auto*) { kind = name; });
  return kind;
}

std::vector<OptimizerSlot> optimizer_slots(optim::Optimizer& optimizer, const at::Tensor& parameter) {
  std::vector<OptimizerSlot> slots;
  const auto found = optimizer.state().find(parameter.unsafeGetTensorImpl());
  if (found == optimizer.state().end()) return slots;
  with_kind(optimizer, [&]<class State>(const char*, State*, auto*) {
    SaveSlots save{slots};
    visit(static_cast<State&>(*found->second), save);
  });
  return slots;
}

void set_optimizer_slots(optim::Optimizer& optimizer, const at::Tensor& parameter,
                         const std::vector<OptimizerSlot>& slots) {
  optimizer.state().erase(parameter.unsafeGetTensorImpl());
  if (slots.empty()) return;
  with_kind(optimizer, [&]<class State>(const char* kind, State*, auto*) {
    auto state = std::make_unique<State>();
    LoadSlots load{slots, parameter.device()};
    visit(*state, load);
    if (load.taken != slots.size()) {
      throw CheckpointError(
          {.what = fmt::format("the state of an {} optimizer", kind),
           .why = fmt::format("the checkpoint's was written by another kind: it has {}", slots[0].name),
           .fix = "use the optimizer that the checkpoint was written with"});
    }
    optimizer.state()[parameter.unsafeGetTensorImpl()] = std::move(state);
  });
}

std::string optimizer_groups(optim::Optimizer& optimizer) {
  Json groups = Json::array();
  with_kind(optimizer, [&]<class Options>(const char*, auto*, Options*) {
    for (optim::OptimizerParamGroup& group : optimizer.param_groups()) {
      Json json;
      SaveOptions save{json};
      visit(static_cast<Options&>(group.options()), save);
      groups.push_back(std::move(json));
    }
  });
  return groups.dump();
}

void set_optimizer_groups(optim::Optimizer& optimizer, const std::string& text) {
  const auto refuse = [](const std::string& why) {
    throw CheckpointError({.what = "the parameter groups of an optimizer",
                           .why = why,
                           .fix = "use the optimizer that the checkpoint was written with"});
  };
  const Json groups = Json::parse(text, nullptr, false);
  if (!groups.is_array() || groups.size() != optimizer.param_groups().size()) refuse("the checkpoint has other groups");
  with_kind(optimizer, [&]<class Options>(const char*, auto*, Options*) {
    for (std::size_t i = 0; i < groups.size(); ++i) {
      try {
        LoadOptions load{groups[i]};
        visit(static_cast<Options&>(optimizer.param_groups()[i].options()), load);
      } catch (const Json::exception& error) {
        refuse(error.what());
      }
    }
  });
}

}  // namespace lockstep
