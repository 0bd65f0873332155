#include "aes_gcm.h"

#include <dlfcn.h>

#include <algorithm>
#include <new>
#include <optional>
#include <stdexcept>

#include "values.h"

namespace sluice {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr int kTagBytes = 16;
constexpr size_t kNonceBytes = 12;
// What a double holds exactly.
constexpr int64_t kMaxNumber = (int64_t{1} << 53) - 1;

using Context = evp_cipher_ctx_st;

// The functions of OpenSSL (EVP_EncryptInit(3), ERR_clear_error(3)) that Node has in it, or is linked to: found when they are
// needed, since an addon that names them itself would not load where they are missing, nor be built without their headers.
class OpenSsl {
 public:
  // Undefined when one is missing.
  static const std::optional<OpenSsl>& Get() {
    static const std::optional<OpenSsl> found = Find();
    return found;
  }

  // EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG, of <openssl/evp.h>.
  static constexpr int kGetTag = 0x10;
  static constexpr int kSetTag = 0x11;

  Context* (*context_new)();
  void (*context_free)(Context*);
  const void* (*aes_256_gcm)();
  int (*init)(Context*, const void* cipher, void* engine, const uint8_t* key, const uint8_t* nonce, int sealing);
  int (*update)(Context*, uint8_t* out, int* out_bytes, const uint8_t* in, int in_bytes);
  int (*final)(Context*, uint8_t* out, int* out_bytes);
  int (*control)(Context*, int type, int argument, void* pointer);
  void (*clear_error)();

 private:
  static std::optional<OpenSsl> Find() {
    OpenSsl found;
    const bool complete =
        Find(found.context_new, "EVP_CIPHER_CTX_new") && Find(found.context_free, "EVP_CIPHER_CTX_free") &&
        Find(found.aes_256_gcm, "EVP_aes_256_gcm") && Find(found.init, "EVP_CipherInit_ex") &&
        Find(found.update, "EVP_CipherUpdate") && Find(found.final, "EVP_CipherFinal_ex") &&
        Find(found.control, "EVP_CIPHER_CTX_ctrl") && Find(found.clear_error, "ERR_clear_error");
    return complete ? std::optional(found) : std::nullopt;
  }

  template <class Function>
  static bool Find(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
    return function != nullptr;
  }
};

const OpenSsl& Ssl() { return *OpenSsl::Get(); }

void Check(int result) {
  if (result > 0) return;
  Ssl().clear_error();
  throw std::runtime_error("OpenSSL's AES-256-GCM failed");
}

// The arguments of Seal and Open: `memory[start..payload)` is the header, `memory[payload..end)` the rest of the packet.
struct Packet {
  Packet(const Napi::CallbackInfo& info, int tag_room) {
    if (!info[0].IsTypedArray()) throw os::ArgumentError("the packet must be in a Uint8Array");
    Napi::Uint8Array array = info[0].As<Napi::Uint8Array>();
    const auto length = static_cast<int64_t>(array.ByteLength());
    if (length < tag_room) throw os::ArgumentError("there is no room for the tag");
    const int64_t end = ToInteger(info[3], "end", int64_t{0}, std::min<int64_t>(length, INT32_MAX) - tag_room);
    const int64_t payload = ToInteger(info[2], "payload", int64_t{0}, end);
    const int64_t start = ToInteger(info[1], "start", int64_t{0}, payload);
    number = static_cast<uint64_t>(ToInteger(info[4], "number", int64_t{0}, kMaxNumber));
    header = array.Data() + start;
    header_bytes = static_cast<int>(payload - start);
    body = array.Data() + payload;
    body_bytes = static_cast<int>(end - payload);
  }

  uint64_t number;
  uint8_t* header;
  int header_bytes;
  uint8_t* body;
  int body_bytes;
};

}  // namespace

void AesGcm::FreeContext::operator()(Context* context) const { Ssl().context_free(context); }

Napi::Value AesGcm::Define(Napi::Env env) {
  if (!OpenSsl::Get()) return env.Undefined();
  return DefineClass(env, "AesGcm", {InstanceMethod<&AesGcm::Seal>("seal"), InstanceMethod<&AesGcm::Open>("open")});
}

AesGcm::AesGcm(const Napi::CallbackInfo& info) : Napi::ObjectWrap<AesGcm>(info) {
  FromJavaScript(info.Env(), [&] {
    if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().ByteLength() != kKeyBytes) {
      throw os::ArgumentError("the key must be a Uint8Array of 32 bytes");
    }
    const uint8_t* key = info[0].As<Napi::Uint8Array>().Data();
    context_.reset(Ssl().context_new());
    if (context_ == nullptr) throw std::bad_alloc();
    Check(Ssl().init(context_.get(), Ssl().aes_256_gcm(), nullptr, key, nullptr, 1));
  });
}

void AesGcm::Begin(bool sealing, uint64_t number, const uint8_t* header, int header_bytes) {
  uint8_t nonce[kNonceBytes] = {};
  for (size_t at = kNonceBytes; number != 0; number >>= 8) nonce[--at] = static_cast<uint8_t>(number);
  Check(Ssl().init(context_.get(), nullptr, nullptr, nullptr, nonce, sealing ? 1 : 0));
  int written;
  if (header_bytes > 0) Check(Ssl().update(context_.get(), nullptr, &written, header, header_bytes));
}

void AesGcm::Update(uint8_t* payload, int bytes) {
  int written;
  if (bytes > 0) Check(Ssl().update(context_.get(), payload, &written, payload, bytes));
}

void AesGcm::Seal(const Napi::CallbackInfo& info) {
  FromJavaScript(info.Env(), [&] {
    const Packet packet(info, kTagBytes);
    Begin(true, packet.number, packet.header, packet.header_bytes);
    Update(packet.body, packet.body_bytes);
    uint8_t* tag = packet.body + packet.body_bytes;
    int written;
    Check(Ssl().final(context_.get(), tag, &written));
    Check(Ssl().control(context_.get(), OpenSsl::kGetTag, kTagBytes, tag));
  });
}

Napi::Value AesGcm::Open(const Napi::CallbackInfo& info) {
  return FromJavaScript(info.Env(), [&] {
    const Packet packet(info, 0);
    const int bytes = packet.body_bytes - kTagBytes;
    if (bytes < 0) return Napi::Boolean::New(info.Env(), false);
    Begin(false, packet.number, packet.header, packet.header_bytes);
    Check(Ssl().control(context_.get(), OpenSsl::kSetTag, kTagBytes, packet.body + bytes));
    Update(packet.body, bytes);
    uint8_t rest[kTagBytes];
    int written;
    const bool authentic = Ssl().final(context_.get(), rest, &written) > 0;
    // What one function leaves there, another may take for its own.
    if (!authentic) Ssl().clear_error();
    return Napi::Boolean::New(info.Env(), authentic);
  });
}

}  // namespace sluice
