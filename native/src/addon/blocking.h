// Waiting without the event loop, for callers that cannot return to it: see "Blocking" in index.ts.
#pragma once

#include <napi.h>

namespace sluice {

void DefineBlockingFunctions(Napi::Object exports);

}  // namespace sluice
