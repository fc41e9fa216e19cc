// SPDX-License-Identifier: Apache-2.0
#include "failure.hpp"

#include <exception>

namespace lockstep {

std::string failure_text(const std::exception& error) {
  const auto* ours = dynamic_cast<const Error*>(&error);
  return ours == nullptr ? error.what() : ours->text().what + ": " + ours->text().why;
}

void rethrow_as_checkpoint_error(const std::string& what, const std::string& fix) {
  try {
    throw;
  } catch (const CheckpointError&) {
    throw;
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    const ErrorText& text = error.text();
    throw CheckpointError({.what = what, .why = text.what + ": " + text.why, .fix = text.fix.empty() ? fix : text.fix});
  } catch (const std::exception& error) {
    throw CannotLook({.what = what, .why = error.what(), .fix = fix});
  }
}

}  // namespace lockstep
