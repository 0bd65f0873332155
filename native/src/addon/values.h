// Between JavaScript's values and those of os/.
#pragma once

#include <napi.h>

#include <cstdint>
#include <exception>

#include "../os/address.h"
#include "../os/error.h"

namespace sluice {

// With Node's properties (code, errno, syscall) where the error is a system call's; a TypeError for an ArgumentError.
Napi::Error ToError(Napi::Env env, const std::exception& error);

// `{ pid, uid, gid }`.
Napi::Object ToObject(Napi::Env env, const ucred& credentials);
// `{ path }` or `{ address, port }`.
Napi::Object ToObject(Napi::Env env, const os::Address& address);
os::Address ToAddress(Napi::Value value);

// A descriptor number. `what` names the argument in the error.
int ToDescriptor(Napi::Value value, const char* what);
// An integer in minimum..maximum.
int ToInteger(Napi::Value value, const char* what, int minimum, int maximum);
int64_t ToInteger(Napi::Value value, const char* what, int64_t minimum, int64_t maximum);
// For how long to poll at most, in nanoseconds, of 0 to 1,000 `pollMicroseconds`; undefined for 0.
uint64_t ToPollNs(Napi::Value value);
// An object that has `methods`.
Napi::Object ToHandler(Napi::Value value, std::initializer_list<const char*> methods);

// Runs the body of a method that JavaScript called, and throws there what `body` throws here.
template <class Body>
auto FromJavaScript(Napi::Env env, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw ToError(env, error);
  }
}

}  // namespace sluice
