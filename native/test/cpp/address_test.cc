#include "../../src/os/address.h"

#include "../../src/os/socket.h"
#include "check.h"

using sluice::os::Address;
using sluice::os::ArgumentError;

TEST("Address: Unix paths and abstract names") {
  const Address path = Address::Unix("/tmp/x.sock");
  CHECK_EQUAL(path.family(), AF_UNIX);
  CHECK_EQUAL(path.unix_name(), "/tmp/x.sock");
  CHECK_EQUAL(path.Describe(), "/tmp/x.sock");
  const Address abstract = Address::Unix("@name");
  CHECK_EQUAL(abstract.unix_name(), "@name");
  CHECK(path.is_path());
  CHECK(!abstract.is_path());
  CHECK(!Address::Ip("127.0.0.1", 80).is_path());
  CHECK_EQUAL(reinterpret_cast<const sockaddr_un*>(abstract.data())->sun_path[0], '\0');
  // An abstract name has no NUL behind it: the kernel would count that as part of the name.
  CHECK_EQUAL(abstract.length(), offsetof(sockaddr_un, sun_path) + 5);
}

TEST("Address: a socket path has 107 bytes at most") {
  const std::string longest(107, 'x');
  CHECK_EQUAL(Address::Unix(longest).unix_name(), longest);
  const std::string what = THROWN(ArgumentError, Address::Unix(longest + "x")).what();
  CHECK(what.find("108 bytes") != std::string::npos);
  CHECK(what.find("at most 107") != std::string::npos);
}

TEST("Address: malformed Unix addresses are refused") {
  THROWN(ArgumentError, Address::Unix(""));
  THROWN(ArgumentError, Address::Unix("@"));
  THROWN(ArgumentError, Address::Unix(std::string("a\0b", 3)));
}

TEST("Address: numeric IPv4 and IPv6") {
  const Address ipv4 = Address::Ip("127.0.0.1", 80);
  CHECK_EQUAL(ipv4.family(), AF_INET);
  CHECK_EQUAL(ipv4.ip_text(), "127.0.0.1");
  CHECK_EQUAL(ipv4.ip_port(), 80);
  CHECK_EQUAL(ipv4.Describe(), "127.0.0.1:80");
  const Address ipv6 = Address::Ip("::1", 65535);
  CHECK_EQUAL(ipv6.family(), AF_INET6);
  CHECK_EQUAL(ipv6.ip_port(), 65535);
  CHECK_EQUAL(ipv6.Describe(), "[::1]:65535");
  CHECK(ipv4 == Address::Ip("127.0.0.1", 80));
  CHECK(!(ipv4 == Address::Ip("127.0.0.1", 81)));
  CHECK(!(ipv4 == ipv6));
}

TEST("Address: names and ports out of range are refused") {
  THROWN(ArgumentError, Address::Ip("localhost", 80));
  THROWN(ArgumentError, Address::Ip("", 80));
  THROWN(ArgumentError, Address::Ip("127.0.0.1", 65536));
  THROWN(ArgumentError, Address::Ip("127.0.0.1", -1));
}

TEST("Address: an unnamed socket has an empty name") {
  const auto [left, right] = sluice::os::SocketPair();
  CHECK_EQUAL(Address::Local(left.get()).unix_name(), "");
  CHECK_EQUAL(Address::Remote(right.get()).unix_name(), "");
}
