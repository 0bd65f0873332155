#pragma once

#include <napi.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "../os/fault_guard.h"
#include "../os/segment.h"

namespace sluice {

// Memory shared with another process. See index.ts.
//
// The mapping ends by `close`, which detaches JavaScript's view of it first, or else when this object and the view have
// been collected and no channel uses it. What was lent and not recalled keeps it beyond that: whoever holds it may have
// moved it elsewhere (ArrayBuffer.prototype.transfer), where it can still be looked at.
class Segment : public Napi::ObjectWrap<Segment> {
 public:
  struct Mapping;
  // A part of the mapping in the hands of JavaScript; deleted with the memory of its ArrayBuffer.
  struct Loan {
    std::shared_ptr<Mapping> mapping;
    void* data;
  };
  struct Mapping {
    // Set once a page was found missing; the addon's and JavaScript's.
    std::atomic<uint32_t>* fault = nullptr;
    Napi::Reference<Napi::Int32Array> fault_object;
    std::optional<os::Segment> segment;
    // Only where there is a file that could be truncated. Gone before the segment.
    std::optional<os::FaultGuard> guard;
    // How many ring channels use it.
    int channels = 0;
    // What was lent and is not back, by where it begins.
    std::map<void*, Loan*> loans;
  };

  static Napi::Function Define(Napi::Env env);
  explicit Segment(const Napi::CallbackInfo& info);

  // `value`, which must be an open Segment; throws ArgumentError otherwise.
  static Segment& From(Napi::Value value);

  const std::shared_ptr<Mapping>& mapping() const { return mapping_; }
  uint32_t capacity() const { return capacity_; }

 private:
  Napi::Value Handle(const Napi::CallbackInfo& info);
  void CloseHandle(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  Napi::Value Lend(const Napi::CallbackInfo& info);
  void Recall(const Napi::CallbackInfo& info);
  void Discard(const Napi::CallbackInfo& info);

  Napi::Value ShowRings(Napi::Env env);

  std::shared_ptr<Mapping> mapping_ = std::make_shared<Mapping>();
  uint32_t capacity_ = 0;
  // Weak: a property of this object holds it.
  Napi::Reference<Napi::ArrayBuffer> buffer_;
};

}  // namespace sluice
