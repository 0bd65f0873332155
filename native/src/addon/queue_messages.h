// What the queues of messages have in common: how messages come from JavaScript and go there.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "values.h"

namespace sluice {

inline constexpr int kMaxQueueMessageBytes = 64 * 1024;

// Messages one behind the other in memory, each as index.ts describes it (QueueHandler.onMessages).
class QueueBatch {
 public:
  explicit QueueBatch(std::span<uint8_t> memory) : memory_(memory) {}

  bool HasRoomFor(size_t message_bytes) const { return memory_.size() - end_ >= kHeader + message_bytes; }
  // Where the next message is to be put.
  std::span<uint8_t> Room() { return memory_.subspan(end_ + kHeader); }
  // It has been put there.
  void Add(size_t bytes) {
    const uint32_t length = static_cast<uint32_t>(bytes);
    memcpy(&memory_[end_], &length, sizeof length);
    end_ += kHeader + bytes;
  }
  size_t end() const { return end_; }

 private:
  static constexpr size_t kHeader = sizeof(uint32_t);

  std::span<uint8_t> memory_;
  size_t end_ = 0;
};

// Copies of messages, as an array of Uint8Arrays.
inline Napi::Array ToArray(Napi::Env env, const std::vector<std::vector<uint8_t>>& messages) {
  const Napi::Array array = Napi::Array::New(env, messages.size());
  for (uint32_t index = 0; index < messages.size(); ++index) {
    array.Set(index, Napi::Buffer<uint8_t>::Copy(env, messages[index].data(), messages[index].size()));
  }
  return array;
}

// Puts the arguments `header` and, if they are given, `memory[start..end)` one behind the other into `message`.
inline void AssembleMessage(const Napi::CallbackInfo& info, std::vector<uint8_t>& message) {
  const auto bytes = [&](size_t index) {
    if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
      throw os::ArgumentError("a message's parts must be Uint8Arrays");
    }
    Napi::Uint8Array array = info[index].As<Napi::Uint8Array>();
    return std::span<const uint8_t>(array.Data(), array.ElementLength());
  };
  const std::span<const uint8_t> header = bytes(0);
  message.assign(header.begin(), header.end());
  if (info[1].IsUndefined()) return;
  const std::span<const uint8_t> memory = bytes(1);
  const int start = ToInteger(info[2], "start", 0, static_cast<int>(memory.size()));
  const int end = ToInteger(info[3], "end", start, static_cast<int>(memory.size()));
  message.insert(message.end(), memory.begin() + start, memory.begin() + end);
}

}  // namespace sluice
