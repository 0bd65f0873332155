// Datagram sockets: making, and sending and receiving many datagrams by one system call.
#pragma once

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "address.h"
#include "error.h"
#include "socket.h"
#include "unique_fd.h"

namespace sluice::os {

// What begins each record of datagrams in memory that JavaScript shares; `length` bytes follow. See DatagramChannel in index.ts.
struct DatagramRecord {
  int32_t next;
  int32_t length;
  int32_t segment;
  // The family (4 or 6) and, 16 bits higher, the port; the address in the network's order; the scope.
  uint32_t family_and_port;
  uint8_t ip[16];
  uint32_t scope;

  uint8_t* data() { return reinterpret_cast<uint8_t*>(this + 1); }
};
static_assert(sizeof(DatagramRecord) == 36);

// The longest datagram, and what the kernel joins at most (udp(7), UDP_GRO).
inline constexpr size_t kMaxDatagramBytes = 65536;
inline constexpr size_t kDatagramSlotBytes = sizeof(DatagramRecord) + kMaxDatagramBytes;

// What the kernel is asked to hold; it gives what net.core.rmem_max and wmem_max allow.
inline constexpr int kDatagramBufferBytes = 4 << 20;

struct DatagramOptions {
  bool ipv6_only = true;
};

// Longer datagrams are never fragmented: that one arrives shows what the path carries. So long a one nearly all paths carry whole
// (the least MTU of IPv6, less the headers); where one does not, this host fragments it, as it does by default.
inline constexpr size_t kFragmentableBytes = 1280 - 48;
// Shorter ones are as good as never fragmented (RFC 791: 576 bytes, which every host takes, less the headers).
inline constexpr size_t kShortBytes = 576 - 28;

// Bound to `local`, or connected to `remote`. With IP_RECVERR (ip(7)) errors that the network reports are kept in a queue, with
// whom they are about, also for a socket that is not connected.
inline UniqueFd DatagramSocket(const Address& address, bool connected, const DatagramOptions& options = {}) {
  const int family = address.family();
  UniqueFd socket(Check(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket"));
  const int fd = socket.get();
  SetBuffer(fd, SO_RCVBUF, kDatagramBufferBytes);
  SetBuffer(fd, SO_SNDBUF, kDatagramBufferBytes);
  if (family == AF_INET6) {
    SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.ipv6_only);
    SetOption(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
  } else {
    SetOption(fd, IPPROTO_IP, IP_RECVERR, 1);
  }
  const int one = 1;
  // From Linux 5.0 on; without it each datagram comes alone.
  setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one);
  if (connected) {
    Check(connect(fd, address.data(), address.length()), "connect", address.Describe());
  } else {
    Check(bind(fd, address.data(), address.length()), "bind", address.Describe());
  }
  return socket;
}

// How long a datagram to `remote` is at most, for the kernel to send it in one piece: what the MTU of the route leaves of it (ip(7),
// IP_MTU), which is that of the interface, or less if a router has said so. Asked of a socket of its own, since one that is not
// connected has no route. No packet is sent.
inline int LargestDatagram(const Address& remote) {
  const bool ipv6 = remote.family() == AF_INET6;
  const UniqueFd socket(Check(::socket(remote.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  Check(connect(socket.get(), remote.data(), remote.length()), "connect", remote.Describe());
  const int mtu =
      ipv6 ? GetOption(socket.get(), IPPROTO_IPV6, IPV6_MTU) : GetOption(socket.get(), IPPROTO_IP, IP_MTU);
  constexpr int kUdpHeaderBytes = 8;
  // A packet's length has 16 bits, whatever the interface takes: that of IPv4 counts its header, and that of IPv6 does not.
  const int longest = std::min(mtu, ipv6 ? UINT16_MAX + 40 : UINT16_MAX);
  return longest - (ipv6 ? 40 : 20) - kUdpHeaderBytes;
}

// Whether one call can send several datagrams of equal length to one address (UDP_SEGMENT, from Linux 4.18 on).
inline bool CanSegment(int fd) {
  int value;
  socklen_t length = sizeof value;
  return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, &length) == 0;
}

union SocketAddressRoom {
  sockaddr any;
  sockaddr_in ipv4;
  sockaddr_in6 ipv6;
};

// Returns the address's length.
inline socklen_t ToSocketAddress(const DatagramRecord& record, SocketAddressRoom& room) {
  const auto port = htons(static_cast<uint16_t>(record.family_and_port >> 16));
  room = {};
  if ((record.family_and_port & 0xffff) == 4) {
    room.ipv4.sin_family = AF_INET;
    room.ipv4.sin_port = port;
    memcpy(&room.ipv4.sin_addr, record.ip, sizeof room.ipv4.sin_addr);
    return sizeof room.ipv4;
  }
  room.ipv6.sin6_family = AF_INET6;
  room.ipv6.sin6_port = port;
  memcpy(&room.ipv6.sin6_addr, record.ip, sizeof room.ipv6.sin6_addr);
  room.ipv6.sin6_scope_id = record.scope;
  return sizeof room.ipv6;
}

inline void FromSocketAddress(const SocketAddressRoom& room, DatagramRecord& record) {
  memset(record.ip, 0, sizeof record.ip);
  record.scope = 0;
  if (room.any.sa_family == AF_INET) {
    record.family_and_port = 4u | static_cast<uint32_t>(ntohs(room.ipv4.sin_port)) << 16;
    memcpy(record.ip, &room.ipv4.sin_addr, sizeof room.ipv4.sin_addr);
  } else {
    record.family_and_port = 6u | static_cast<uint32_t>(ntohs(room.ipv6.sin6_port)) << 16;
    memcpy(record.ip, &room.ipv6.sin6_addr, sizeof room.ipv6.sin6_addr);
    record.scope = room.ipv6.sin6_scope_id;
  }
}

// What is to be known of a socket to send by it.
struct DatagramSocketState {
  bool ipv6 = false;
  bool connected = false;
  // Whether UDP_SEGMENT may be used; becomes false when a device turns out not to have it.
  bool segments = false;
  // Whether what is sent now is not fragmented.
  bool whole = false;
};

// Sends datagrams, many by one system call. What the kernel does not take is lost, as datagrams may be.
class DatagramSender {
 public:
  DatagramSender(int fd, DatagramSocketState& state) : fd_(fd), state_(state) {}

  void Add(DatagramRecord& record) {
    if (!state_.segments || record.length <= record.segment) return AddEach(record);
    Put(record, record.data(), static_cast<size_t>(record.length), true);
  }

  // Sends what was added since the last time.
  void Flush() {
    for (size_t first = 0, retried = 0; first < count_;) {
      const int sent = Uninterrupted(
          [&] { return sendmmsg(fd_, &messages_[first], static_cast<unsigned>(count_ - first), MSG_DONTWAIT); });
      if (sent > 0) {
        first += static_cast<size_t>(sent);
        retried = 0;
      } else if (errno == EAGAIN || errno == ENOBUFS) {
        break;
      } else if (errno == EIO && messages_[first].msg_hdr.msg_controllen > 0) {
        // The device cannot compute the checksums of segments (udp(7)). What is left goes one by one.
        state_.segments = false;
        return SendEach(first);
      } else if (retried > 0 && messages_[first].msg_hdr.msg_controllen > 0) {
        // The route carries less than a segment (EMSGSIZE, or EINVAL), which alone may be fragmented.
        SendApart(first++);
        retried = 0;
      } else if (retried++ > 0) {
        // Not the error of an earlier datagram, which is told only once: this one cannot be sent.
        ++first;
        retried = 0;
      }
    }
    count_ = 0;
  }

 private:
  static constexpr size_t kMessages = 64;

  void AddEach(DatagramRecord& record) {
    for (int32_t at = 0; at < record.length; at += record.segment) {
      Put(record, record.data() + at, static_cast<size_t>(std::min(record.segment, record.length - at)), false);
    }
  }

  void Put(DatagramRecord& record, uint8_t* data, size_t length, bool segmented) {
    const size_t longest = segmented ? static_cast<size_t>(record.segment) : length;
    const bool whole = longest > kShortBytes ? longest > kFragmentableBytes : state_.whole;
    if (count_ == kMessages || (whole != state_.whole && count_ > 0)) Flush();
    if (whole != state_.whole) KeepWhole(whole);
    records_[count_] = &record;
    iovec& vector = vectors_[count_];
    vector = {data, length};
    msghdr& header = messages_[count_].msg_hdr;
    header = {};
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    if (!state_.connected) {
      header.msg_name = &addresses_[count_];
      header.msg_namelen = ToSocketAddress(record, addresses_[count_]);
    }
    if (segmented) {
      header.msg_control = controls_[count_].bytes;
      header.msg_controllen = sizeof controls_[count_].bytes;
      cmsghdr* const control = CMSG_FIRSTHDR(&header);
      control->cmsg_level = IPPROTO_UDP;
      control->cmsg_type = UDP_SEGMENT;
      control->cmsg_len = CMSG_LEN(sizeof(uint16_t));
      const auto segment = static_cast<uint16_t>(record.segment);
      memcpy(CMSG_DATA(control), &segment, sizeof segment);
    }
    ++count_;
  }

  void SendEach(size_t first) {
    const std::array<DatagramRecord*, kMessages> records = records_;
    const size_t end = count_;
    count_ = 0;
    for (size_t index = first; index < end; ++index) AddEach(*records[index]);
    Flush();
  }

  void SendApart(size_t index) {
    DatagramRecord& record = *records_[index];
    msghdr header = messages_[index].msg_hdr;
    iovec vector;
    header.msg_iov = &vector;
    header.msg_control = nullptr;
    header.msg_controllen = 0;
    for (int32_t at = 0; at < record.length; at += record.segment) {
      vector = {record.data() + at, static_cast<size_t>(std::min(record.segment, record.length - at))};
      Uninterrupted([&] { return sendmsg(fd_, &header, MSG_DONTWAIT); });
    }
  }

  // Of what is sent from now on (ip(7), IP_MTU_DISCOVER): what is longer than the interface takes is refused, and nothing
  // fragmented, whatever routers said; or all is sent, in fragments where they said so.
  void KeepWhole(bool whole) {
    if (state_.ipv6) {
      SetOption(fd_, IPPROTO_IPV6, IPV6_MTU_DISCOVER, whole ? IPV6_PMTUDISC_PROBE : IPV6_PMTUDISC_WANT);
    } else {
      SetOption(fd_, IPPROTO_IP, IP_MTU_DISCOVER, whole ? IP_PMTUDISC_PROBE : IP_PMTUDISC_WANT);
    }
    state_.whole = whole;
  }

  struct Control {
    alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(uint16_t))];
  };

  int fd_;
  DatagramSocketState& state_;
  size_t count_ = 0;
  std::array<DatagramRecord*, kMessages> records_;
  std::array<mmsghdr, kMessages> messages_;
  std::array<iovec, kMessages> vectors_;
  std::array<SocketAddressRoom, kMessages> addresses_;
  std::array<Control, kMessages> controls_;
};

// Receives into as many slots of kDatagramSlotBytes as there are in `memory`. Returns where the last record ends, 0 when there
// was none, -1 with errno.
template <size_t kSlots>
ssize_t ReceiveDatagrams(int fd, uint8_t* memory) {
  struct Control {
    alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(int))];
  };
  std::array<mmsghdr, kSlots> messages{};
  std::array<iovec, kSlots> vectors;
  std::array<SocketAddressRoom, kSlots> addresses;
  std::array<Control, kSlots> controls;
  for (size_t slot = 0; slot < kSlots; ++slot) {
    auto* record = reinterpret_cast<DatagramRecord*>(memory + slot * kDatagramSlotBytes);
    vectors[slot] = {record->data(), kMaxDatagramBytes};
    msghdr& header = messages[slot].msg_hdr;
    header.msg_iov = &vectors[slot];
    header.msg_iovlen = 1;
    header.msg_name = &addresses[slot];
    header.msg_namelen = sizeof addresses[slot];
    header.msg_control = controls[slot].bytes;
    header.msg_controllen = sizeof controls[slot].bytes;
  }
  const int count = Uninterrupted([&] { return recvmmsg(fd, messages.data(), kSlots, MSG_DONTWAIT, nullptr); });
  if (count <= 0) return count;
  for (size_t slot = 0; slot < static_cast<size_t>(count); ++slot) {
    auto* record = reinterpret_cast<DatagramRecord*>(memory + slot * kDatagramSlotBytes);
    record->next = kDatagramSlotBytes;
    record->length = static_cast<int32_t>(messages[slot].msg_len);
    record->segment = record->length;
    FromSocketAddress(addresses[slot], *record);
    msghdr& header = messages[slot].msg_hdr;
    for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
      if (control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_GRO) {
        memcpy(&record->segment, CMSG_DATA(control), sizeof record->segment);
      }
    }
  }
  const size_t last = static_cast<size_t>(count - 1) * kDatagramSlotBytes;
  const auto* record = reinterpret_cast<DatagramRecord*>(memory + last);
  return static_cast<ssize_t>(last + sizeof *record) + record->length;
}

enum class NetworkError { kNone, kRefused, kOther };

// Takes the oldest error that the network has reported, and writes to `record` about whom it is.
inline NetworkError TakeNetworkError(int fd, DatagramRecord& record) {
  SocketAddressRoom address{};
  alignas(cmsghdr) char control_bytes[512];
  msghdr header{};
  header.msg_name = &address;
  header.msg_namelen = sizeof address;
  header.msg_control = control_bytes;
  header.msg_controllen = sizeof control_bytes;
  if (Uninterrupted([&] { return recvmsg(fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT); }) == -1) return NetworkError::kNone;
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
    if ((control->cmsg_level != IPPROTO_IP || control->cmsg_type != IP_RECVERR) &&
        (control->cmsg_level != IPPROTO_IPV6 || control->cmsg_type != IPV6_RECVERR)) {
      continue;
    }
    sock_extended_err error;
    memcpy(&error, CMSG_DATA(control), sizeof error);
    if (error.ee_errno != ECONNREFUSED) continue;
    FromSocketAddress(address, record);
    return NetworkError::kRefused;
  }
  return NetworkError::kOther;
}

}  // namespace sluice::os
