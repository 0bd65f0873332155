// Where sockets listen and connect: Unix paths, abstract Unix names, numeric IP addresses.
#pragma once

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "error.h"

namespace sluice::os {

class Address {
 public:
  // `name` is a path, or "@NAME" for the abstract name NAME.
  static Address Unix(const std::string& name) {
    Address address;
    sockaddr_un& unix = address.storage_.unix;
    constexpr size_t kMaxBytes = sizeof unix.sun_path - 1;
    if (name.empty() || name == "@") throw ArgumentError("a Unix socket needs a path or an @NAME");
    if (name.size() > kMaxBytes) {
      throw ArgumentError("the socket path is " + std::to_string(name.size()) +
                          " bytes long, but the kernel takes at most " + std::to_string(kMaxBytes) + ": " + name);
    }
    if (name.find('\0') != std::string::npos) throw ArgumentError("a socket path cannot contain a NUL byte");
    unix.sun_family = AF_UNIX;
    memcpy(unix.sun_path, name.data(), name.size());
    // unix(7): an abstract name begins with a NUL and is as long as the length says; a path ends with a NUL.
    const bool abstract = name[0] == '@';
    if (abstract) unix.sun_path[0] = '\0';
    address.length_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (abstract ? 0 : 1));
    return address;
  }

  // `text` is a numeric IPv4 or IPv6 address; the latter may name its interface, as in fe80::1%eth0.
  static Address Ip(const std::string& text, int port) {
    if (port < 0 || port > 65535) throw ArgumentError("port " + std::to_string(port) + " is not in 0..65535");
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(text.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
      throw ArgumentError("\"" + text + "\" is not a numeric IPv4 or IPv6 address; resolve names first");
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
    Address address;
    memcpy(&address.storage_, found->ai_addr, found->ai_addrlen);
    address.length_ = found->ai_addrlen;
    return address;
  }

  static Address Local(int fd) { return Filled(fd, getsockname, "getsockname"); }
  static Address Remote(int fd) { return Filled(fd, getpeername, "getpeername"); }

  int family() const { return storage_.any.sa_family; }
  const sockaddr* data() const { return &storage_.any; }
  socklen_t length() const { return length_; }

  // For system calls that write an address: room for any, and the place for its length.
  sockaddr* buffer() { return &storage_.any; }
  socklen_t* buffer_length() {
    length_ = sizeof storage_;
    return &length_;
  }

  // What Unix() was given; empty for an unnamed socket.
  std::string unix_name() const {
    constexpr size_t kPrefix = offsetof(sockaddr_un, sun_path);
    if (length_ <= kPrefix) return {};
    std::string name(storage_.unix.sun_path, length_ - kPrefix);
    if (name[0] == '\0') {
      name[0] = '@';
    } else {
      name.resize(strnlen(name.data(), name.size()));
    }
    return name;
  }

  // Whether there is, or will be, a file of that name.
  bool is_path() const {
    return family() == AF_UNIX && length_ > offsetof(sockaddr_un, sun_path) && storage_.unix.sun_path[0] != '\0';
  }

  std::string ip_text() const {
    char text[NI_MAXHOST];
    const int failed = getnameinfo(data(), length_, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
    if (failed != 0) throw std::runtime_error(std::string("getnameinfo: ") + gai_strerror(failed));
    return text;
  }

  int ip_port() const {
    return ntohs(family() == AF_INET6 ? storage_.ipv6.sin6_port : storage_.ipv4.sin_port);
  }

  // For people.
  std::string Describe() const {
    if (family() == AF_UNIX) return unix_name();
    std::string text;
    if (family() == AF_INET6) {
      text.append("[").append(ip_text()).append("]");
    } else {
      text = ip_text();
    }
    return text.append(":").append(std::to_string(ip_port()));
  }

  bool operator==(const Address& other) const {
    return length_ == other.length_ && memcmp(&storage_, &other.storage_, length_) == 0;
  }

 private:
  template <class Query>
  static Address Filled(int fd, Query query, const char* call) {
    Address address;
    Check(query(fd, address.buffer(), address.buffer_length()), call);
    return address;
  }

  union Storage {
    sockaddr any;
    sockaddr_un unix;
    sockaddr_in ipv4;
    sockaddr_in6 ipv6;
    sockaddr_storage room;
  };

  Storage storage_{.room = {}};
  socklen_t length_ = 0;
};

}  // namespace sluice::os
