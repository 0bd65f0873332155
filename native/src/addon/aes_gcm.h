#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>

// OpenSSL's, of <openssl/types.h>.
extern "C" struct evp_cipher_ctx_st;

namespace sluice {

// AES-256-GCM under one key. See index.ts.
class AesGcm : public Napi::ObjectWrap<AesGcm> {
 public:
  // Undefined where this process has no OpenSSL, or another library instead of it that lacks what this needs.
  static Napi::Value Define(Napi::Env env);
  explicit AesGcm(const Napi::CallbackInfo& info);

 private:
  struct FreeContext {
    void operator()(evp_cipher_ctx_st* context) const;
  };

  void Seal(const Napi::CallbackInfo& info);
  Napi::Value Open(const Napi::CallbackInfo& info);

  // Starts on a packet: its nonce is `number`, and `header` is authenticated.
  void Begin(bool sealing, uint64_t number, const uint8_t* header, int header_bytes);
  // Encrypts or decrypts where it is.
  void Update(uint8_t* payload, int bytes);

  // With the key, which goes with it.
  std::unique_ptr<evp_cipher_ctx_st, FreeContext> context_;
};

}  // namespace sluice
