#include "segment.h"

#include <string>
#include <utility>

#include "values.h"

namespace sluice {

namespace {

// Tells a Segment from every other object before it is unwrapped.
constexpr napi_type_tag kTypeTag = {0x6b0f3a1c52d94e77, 0x9d21c4e8a05b7f36};

os::SegmentKind ToKind(Napi::Value value) {
  static constexpr std::pair<const char*, os::SegmentKind> kKinds[] = {
      {"memfd", os::SegmentKind::kMemfd},
      {"posix", os::SegmentKind::kPosix},
      {"sysv", os::SegmentKind::kSysV},
      {"file", os::SegmentKind::kFile},
  };
  if (value.IsString()) {
    const std::string name = value.As<Napi::String>();
    for (const auto& [known, kind] : kKinds) {
      if (name == known) return kind;
    }
  }
  throw os::ArgumentError("the kind of segment must be memfd, posix, sysv or file");
}

// Memory as an ArrayBuffer. `drop` is called with `hint` once nothing refers to it any more; not if this throws.
napi_value Show(Napi::Env env, uint8_t* data, size_t size, napi_finalize drop, void* hint) {
  napi_value value;
  const napi_status status = napi_create_external_arraybuffer(env, data, size, drop, hint, &value);
  if (status == napi_no_external_buffers_allowed) {
    throw os::ArgumentError(
        "shared memory cannot be shown to JavaScript here (as in Electron, which refuses external buffers): use unix: or "
        "tcp:");
  }
  if (status != napi_ok) throw Napi::Error::New(env);
  return value;
}

}  // namespace

Napi::Function Segment::Define(Napi::Env env) {
  return DefineClass(env, "Segment",
                     {
                         InstanceAccessor<&Segment::Handle>("handle"),
                         InstanceMethod<&Segment::CloseHandle>("closeHandle"),
                         InstanceMethod<&Segment::Close>("close"),
                         InstanceMethod<&Segment::Lend>("lend"),
                         InstanceMethod<&Segment::Recall>("recall"),
                         InstanceMethod<&Segment::Discard>("discard"),
                     });
}

Segment& Segment::From(Napi::Value value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTypeTag)) {
    throw os::ArgumentError("the segment must be a Segment");
  }
  Segment& segment = *Unwrap(value.As<Napi::Object>());
  if (!segment.mapping_->segment) throw os::ArgumentError("the segment is closed");
  return segment;
}

Segment::Segment(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Segment>(info) {
  FromJavaScript(info.Env(), [&] {
    const Napi::Env env = info.Env();
    const os::SegmentKind kind = ToKind(info[0]);
    std::optional<os::Segment>& segment = mapping_->segment;
    capacity_ = static_cast<uint32_t>(ToInteger(info[1], "capacity", 4096, 1 << 30));
    const auto block_bytes = static_cast<uint32_t>(ToInteger(info[2], "block", 0, int{os::kMaxBlockBytes}));
    if (info[3].IsNumber()) {
      segment.emplace(os::Segment::Open(kind, capacity_, block_bytes, info[3].As<Napi::Number>().Int32Value()));
    } else if (kind == os::SegmentKind::kFile) {
      if (!info[3].IsString()) throw os::ArgumentError("a segment in a file needs a directory to make the file in");
      const std::string directory = info[3].As<Napi::String>();
      segment.emplace(os::Segment::Create(kind, capacity_, block_bytes, directory.c_str()));
    } else {
      segment.emplace(os::Segment::Create(kind, capacity_, block_bytes));
    }

    Napi::Int32Array fault = Napi::Int32Array::New(env, 1);
    mapping_->fault = reinterpret_cast<std::atomic<uint32_t>*>(fault.Data());
    mapping_->fault_object = Napi::Persistent(fault);
    if (kind == os::SegmentKind::kPosix || kind == os::SegmentKind::kFile) {
      mapping_->guard.emplace(segment->data(), segment->size(), *mapping_->fault);
    }

    Napi::Value value;
    try {
      value = ShowRings(env);
    } catch (...) {
      mapping_->guard.reset();
      segment.reset();
      throw;
    }
    const Napi::ArrayBuffer buffer = value.As<Napi::ArrayBuffer>();
    buffer_ = Napi::Reference<Napi::ArrayBuffer>::New(buffer, 0);
    Napi::Object self = info.This().As<Napi::Object>();
    self.TypeTag(&kTypeTag);
    self.DefineProperty(Napi::PropertyDescriptor::Value("buffer", buffer, napi_enumerable));
    self.DefineProperty(Napi::PropertyDescriptor::Value("fault", fault, napi_enumerable));
  });
}

// The view keeps the mapping: whoever holds it may still look.
Napi::Value Segment::ShowRings(Napi::Env env) {
  auto keep = std::make_unique<std::shared_ptr<Mapping>>(mapping_);
  const auto drop = [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<Mapping>*>(hint); };
  const os::Segment& segment = *mapping_->segment;
  const Napi::Value shown(env, Show(env, segment.data(), segment.rings_size(), drop, keep.get()));
  keep.release();
  return shown;
}

Napi::Value Segment::Handle(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), mapping_->segment ? mapping_->segment->handle() : -1);
}

void Segment::CloseHandle(const Napi::CallbackInfo&) {
  if (mapping_->segment) mapping_->segment->CloseHandle();
}

void Segment::Close(const Napi::CallbackInfo& info) {
  if (!mapping_->segment) return;
  if (mapping_->channels > 0) throw Napi::Error::New(info.Env(), "close the segment's ring channels first");
  buffer_.Value().Detach();
  if (mapping_->loans.empty()) {
    mapping_->guard.reset();
    mapping_->segment.reset();
  }
  mapping_ = std::make_shared<Mapping>();
}

Napi::Value Segment::Lend(const Napi::CallbackInfo& info) {
  return FromJavaScript(info.Env(), [&]() -> Napi::Value {
    const std::optional<os::Segment>& segment = mapping_->segment;
    if (!segment) throw os::ArgumentError("the segment is closed");
    const auto size = static_cast<int64_t>(segment->size());
    const int64_t start = ToInteger(info[0], "start", int64_t{0}, size);
    const int64_t length = ToInteger(info[1], "length", int64_t{1}, size - start);
    uint8_t* const data = segment->data() + start;
    auto loan = std::make_unique<Loan>(Loan{mapping_, data});
    if (!mapping_->loans.emplace(data, loan.get()).second) throw os::ArgumentError("the range is lent already");
    const auto drop = [](napi_env, void*, void* hint) {
      const std::unique_ptr<Loan> ended(static_cast<Loan*>(hint));
      const auto found = ended->mapping->loans.find(ended->data);
      if (found != ended->mapping->loans.end() && found->second == ended.get()) ended->mapping->loans.erase(found);
    };
    try {
      const Napi::ArrayBuffer buffer(info.Env(), Show(info.Env(), data, static_cast<size_t>(length), drop, loan.get()));
      loan.release();
      return buffer;
    } catch (...) {
      mapping_->loans.erase(data);
      throw;
    }
  });
}

void Segment::Recall(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] {
    if (!info[0].IsArrayBuffer()) throw os::ArgumentError("what is recalled must be an ArrayBuffer");
    Napi::ArrayBuffer buffer = info[0].As<Napi::ArrayBuffer>();
    // Moved by whoever held it: its memory is dropped with what it became.
    if (buffer.IsDetached()) return;
    if (mapping_->loans.erase(buffer.Data()) == 0) throw os::ArgumentError("this was not lent by the segment");
    buffer.Detach();
  });
}

void Segment::Discard(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] {
    std::optional<os::Segment>& segment = mapping_->segment;
    if (!segment) throw os::ArgumentError("the segment is closed");
    const auto size = static_cast<int64_t>(segment->size());
    const int64_t start = ToInteger(info[0], "start", int64_t{0}, size);
    segment->Discard(static_cast<size_t>(start), static_cast<size_t>(ToInteger(info[1], "length", int64_t{1}, size)));
  });
}

}  // namespace sluice
