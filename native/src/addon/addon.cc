#include <napi.h>

#include "aes_gcm.h"
#include "blocking.h"
#include "byte_channel.h"
#include "datagram_channel.h"
#include "descriptors.h"
#include "environment.h"
#include "poller.h"
#include "posix_queue.h"
#include "process_watch.h"
#include "ring_channel.h"
#include "ring_waiter.h"
#include "segment.h"
#include "socket_connector.h"
#include "socket_listener.h"
#include "sysv_queue.h"
#include "values.h"

namespace sluice {

static Napi::Object Initialise(Napi::Env env, Napi::Object exports) {
  // The environment's state is released by Node, after the clean-up hook that the constructor adds has closed all.
  env.SetInstanceData(new Environment(env, exports));
  exports.Set("AesGcm", AesGcm::Define(env));
  exports.Set("ByteChannel", ByteChannel::Define(env));
  exports.Set("DatagramChannel", DatagramChannel::Define(env));
  exports.Set("PosixQueue", PosixQueue::Define(env));
  exports.Set("ProcessWatch", ProcessWatch::Define(env));
  exports.Set("RingChannel", RingChannel::Define(env));
  exports.Set("RingWaiter", RingWaiter::Define(env));
  exports.Set("Segment", Segment::Define(env));
  exports.Set("SocketListener", SocketListener::Define(env));
  exports.Set("SocketConnector", SocketConnector::Define(env));
  exports.Set("SysvQueue", SysvQueue::Define(env));
  DefineBlockingFunctions(exports);
  DefineDescriptorFunctions(exports);
  const auto note_written = [](const Napi::CallbackInfo& info) {
    FromJavaScript(info.Env(), [&] { Environment::Of(info.Env()).poller().NoteWritten(ToPollNs(info[0])); });
  };
  const auto note_read = [](const Napi::CallbackInfo& info) {
    FromJavaScript(info.Env(), [&] { Environment::Of(info.Env()).poller().NoteRead(ToPollNs(info[0])); });
  };
  exports.Set("noteWritten", Napi::Function::New(env, note_written, "noteWritten"));
  exports.Set("noteRead", Napi::Function::New(env, note_read, "noteRead"));
  const auto exiting = [](const Napi::CallbackInfo& info) { Environment::Of(info.Env()).Exiting(); };
  exports.Set("exiting", Napi::Function::New(env, exiting, "exiting"));
  return exports;
}

NODE_API_MODULE(sluice, Initialise)

}  // namespace sluice
