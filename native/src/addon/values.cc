#include "values.h"

#include <uv.h>

#include <cmath>
#include <string>

namespace sluice {

Napi::Error ToError(Napi::Env env, const std::exception& error) {
  if (dynamic_cast<const os::ArgumentError*>(&error) != nullptr) return Napi::TypeError::New(env, error.what());
  const auto* failure = dynamic_cast<const os::SystemError*>(&error);
  if (failure == nullptr) return Napi::Error::New(env, error.what());
  const int number = -failure->number();
  std::string message = std::string(failure->call()) + " " + uv_err_name(number) + ": " + uv_strerror(number);
  if (!failure->subject().empty()) message += ", " + failure->subject();
  Napi::Error result = Napi::Error::New(env, message);
  result.Set("code", Napi::String::New(env, uv_err_name(number)));
  result.Set("errno", Napi::Number::New(env, number));
  result.Set("syscall", Napi::String::New(env, failure->call()));
  return result;
}

Napi::Object ToObject(Napi::Env env, const ucred& credentials) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("pid", credentials.pid);
  object.Set("uid", credentials.uid);
  object.Set("gid", credentials.gid);
  return object;
}

Napi::Object ToObject(Napi::Env env, const os::Address& address) {
  Napi::Object object = Napi::Object::New(env);
  if (address.family() == AF_UNIX) {
    object.Set("path", address.unix_name());
  } else {
    object.Set("address", address.ip_text());
    object.Set("port", address.ip_port());
  }
  return object;
}

os::Address ToAddress(Napi::Value value) {
  if (value.IsObject()) {
    const Napi::Object object = value.As<Napi::Object>();
    const Napi::Value path = object.Get("path");
    if (path.IsString()) return os::Address::Unix(path.As<Napi::String>());
    const Napi::Value address = object.Get("address");
    if (address.IsString()) {
      return os::Address::Ip(address.As<Napi::String>(), ToInteger(object.Get("port"), "port", 0, 65535));
    }
  }
  throw os::ArgumentError("a socket address is { path } or { address, port }");
}

int ToDescriptor(Napi::Value value, const char* what) { return ToInteger(value, what, 0, INT32_MAX); }

int ToInteger(Napi::Value value, const char* what, int minimum, int maximum) {
  return static_cast<int>(ToInteger(value, what, int64_t{minimum}, int64_t{maximum}));
}

int64_t ToInteger(Napi::Value value, const char* what, int64_t minimum, int64_t maximum) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(number >= static_cast<double>(minimum) && number <= static_cast<double>(maximum)) || std::trunc(number) != number) {
    throw os::ArgumentError(std::string(what) + " must be an integer in " + std::to_string(minimum) + ".." +
                            std::to_string(maximum));
  }
  return static_cast<int64_t>(number);
}

uint64_t ToPollNs(Napi::Value value) {
  return value.IsUndefined() ? 0 : static_cast<uint64_t>(ToInteger(value, "pollMicroseconds", 0, 1000)) * 1000;
}

Napi::Object ToHandler(Napi::Value value, std::initializer_list<const char*> methods) {
  if (!value.IsObject()) throw os::ArgumentError("the handler must be an object");
  const Napi::Object handler = value.As<Napi::Object>();
  for (const char* method : methods) {
    if (!handler.Get(method).IsFunction()) {
      throw os::ArgumentError(std::string("the handler has no method ") + method);
    }
  }
  return handler;
}

}  // namespace sluice
