// The two ends of each kind of connection between two processes. An end has
//   size_t Send(bytes)    takes as many of them as there is room for, without blocking: perhaps none
//   span Receive()        what has arrived, valid until the next call; empty when nothing has
//   void Wait(sending)    blocks until Receive has something or, if `sending`, there is room for Send
//   void WaitForRoom()    blocks until there is room for Send, and leaves what Receive has returned as it is
//   kMessages             whether each Send is a message of its own, of at most max_message() bytes
// and throws PeerGone when the other process has gone.
#pragma once

#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../src/os/descriptor.h"
#include "../src/os/posix_queue.h"
#include "../src/os/ring.h"
#include "../src/os/segment.h"
#include "../src/os/socket.h"
#include "../src/os/sysv_queue.h"

namespace sluice::bench {

using Bytes = std::span<const uint8_t>;

struct PeerGone : std::runtime_error {
  PeerGone() : std::runtime_error("the other process has gone") {}
};

inline constexpr size_t kBufferBytes = 1 << 20;

// By asking again and again, if `polls`, instead of by blocking.
inline void AwaitEvents(std::span<pollfd> items, bool polls = false) {
  const int timeout = polls ? 0 : -1;
  const auto ask = [&] { return poll(items.data(), items.size(), timeout); };
  while (os::Check(os::Uninterrupted(ask), "poll") == 0) sched_yield();
}

inline void AwaitEvents(int fd, short events, bool polls = false) {
  pollfd item{fd, events, 0};
  AwaitEvents(std::span(&item, 1), polls);
}

// A pipe pair or a stream socket: bytes, read by blocking, since that takes one system call where asking first takes two.
class StreamLink {
 public:
  static constexpr bool kMessages = false;

  StreamLink(os::UniqueFd in, os::UniqueFd out) : in_(std::move(in)), out_(std::move(out)) {
    // Of a pipe each end has flags of its own; of a socket both directions share them, and MSG_DONTWAIT does it.
    if (out_) os::SetNonBlocking(out_.get(), true);
  }
  explicit StreamLink(os::UniqueFd socket) : StreamLink(std::move(socket), {}) {}

  // What Receive returns stays as it is until `bytes` more have come: so do programs whose memory is freed by a collector.
  void Keep(size_t bytes) {
    buffer_bytes_ = bytes + kBufferBytes;
    buffer_.reset();
  }

  // Waits by asking again and again, instead of by blocking.
  void Poll() {
    polls_ = true;
    os::SetNonBlocking(in_.get(), true);
  }

  size_t max_message() const { return SIZE_MAX; }

  size_t Send(Bytes bytes) {
    const ssize_t count = os::Uninterrupted([&] {
      return out_ ? write(out_.get(), bytes.data(), bytes.size())
                  : send(in_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    });
    if (count >= 0) return static_cast<size_t>(count);
    if (errno == EAGAIN) return 0;
    throw os::SystemError(errno, "send");
  }

  Bytes Receive() {
    const Bytes bytes(buffer_.get() + position_, std::exchange(received_, 0));
    position_ += bytes.size();
    return bytes;
  }

  void Wait(bool sending) {
    if (sending) {
      pollfd items[] = {{in_.get(), POLLIN, 0}, {out_ ? out_.get() : in_.get(), POLLOUT, 0}};
      AwaitEvents(items, polls_);
      if (items[0].revents == 0) return;
    }
    // By the process that uses it, and all of it at once: memory that is shared with a parent, or only promised, is slow at first.
    if (buffer_ == nullptr) buffer_.reset(new uint8_t[buffer_bytes_]());
    if (position_ + kBufferBytes > buffer_bytes_) position_ = 0;
    ssize_t count;
    for (uint32_t looks = 1;; ++looks) {
      count = os::Uninterrupted([&] { return read(in_.get(), buffer_.get() + position_, kBufferBytes); });
      if (count != -1 || errno != EAGAIN) break;
      // In case the other process is on this CPU.
      if (looks % 64 == 0) sched_yield();
    }
    if (count == 0) throw PeerGone();
    received_ = static_cast<size_t>(os::Check(static_cast<int>(count), "read"));
  }

  void WaitForRoom() { AwaitEvents(out_ ? out_.get() : in_.get(), POLLOUT, polls_); }

 private:
  os::UniqueFd in_, out_;
  bool polls_ = false;
  size_t buffer_bytes_ = kBufferBytes;
  std::unique_ptr<uint8_t[]> buffer_;
  // Where the next bytes go; while `received_` is not 0, where the last ones are.
  size_t position_ = 0;
  size_t received_ = 0;
};

// As many Unix sockets as there are messages under way, one on each: for what many connections cost. Messages go and come in
// order, so that each end knows at which socket the next arrives, and need not ask the kernel.
class EachLink {
 public:
  static constexpr bool kMessages = true;

  EachLink(std::vector<os::UniqueFd> sockets, size_t bytes) : sockets_(std::move(sockets)), bytes_(bytes) {}

  size_t max_message() const { return bytes_; }

  size_t Send(Bytes bytes) {
    const ssize_t count = os::Uninterrupted(
        [&] { return send(At(sent_), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL); });
    if (count == -1 && errno == EAGAIN) return 0;
    sent_ += static_cast<size_t>(os::Check(static_cast<int>(count), "send"));
    return static_cast<size_t>(count);
  }

  Bytes Receive() {
    if (received_ == 0) Read(MSG_DONTWAIT);
    return {buffer_.get(), std::exchange(received_, 0)};
  }

  void Wait(bool sending) {
    if (!sending) return Read(0);
    pollfd items[] = {{At(read_), POLLIN, 0}, {At(sent_), POLLOUT, 0}};
    AwaitEvents(items);
  }

  void WaitForRoom() { AwaitEvents(At(sent_), POLLOUT); }

 private:
  // The socket of the message that goes on there.
  int At(uint64_t position) const { return sockets_[position / bytes_ % sockets_.size()].get(); }

  void Read(int flags) {
    const size_t rest = bytes_ - read_ % bytes_;
    const ssize_t count = os::Uninterrupted([&] { return recv(At(read_), buffer_.get(), rest, flags); });
    if (count == -1 && errno == EAGAIN) return;
    if (count == 0) throw PeerGone();
    received_ = static_cast<size_t>(os::Check(static_cast<int>(count), "recv"));
    read_ += received_;
  }

  std::vector<os::UniqueFd> sockets_;
  size_t bytes_;
  uint64_t sent_ = 0;
  uint64_t read_ = 0;
  std::unique_ptr<uint8_t[]> buffer_{new uint8_t[bytes_]};
  size_t received_ = 0;
};

// Connected UDP sockets. Datagrams would be lost where the receive buffer is too small, so it has to hold the window.
class DatagramLink {
 public:
  static constexpr bool kMessages = true;

  explicit DatagramLink(os::UniqueFd socket) : socket_(std::move(socket)) {}

  size_t max_message() const { return 65507; }

  size_t Send(Bytes bytes) {
    const ssize_t count =
        os::Uninterrupted([&] { return send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT); });
    if (count == -1 && errno == EAGAIN) return 0;
    return static_cast<size_t>(os::Check(static_cast<int>(count), "send"));
  }

  Bytes Receive() {
    if (received_ == 0) Read(MSG_DONTWAIT);
    return {buffer_.get(), std::exchange(received_, 0)};
  }

  void Wait(bool sending) {
    if (!sending) return Read(0);
    AwaitEvents(socket_.get(), POLLIN | POLLOUT);
  }

  void WaitForRoom() { AwaitEvents(socket_.get(), POLLOUT); }

 private:
  void Read(int flags) {
    const ssize_t count = os::Uninterrupted([&] { return recv(socket_.get(), buffer_.get(), kBufferBytes, flags); });
    if (count == -1 && errno == EAGAIN && flags != 0) return;
    if (count == -1 && errno == EAGAIN) throw std::runtime_error("a datagram was lost: use fewer in flight");
    if (count == -1 && errno == ECONNREFUSED) throw PeerGone();
    received_ = static_cast<size_t>(os::Check(static_cast<int>(count), "recv"));
  }

  os::UniqueFd socket_;
  std::unique_ptr<uint8_t[]> buffer_{new uint8_t[kBufferBytes]};
  size_t received_ = 0;
};

// A pair of POSIX queues. They do not tell that whoever used their other end has gone: a socket does.
class PosixQueueLink {
 public:
  static constexpr bool kMessages = true;

  // `in` was opened to block, `out` not to.
  PosixQueueLink(os::PosixQueue in, os::PosixQueue out, os::UniqueFd peer)
      : in_(std::move(in)), out_(std::move(out)), peer_(std::move(peer)), memory_(in_.message_bytes()) {}

  size_t max_message() const { return out_.message_bytes(); }

  size_t Send(Bytes bytes) { return out_.Send(bytes) ? bytes.size() : 0; }

  Bytes Receive() {
    if (received_ == 0) Read({});
    return Bytes(memory_).first(std::exchange(received_, 0));
  }

  void Wait(bool sending) {
    if (sending) return Await(POLLIN, POLLOUT);
    for (;;) {
      // One system call where asking first would take two. The time is that of mq_receive(3).
      timespec until;
      clock_gettime(CLOCK_REALTIME, &until);
      ++until.tv_sec;
      if (Read(until)) return;
      pollfd item{peer_.get(), POLLIN, 0};
      if (os::Check(os::Uninterrupted([&] { return poll(&item, 1, 0); }), "poll") != 0) throw PeerGone();
    }
  }

  void WaitForRoom() { Await(0, POLLOUT); }

 private:
  // False when nothing has come until then.
  bool Read(const timespec& until) {
    auto* const memory = reinterpret_cast<char*>(memory_.data());
    const ssize_t count =
        os::Uninterrupted([&] { return mq_timedreceive(in_.fd(), memory, memory_.size(), nullptr, &until); });
    if (count == -1 && errno == ETIMEDOUT) return false;
    received_ = static_cast<size_t>(os::Check(static_cast<int>(count), "mq_timedreceive"));
    return true;
  }

  void Await(short in, short out) {
    pollfd items[] = {{in_.fd(), in, 0}, {out_.fd(), out, 0}, {peer_.get(), POLLIN, 0}};
    AwaitEvents(items);
    if (items[0].revents == 0 && items[1].revents == 0) throw PeerGone();
  }

  os::PosixQueue in_, out_;
  os::UniqueFd peer_;
  std::vector<uint8_t> memory_;
  size_t received_ = 0;
};

// A pair of System V queues, which are removed when one of the two processes has gone: see SysvLinks. Nothing can wait for a
// message and for room at once. So the end that answers, and has nothing else to do, blocks for room; the other does not, and
// where there is none it waits for the answers to what fills the queue.
class SysvLink {
 public:
  static constexpr bool kMessages = true;

  // `alive` is what this process holds for as long as it lives.
  SysvLink(os::SysvQueue in, os::SysvQueue out, bool answers, os::UniqueFd alive)
      : in_(in),
        out_(out),
        send_flags_(answers ? 0 : IPC_NOWAIT),
        alive_(std::move(alive)),
        sending_(os::SysvQueue::kTypeBytes + MaxMessage()),
        receiving_(sending_.size()) {}

  size_t max_message() const { return sending_.size() - os::SysvQueue::kTypeBytes; }

  size_t Send(Bytes bytes) {
    constexpr long kType = os::SysvQueue::kMessage;
    memcpy(sending_.data(), &kType, os::SysvQueue::kTypeBytes);
    memcpy(sending_.data() + os::SysvQueue::kTypeBytes, bytes.data(), bytes.size());
    if (os::Uninterrupted([&] { return msgsnd(out_.id(), sending_.data(), bytes.size(), send_flags_); }) == 0) {
      return bytes.size();
    }
    if (errno == EAGAIN) return 0;
    Fail("msgsnd");
  }

  Bytes Receive() {
    if (received_ == 0) Read(IPC_NOWAIT);
    return Bytes(receiving_).subspan(os::SysvQueue::kTypeBytes, std::exchange(received_, 0));
  }

  void Wait(bool) { Read(0); }
  void WaitForRoom() {}

 private:
  // What kernel.msgmax is by default, where it is not less.
  static size_t MaxMessage() {
    size_t allowed = 8192;
    size_t limit;
    if (std::ifstream("/proc/sys/kernel/msgmax") >> limit) allowed = std::min(allowed, limit);
    return allowed;
  }

  void Read(int flags) {
    const ssize_t count =
        os::Uninterrupted([&] { return msgrcv(in_.id(), receiving_.data(), max_message(), 0, flags); });
    if (count == -1 && errno == ENOMSG) return;
    if (count == -1) Fail("msgrcv");
    received_ = static_cast<size_t>(count);
  }

  [[noreturn]] static void Fail(const char* call) {
    // Removed just now, or before.
    if (errno == EIDRM || errno == EINVAL) throw PeerGone();
    throw os::SystemError(errno, call);
  }

  os::SysvQueue in_, out_;
  int send_flags_;
  os::UniqueFd alive_;
  std::vector<uint8_t> sending_, receiving_;
  size_t received_ = 0;
};

// The rings of a segment that was mapped before the fork.
template <bool kPolled>
class RingLink {
 public:
  static constexpr bool kMessages = true;

  RingLink(const os::Segment& segment, os::RingEndpoint::Side side, os::UniqueFd doorbell)
      : doorbell_(std::move(doorbell)),
        ring_(segment, side, doorbell_.get()),
        max_message_(segment.capacity() / 4) {}

  // Longer ones go in parts, as in the TypeScript transport.
  size_t max_message() const { return max_message_; }

  size_t Send(Bytes bytes) {
    const uint32_t frame = os::kFrameHeaderBytes + static_cast<uint32_t>(bytes.size());
    uint8_t* const place = ring_.Reserve(frame);
    if (place == nullptr) return 0;
    memset(place + 4, 0, os::kFrameHeaderBytes - 4);
    memcpy(place + os::kFrameHeaderBytes, bytes.data(), bytes.size());
    ring_.Commit(frame);
    return bytes.size();
  }

  Bytes Receive() {
    const Bytes frame = ring_.Take();
    return frame.empty() ? frame : frame.subspan(os::kFrameHeaderBytes);
  }

  // For room the ring waits from the Send that had none.
  void Wait(bool) {
    if (kPolled) return Poll([this] { return IsReady(); });
    if (ring_.Wait(os::kAsleepOnSocket) == os::Woken::kPeerGone) throw PeerGone();
  }

  void WaitForRoom() {
    if (kPolled) return Poll([this] { return ring_.Writable(); });
    if (ring_.WaitForRoom(os::kAsleepOnSocket) == os::Woken::kPeerGone) throw PeerGone();
  }

  bool IsReady() const { return ring_.Readable() || ring_.Writable(); }

  // Until `ready()`, or until the peer has gone.
  template <class Ready>
  void Poll(Ready ready) {
    for (uint32_t looks = 1; !ready(); ++looks) {
      // In case the other process is on this CPU.
      if (looks % 1024 == 0) sched_yield();
      if (looks % (1 << 20) == 0) CheckPeer();
    }
  }

 private:
  void CheckPeer() {
    pollfd item{doorbell_.get(), POLLRDHUP, 0};
    if (os::Check(os::Uninterrupted([&] { return poll(&item, 1, 0); }), "poll") != 0) throw PeerGone();
  }

  os::UniqueFd doorbell_;
  os::RingEndpoint ring_;
  size_t max_message_;
};

// As many polled rings as there are messages under way, one on each, in order, as with EachLink.
class EachRingLink {
 public:
  static constexpr bool kMessages = true;

  EachRingLink(const std::vector<os::Segment>& segments, os::RingEndpoint::Side side,
               std::vector<os::UniqueFd> doorbells) {
    for (size_t index = 0; index < segments.size(); ++index) {
      links_.push_back(
          std::make_unique<RingLink<true>>(segments[index], side, std::move(doorbells[index])));
    }
  }

  size_t max_message() const { return links_[0]->max_message(); }

  size_t Send(Bytes bytes) {
    const size_t sent = At(sent_).Send(bytes);
    if (sent > 0) ++sent_;
    return sent;
  }

  Bytes Receive() {
    const Bytes bytes = At(received_).Receive();
    if (!bytes.empty()) ++received_;
    return bytes;
  }

  void Wait(bool sending) {
    At(received_).Poll([&] { return At(received_).IsReady() || (sending && At(sent_).IsReady()); });
  }

  void WaitForRoom() { At(sent_).WaitForRoom(); }

 private:
  // The ring of the message of that number.
  RingLink<true>& At(uint64_t message) const { return *links_[message % links_.size()]; }

  std::vector<std::unique_ptr<RingLink<true>>> links_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
};

// What is copied when a message goes through shared memory and back, and nothing else: into the one ring, out of it, into
// the other, out of it; by one thread.
class CopyLink {
 public:
  static constexpr bool kMessages = true;

  explicit CopyLink(size_t capacity) : capacity_(capacity), memory_(4 * capacity) {}

  size_t max_message() const { return capacity_ / 4; }

  size_t Send(Bytes bytes) {
    if (received_ != 0) return 0;
    const uint8_t* from = bytes.data();
    for (size_t copy = 0; copy < 4; ++copy) {
      uint8_t* const to = memory_.data() + copy * capacity_ + at_;
      memcpy(to, from, bytes.size());
      asm volatile("" : : "r"(to) : "memory");  // or the compiler would leave out the copies that nobody reads
      from = to;
    }
    received_ = bytes.size();
    last_ = from;
    at_ = (at_ + ((bytes.size() + 7) & ~size_t{7})) % (capacity_ - max_message());
    return bytes.size();
  }

  Bytes Receive() { return {last_, std::exchange(received_, 0)}; }
  void Wait(bool) {}
  void WaitForRoom() {}

 private:
  size_t capacity_;
  std::vector<uint8_t> memory_;
  size_t at_ = 0;
  size_t received_ = 0;
  const uint8_t* last_ = nullptr;
};

// What a pipe holds, where that is allowed: as much as anybody may have it hold by default (pipe(7)).
inline constexpr int kPipeBytes = 1 << 20;

inline void EnlargePipe(const os::UniqueFd& pipe) {
  int bytes = kPipeBytes;
  int limit;
  if (std::ifstream("/proc/sys/fs/pipe-max-size") >> limit) bytes = std::min(bytes, limit);
  // Not permitted where this user's pipes hold a lot already.
  if (fcntl(pipe.get(), F_SETPIPE_SZ, bytes) == -1 && errno != EPERM) throw os::SystemError(errno, "fcntl");
}

inline std::pair<StreamLink, StreamLink> PipeLinks() {
  auto [request_out, request_in] = os::Pipe();
  auto [answer_out, answer_in] = os::Pipe();
  EnlargePipe(request_in);
  EnlargePipe(answer_in);
  return {StreamLink(std::move(answer_out), std::move(request_in)),
          StreamLink(std::move(request_out), std::move(answer_in))};
}

// After how many bytes of ArrayBuffers V8 looks for dead ones, at the latest.
inline constexpr size_t kCollectedBytes = 32 << 20;

inline std::pair<StreamLink, StreamLink> Keeping(std::pair<StreamLink, StreamLink> links) {
  links.first.Keep(kCollectedBytes);
  links.second.Keep(kCollectedBytes);
  return links;
}

inline std::pair<StreamLink, StreamLink> Polling(std::pair<StreamLink, StreamLink> links) {
  links.first.Poll();
  links.second.Poll();
  return links;
}

inline std::pair<os::UniqueFd, os::UniqueFd> Fifo(const std::filesystem::path& path) {
  os::Check(mkfifo(path.c_str(), 0600), "mkfifo", path.string());
  // For reading first, not blocking: otherwise each open would wait for the other.
  os::UniqueFd reading(os::Check(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC), "open", path.string()));
  os::UniqueFd writing(os::Check(open(path.c_str(), O_WRONLY | O_CLOEXEC), "open", path.string()));
  os::SetNonBlocking(reading.get(), false);
  return {std::move(reading), std::move(writing)};
}

inline std::pair<StreamLink, StreamLink> FifoLinks() {
  std::string directory = (std::filesystem::temp_directory_path() / "sluice-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) throw os::SystemError(errno, "mkdtemp", directory);
  const std::filesystem::path path(directory);
  const std::unique_ptr<const std::filesystem::path, void (*)(const std::filesystem::path*)> owner(
      &path, [](const std::filesystem::path* made) { std::filesystem::remove_all(*made); });
  auto [request_out, request_in] = Fifo(path / "request");
  auto [answer_out, answer_in] = Fifo(path / "answer");
  EnlargePipe(request_in);
  EnlargePipe(answer_in);
  return {StreamLink(std::move(answer_out), std::move(request_in)),
          StreamLink(std::move(request_out), std::move(answer_in))};
}

// What a Unix socket holds that its peer has not read: as Sluice has it (sockets.ts of packages/transports).
inline constexpr int kUnixSendBufferBytes = 1 << 20;

inline void EnlargeUnix(const os::UniqueFd& socket) {
  os::SetBuffer(socket.get(), SO_SNDBUF, kUnixSendBufferBytes);
}

inline std::pair<StreamLink, StreamLink> UnixLinks() {
  auto [near, far] = os::SocketPair();
  EnlargeUnix(near);
  EnlargeUnix(far);
  return {StreamLink(std::move(near)), StreamLink(std::move(far))};
}

// `count` pairs of connected sockets. The limit of open files is raised for them, and for `others` beside each.
inline std::pair<std::vector<os::UniqueFd>, std::vector<os::UniqueFd>> SocketPairs(size_t count, size_t others = 0) {
  // Of both ends, as long as this process has them.
  const rlim_t needed = (2 + others) * count + 64;
  rlimit limit{};
  os::Check(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  if (limit.rlim_max < needed) {
    throw os::ArgumentError(std::to_string(count) + " connections need " + std::to_string(needed) +
                            " open files: use fewer, or raise the hard limit (prlimit(1))");
  }
  limit.rlim_cur = std::max(limit.rlim_cur, needed);
  os::Check(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
  std::vector<os::UniqueFd> near, far;
  for (size_t index = 0; index < count; ++index) {
    auto [one, other] = os::SocketPair();
    near.push_back(std::move(one));
    far.push_back(std::move(other));
  }
  return {std::move(near), std::move(far)};
}

inline std::pair<EachLink, EachLink> EachLinks(size_t bytes, size_t in_flight) {
  auto [near, far] = SocketPairs(in_flight);
  for (const auto* ends : {&near, &far}) std::ranges::for_each(*ends, EnlargeUnix);
  return {EachLink(std::move(near), bytes), EachLink(std::move(far), bytes)};
}

inline std::pair<StreamLink, StreamLink> TcpLinks() {
  const os::UniqueFd listener = os::Listen(os::Address::Ip("127.0.0.1", 0));
  const os::Address address = os::Address::Local(listener.get());
  os::UniqueFd near = os::StreamSocket(AF_INET);
  os::SetNonBlocking(near.get(), false);
  os::SetNonBlocking(listener.get(), false);
  os::Connect(near.get(), address);
  os::Address peer;
  os::UniqueFd far = os::Accept(listener.get(), peer);
  for (const os::UniqueFd* end : {&near, &far}) {
    os::SetNonBlocking(end->get(), false);
    os::SetOption(end->get(), IPPROTO_TCP, TCP_NODELAY, 1);
  }
  return {StreamLink(std::move(near)), StreamLink(std::move(far))};
}

inline std::pair<DatagramLink, DatagramLink> UdpLinks(size_t bytes, size_t in_flight) {
  // What the kernel counts for a datagram is its memory, up to twice its length, and 768 bytes at least (skbuff.h).
  const size_t window = in_flight * (2 * bytes + 1024);
  os::UniqueFd ends[2];
  for (os::UniqueFd& end : ends) {
    end = os::UniqueFd(os::Check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
    const int granted = os::SetBuffer(end.get(), SO_RCVBUF, static_cast<int>(std::min<size_t>(window, INT32_MAX)));
    if (static_cast<size_t>(granted) < window) {
      throw os::ArgumentError("udp: " + std::to_string(in_flight) + " datagrams of " + std::to_string(bytes) +
                              " bytes do not fit the receive buffer: use fewer, or raise sysctl net.core.rmem_max");
    }
    const timeval patience{5, 0};
    os::Check(setsockopt(end.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), "setsockopt");
    const os::Address any = os::Address::Ip("127.0.0.1", 0);
    os::Check(bind(end.get(), any.data(), any.length()), "bind");
  }
  for (int end = 0; end < 2; ++end) {
    const os::Address peer = os::Address::Local(ends[1 - end].get());
    os::Check(connect(ends[end].get(), peer.data(), peer.length()), "connect");
  }
  return {DatagramLink(std::move(ends[0])), DatagramLink(std::move(ends[1]))};
}

inline std::pair<PosixQueueLink, PosixQueueLink> PosixQueueLinks() {
  // Receiving, sending. As long, and for messages as long, as anybody may have them by default (mq_overview(7)).
  const auto queue = [](const char* role) {
    const std::string name = "/sluice-limits-" + std::to_string(getpid()) + "-" + role;
    std::optional<os::PosixQueue> in = os::PosixQueue::Make(name, 10, 8192);
    if (!in) throw os::SystemError(EEXIST, "mq_open", name);
    os::PosixQueue out = os::PosixQueue::Open(name);
    os::PosixQueue::Unlink(name);
    os::SetNonBlocking(in->fd(), false);
    return std::pair(std::move(*in), std::move(out));
  };
  auto [request_out, request_in] = queue("request");
  auto [answer_out, answer_in] = queue("answer");
  auto [near, far] = os::SocketPair();
  return {PosixQueueLink(std::move(answer_out), std::move(request_in), std::move(near)),
          PosixQueueLink(std::move(request_out), std::move(answer_in), std::move(far))};
}

// System V queues stay when those who use them have gone, and tell nobody. So a process of their own makes them, writes what
// their numbers are, and removes them as soon as `near` or `far`, the pipe of one of their users, has no writer any more.
[[noreturn]] inline void KeepSysvQueues(const os::UniqueFd& numbers, const os::UniqueFd& near,
                                        const os::UniqueFd& far) {
  setsid();  // what ends its users all at once, such as a terminal's interrupt, must not end it
  std::vector<os::SysvQueue> queues;
  try {
    for (int count = 0; count < 2; ++count) queues.push_back(os::SysvQueue::Make());
    const int ids[] = {queues[0].id(), queues[1].id()};
    os::Check(static_cast<int>(write(numbers.get(), ids, sizeof ids)), "write");
    pollfd items[] = {{near.get(), 0, 0}, {far.get(), 0, 0}};
    AwaitEvents(items);
  } catch (const std::exception& error) {
    fprintf(stderr, "limits, keeping queues: %s\n", error.what());
  }
  for (const os::SysvQueue& queue : queues) queue.Remove();
  _exit(0);
}

inline std::pair<SysvLink, SysvLink> SysvLinks() {
  auto [near, near_alive] = os::Pipe();
  auto [far, far_alive] = os::Pipe();
  auto [numbers_out, numbers_in] = os::Pipe();
  if (os::Check(fork(), "fork") == 0) {
    near_alive.Reset();
    far_alive.Reset();
    KeepSysvQueues(numbers_in, near, far);
  }
  numbers_in.Reset();
  int ids[2];
  const ssize_t count = os::Uninterrupted([&] { return read(numbers_out.get(), ids, sizeof ids); });
  if (count != sizeof ids) throw std::runtime_error("there are no queues");
  const os::SysvQueue request(ids[0]), answer(ids[1]);
  return {SysvLink(answer, request, false, std::move(near_alive)),
          SysvLink(request, answer, true, std::move(far_alive))};
}

}  // namespace sluice::bench
