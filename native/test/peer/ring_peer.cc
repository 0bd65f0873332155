// The other end of a ring, in C++: connects to a control socket as docs/shared-memory.md says, and echoes every frame until
// the server hangs up. `ring-peer PATH socket|semaphore`; prints how many frames it echoed.
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "../../src/os/address.h"
#include "../../src/os/rights.h"
#include "../../src/os/ring.h"
#include "../../src/os/segment.h"
#include "../../src/os/socket.h"
#include "../../src/os/wait.h"

using namespace sluice::os;

namespace {

struct Message {
  uint32_t magic, version, kind, capacity;
  int32_t id;
  uint32_t block_bytes;
};

Segment ReceiveSegment(int socket) {
  Message message;
  std::vector<UniqueFd> fds;
  bool truncated = false;
  pollfd item{socket, POLLIN, 0};
  PollUntil({&item, 1}, {});
  const auto bytes = std::as_writable_bytes(std::span(&message, 1));
  const ssize_t count = ReceiveWithDescriptors(socket, bytes, 1, fds, truncated);
  if (count != sizeof message || truncated) throw std::runtime_error("the server sent no whole message");
  if (message.magic != SegmentHeader::kMagic || message.version != SegmentHeader::kVersion) {
    throw std::runtime_error("the server sent another message");
  }
  const auto kind = static_cast<SegmentKind>(message.kind);
  return Segment::Open(kind, message.capacity, message.block_bytes,
                       kind == SegmentKind::kSysV ? message.id : fds.at(0).get());
}

uint64_t Echo(RingEndpoint& endpoint, Sleeping how) {
  for (uint64_t echoed = 0;; ++echoed) {
    std::span<const uint8_t> frame;
    while ((frame = endpoint.Take()).empty()) {
      if (endpoint.Wait(how) == Woken::kPeerGone) return echoed;
    }
    const auto size = static_cast<uint32_t>(frame.size());
    uint8_t* room;
    while ((room = endpoint.Reserve(size)) == nullptr) {
      if (endpoint.WaitForRoom(how) == Woken::kPeerGone) return echoed;
    }
    memcpy(room, frame.data(), size);
    endpoint.Commit(size);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 3) throw std::runtime_error("usage: ring-peer PATH socket|semaphore");
    const UniqueFd socket = StreamSocket(AF_UNIX);
    if (Connect(socket.get(), Address::Unix(argv[1])) != Progress::kConnected) throw std::runtime_error("not connected");
    const Segment segment = ReceiveSegment(socket.get());
    RingEndpoint endpoint(segment, RingEndpoint::kClient, socket.get());
    const Sleeping how = std::string(argv[2]) == "semaphore" ? kAsleepOnSemaphore : kAsleepOnSocket;
    printf("%" PRIu64 "\n", Echo(endpoint, how));
    return 0;
  } catch (const std::exception& error) {
    fprintf(stderr, "ring-peer: %s\n", error.what());
    return 1;
  }
}
