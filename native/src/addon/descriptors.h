#pragma once

#include <napi.h>

namespace sluice {

// Adds the functions that need no object of their own: pipes, locks, credentials, and what is done to descriptors.
void DefineDescriptorFunctions(Napi::Object exports);

}  // namespace sluice
