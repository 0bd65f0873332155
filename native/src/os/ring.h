// One end of a connection over the two rings of a segment: single producer, single consumer, and sleep without lost
// wake-ups. docs/shared-memory.md explains the protocol; native/model has its model, whose steps are named after the
// SYNC POINTs here.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

#include "error.h"
#include "segment.h"
#include "semaphore.h"
#include "wait.h"

namespace sluice::os {

// The peer has written something to the segment that no peer may write. The connection is to be closed.
class CorruptRing : public std::runtime_error {
 public:
  explicit CorruptRing(const std::string& what) : std::runtime_error("the peer has corrupted shared memory: " + what) {}
};

enum class Woken { kReady, kTimedOut, kPeerGone };

// Wakes the endpoint whose flag was taken down and had been `sleeping`. `doorbell` is this end of the stream socket to
// it. Never blocks.
inline void Wake(SegmentHeader::Endpoint& endpoint, uint32_t sleeping, int doorbell) {
  switch (sleeping) {
    case kAwake: return;  // another has woken it, or it woke by itself
    case kAsleepOnSemaphore: return Post(endpoint.semaphore);
    case kAsleepOnSocket: {
      const char bell = 0;
      if (send(doorbell, &bell, sizeof bell, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) return;
      // No room: it has been rung often enough. No peer: whoever waits for it hears that from the socket.
      if (errno == EAGAIN || errno == EPIPE || errno == ECONNRESET) return;
      throw SystemError(errno, "send", "the doorbell");
    }
    default: throw CorruptRing("its sleeping flag is " + std::to_string(sleeping));
  }
}

// Takes down the flag of `endpoint`, if it is up, and wakes it. To be called after what it is woken for was stored.
inline void WakeIfAsleep(SegmentHeader::Endpoint& endpoint, int doorbell) {
  // SYNC POINT 3 and 4: this load comes after the store of head or tail, as the sleeper's look comes after its flag.
  if (endpoint.sleeping.load(std::memory_order_seq_cst) == kAwake) return;
  // SYNC POINT 5: of several who see the flag, one takes it down.
  Wake(endpoint, endpoint.sleeping.exchange(kAwake, std::memory_order_seq_cst), doorbell);
}

// Sleeps until `ready()` is true, the deadline (if any) has passed or the peer has gone; `self` is this side's endpoint.
// `ready` must look at shared memory anew, with seq_cst, each time that it is called.
template <class Ready>
Woken Sleep(SegmentHeader::Endpoint& self, Sleeping how, int doorbell, const Deadline& deadline, Ready ready) {
  // A semaphore cannot be awaited together with a socket, which therefore is asked this often whether the peer lives.
  constexpr std::chrono::nanoseconds kSemaphoreSlice = std::chrono::milliseconds(50);
  bool gone = false;
  for (;;) {
    // SYNC POINT 3 and 4: the flag before the last look. The peer stores head or tail before it looks at the flag; so
    // either this look sees what it stored, or it sees the flag.
    self.sleeping.store(how, std::memory_order_seq_cst);
    const bool is_ready = ready();
    const Clock::time_point now = deadline ? Clock::now() : Clock::time_point{};
    if (is_ready || gone || (deadline && now >= *deadline)) {
      // The peer may have taken the flag down already: its bell then ends the next sleep early, which only costs a look.
      self.sleeping.store(kAwake, std::memory_order_seq_cst);
      return is_ready ? Woken::kReady : gone ? Woken::kPeerGone : Woken::kTimedOut;
    }
    if (how == kAsleepOnSemaphore) {
      const auto slice = deadline ? std::min<std::chrono::nanoseconds>(*deadline - now, kSemaphoreSlice) : kSemaphoreSlice;
      if (AwaitPost(self.semaphore, slice)) continue;
      pollfd item{doorbell, POLLRDHUP, 0};
      Check(Uninterrupted([&] { return poll(&item, 1, 0); }), "poll");
      gone = item.revents != 0;
    } else {
      timespec timeout{};
      if (deadline) {
        const std::chrono::nanoseconds left = *deadline - now;
        timeout.tv_sec = left / std::chrono::seconds(1);
        timeout.tv_nsec = (left % std::chrono::seconds(1)).count();
      }
      pollfd item{doorbell, POLLIN, 0};
      const int count = ppoll(&item, 1, deadline ? &timeout : nullptr, nullptr);
      if (count == -1 && errno != EINTR) throw SystemError(errno, "ppoll");
      if (count != 1) continue;
      // Bells are heard before the flag goes up again: one that is rung for that flag must not be among them.
      char bells[1024];
      const ssize_t received = recv(doorbell, bells, sizeof bells, MSG_DONTWAIT);
      // Any error but these is an end too: ECONNRESET is what a peer leaves that dies with its own bells unheard.
      gone = received == 0 || (received == -1 && errno != EAGAIN && errno != EINTR);
    }
  }
}

// A frame: a 12-byte header, whose first word is the payload's length, and the payload.
inline constexpr uint32_t kFrameHeaderBytes = 12;

// One end. Not thread-safe: one thread at a time. The segment and the socket must outlive it.
class RingEndpoint {
 public:
  enum Side { kServer = 0, kClient = 1 };

  // `doorbell`: this end of the stream socket to the peer, over which nothing but bells is sent any more. `start`: what
  // head and tail of both rings are; 0, but for tests.
  RingEndpoint(const Segment& segment, Side side, int doorbell, uint32_t start = 0)
      : self_(segment.header().endpoints[side]),
        peer_(segment.header().endpoints[1 - side]),
        outbound_(segment.header().rings[side]),
        inbound_(segment.header().rings[1 - side]),
        capacity_(segment.capacity()),
        outbound_data_(RingData(segment, side)),
        inbound_data_(RingData(segment, 1 - side)),
        doorbell_(doorbell),
        frame_(new uint8_t[segment.capacity()]),
        published_(start),
        known_tail_(start),
        taken_(start),
        known_head_(start) {}

  // Where to write a frame of `frame_bytes` in all, 12 to the capacity; its length is written by Commit. The memory is
  // shared: the peer may change it at any time, so do not read there. Null when there is no room: then this much is
  // waited for, until a Reserve succeeds.
  uint8_t* Reserve(uint32_t frame_bytes) {
    if (frame_bytes < kFrameHeaderBytes || frame_bytes > capacity_) {
      throw ArgumentError("a frame of " + std::to_string(frame_bytes) + " bytes does not fit a ring of " +
                          std::to_string(capacity_) + ": a frame has 12 bytes or more");
    }
    const uint32_t bytes = Padded(frame_bytes);
    if (Room(known_tail_) < bytes && !FindRoom(bytes)) return nullptr;
    StopWaiting();
    return outbound_data_ + Index(published_);
  }

  // Publishes what has been written to where Reserve has pointed; at most as much as was reserved.
  void Commit(uint32_t frame_bytes) {
    const uint32_t payload = frame_bytes - kFrameHeaderBytes;
    memcpy(outbound_data_ + Index(published_), &payload, sizeof payload);
    published_ += Padded(frame_bytes);
    // SYNC POINT 1: the record before the head. SYNC POINT 3: the head before the look at the flag.
    outbound_.head.store(published_, std::memory_order_seq_cst);
    WakeIfAsleep(peer_, doorbell_);
  }

  // The next frame, copied to private memory, valid until the next call. Empty when there is none.
  std::span<const uint8_t> Take() {
    if (known_head_ == taken_) known_head_ = ReadHead();
    const uint32_t available = known_head_ - taken_;
    if (available == 0) return {};
    uint8_t* const record = inbound_data_ + Index(taken_);
    // Read once: what was checked is what is used.
    const uint32_t payload = reinterpret_cast<SharedWord*>(record)->load(std::memory_order_relaxed);
    if (payload > capacity_ - kFrameHeaderBytes || Padded(kFrameHeaderBytes + payload) > available) {
      throw CorruptRing("a frame of " + std::to_string(payload) + " bytes among " + std::to_string(available));
    }
    const uint32_t bytes = kFrameHeaderBytes + payload;
    memcpy(frame_.get(), &payload, sizeof payload);
    memcpy(frame_.get() + sizeof payload, record + sizeof payload, bytes - sizeof payload);
    taken_ += Padded(bytes);
    // SYNC POINT 2: the copy before the tail. SYNC POINT 4: the tail before the look at what the producer waits for.
    inbound_.tail.store(taken_, std::memory_order_seq_cst);
    const uint32_t wanted = peer_.waiting.load(std::memory_order_seq_cst);
    if (wanted > capacity_) throw CorruptRing("it waits for " + std::to_string(wanted) + " bytes of room");
    // With a head that is out of date there seems to be more room than there is: it then wakes for nothing, and what
    // keeps the ring full will be taken later.
    if (wanted != 0 && capacity_ - (known_head_ - taken_) >= wanted) WakeIfAsleep(peer_, doorbell_);
    return {frame_.get(), bytes};
  }

  // Whether Take would return a frame.
  bool Readable() const { return ReadHead() != taken_; }

  // Whether Reserve, which had no room, would have it now.
  bool Writable() const { return waiting_ != 0 && Room(ReadTail()) >= waiting_; }

  // Sleeps until Readable() or Writable(), the deadline or the peer's end. What the peer has sent before its end comes
  // first.
  Woken Wait(Sleeping how, const Deadline& deadline = {}) {
    return Sleep(self_, how, doorbell_, deadline, [this] { return Readable() || Writable(); });
  }

  // The same until Writable(). Both ends must not do this at once: they could wait for each other.
  Woken WaitForRoom(Sleeping how, const Deadline& deadline = {}) {
    return Sleep(self_, how, doorbell_, deadline, [this] { return Writable(); });
  }

 private:
  static constexpr uint32_t Padded(uint32_t bytes) { return (bytes + 7) & ~7u; }

  static uint8_t* RingData(const Segment& segment, int ring) {
    return segment.data() + kSegmentHeaderBytes + (ring == 0 ? 0 : 2 * size_t{segment.capacity()});
  }

  uint32_t Index(uint32_t position) const { return position & (capacity_ - 1); }
  uint32_t Room(uint32_t tail) const { return capacity_ - (published_ - tail); }

  // SYNC POINT 1: after this load the bytes before the head can be read. SYNC POINT 3: the flag comes before it.
  uint32_t ReadHead() const {
    return Checked("head", inbound_.head.load(std::memory_order_seq_cst), taken_, /*ahead=*/true);
  }

  // SYNC POINT 2: after this load the bytes before the tail can be written. SYNC POINT 4: the flags come before it.
  uint32_t ReadTail() const {
    return Checked("tail", outbound_.tail.load(std::memory_order_seq_cst), published_, /*ahead=*/false);
  }

  // `index`, the peer's, read once, against ours.
  uint32_t Checked(const char* name, uint32_t index, uint32_t own, bool ahead) const {
    const uint32_t used = ahead ? index - own : own - index;
    if (used <= capacity_ && used % 8 == 0) return index;
    throw CorruptRing("its " + std::string(name) + " is " + std::to_string(index) + ", ours " + std::to_string(own));
  }

  bool FindRoom(uint32_t bytes) {
    known_tail_ = ReadTail();
    if (Room(known_tail_) >= bytes) return true;
    waiting_ = bytes;
    // SYNC POINT 4: the wish before the look at the tail. The consumer stores the tail before it looks at the wish.
    self_.waiting.store(bytes, std::memory_order_seq_cst);
    known_tail_ = ReadTail();
    return Room(known_tail_) >= bytes;
  }

  void StopWaiting() {
    if (waiting_ == 0) return;
    waiting_ = 0;
    self_.waiting.store(0, std::memory_order_seq_cst);
  }

  SegmentHeader::Endpoint& self_;
  SegmentHeader::Endpoint& peer_;
  SegmentHeader::Ring& outbound_;
  SegmentHeader::Ring& inbound_;
  uint32_t capacity_;
  uint8_t* outbound_data_;
  uint8_t* inbound_data_;
  int doorbell_;
  std::unique_ptr<uint8_t[]> frame_;

  // What only this side decides is kept here; the segment has copies, for the peer.
  uint32_t published_;   // head of the outbound ring
  uint32_t known_tail_;  // its tail, as last read
  uint32_t taken_;       // tail of the inbound ring
  uint32_t known_head_;  // its head, as last read
  uint32_t waiting_ = 0;
};

}  // namespace sluice::os
