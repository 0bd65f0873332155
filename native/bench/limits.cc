// What this machine's mechanisms can do without Node: one process echoes what another sends, over one of them. Prints one
// line of JSON. limits.mjs builds it.
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "histogram.h"
#include "links.h"

using namespace sluice;
using namespace sluice::bench;
using Clock = std::chrono::steady_clock;

namespace {

constexpr char kUsage[] =
    "usage: limits --transport ring-polled|ring-sleeping|ring-each|unix|unix-polled|unix-kept|unix-each|pipe|\n"
    "              pipe-polled|pipe-kept|fifo|mq|sysvmq|tcp|udp|memcpy\n"
    "              --bytes N --in-flight K --seconds S [--capacity BYTES] [--server-cpu N] [--client-cpu N]\n";

struct Options {
  std::string transport;
  size_t bytes = 64;
  size_t in_flight = 1;
  double seconds = 1;
  uint32_t capacity = 0;
  int server_cpu = -1;
  int client_cpu = -1;
};

// As Sluice's rings, or larger where messages would not pass whole: see RingLink. To copy, caches are what counts.
uint32_t DefaultCapacity(const Options& options) {
  constexpr size_t kSluice = 256 * 1024;
  if (options.transport == "memcpy") return kSluice;
  return static_cast<uint32_t>(std::clamp<size_t>(std::bit_ceil(4 * options.bytes), kSluice, os::kMaxRingCapacity));
}

double Number(const char* name, const char* text, double least, double greatest) {
  char* end;
  const double value = strtod(text, &end);
  if (end != text && *end == '\0' && value >= least && value <= greatest) return value;
  char message[200];
  snprintf(message, sizeof message, "--%s must be a number from %.10g to %.10g, not \"%.80s\"", name, least, greatest,
           text);
  throw os::ArgumentError(message);
}

Options Parse(int argc, char** argv) {
  static const option kOptions[] = {
      {"transport", required_argument, nullptr, 't'}, {"bytes", required_argument, nullptr, 'b'},
      {"in-flight", required_argument, nullptr, 'k'}, {"seconds", required_argument, nullptr, 's'},
      {"capacity", required_argument, nullptr, 'c'},  {"server-cpu", required_argument, nullptr, 'S'},
      {"client-cpu", required_argument, nullptr, 'C'}, {},
  };
  Options options;
  int which = 0;
  for (int letter; (letter = getopt_long(argc, argv, "", kOptions, &which)) != -1;) {
    if (letter == '?') throw os::ArgumentError(kUsage);
    const auto number = [&](double least, double greatest) {
      return Number(kOptions[which].name, optarg, least, greatest);
    };
    switch (letter) {
      case 't': options.transport = optarg; break;
      case 'b': options.bytes = static_cast<size_t>(number(1, 1 << 30)); break;
      case 'k': options.in_flight = static_cast<size_t>(number(1, 1 << 20)); break;
      case 's': options.seconds = number(0.001, 3600); break;
      case 'c': options.capacity = static_cast<uint32_t>(number(4096, 1 << 30)); break;
      case 'S': options.server_cpu = static_cast<int>(number(0, CPU_SETSIZE - 1)); break;
      case 'C': options.client_cpu = static_cast<int>(number(0, CPU_SETSIZE - 1)); break;
    }
  }
  if (optind < argc || options.transport.empty()) throw os::ArgumentError(kUsage);
  if (options.capacity == 0) options.capacity = DefaultCapacity(options);
  return options;
}

void PinTo(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  os::Check(sched_setaffinity(0, sizeof set, &set), "sched_setaffinity", "CPU " + std::to_string(cpu));
}

// The echoing process; ended with this object, or with this process.
class Child {
 public:
  explicit Child(const std::function<void()>& body) : pid_(os::Check(fork(), "fork")) {
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      body();
    } catch (const PeerGone&) {
      _exit(0);
    } catch (const std::exception& error) {
      fprintf(stderr, "limits, echoing: %s\n", error.what());
    }
    _exit(1);
  }
  Child(const Child&) = delete;
  ~Child() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_;
};

template <class Link>
[[noreturn]] void Echo(Link& link) {
  for (;;) {
    link.Wait(false);
    for (Bytes bytes; !(bytes = link.Receive()).empty();) {
      // A message that is too long for this link has come in parts, each of which fits.
      for (size_t sent; (sent = link.Send(bytes)) < bytes.size();) {
        bytes = bytes.subspan(sent);
        link.WaitForRoom();
      }
    }
  }
}

// A slice holds at least this many times as many messages as are in flight: load.ts of packages/bench has the same.
constexpr uint64_t kGenerationsPerSlice = 3;

// Times messages as the class of that name in load.ts: from the first that come back after a lead-in to those that end the
// slice, so that the window is neither filled nor drained meanwhile.
class Meter {
 public:
  Meter(double lead_in_seconds, double slice_seconds, uint64_t least)
      : slice_(Seconds(slice_seconds)), least_(least), until_(Clock::now() + Seconds(lead_in_seconds)) {}

  void Add(Clock::duration latency) {
    if (state_ == State::kTimed) times_.Add(static_cast<uint64_t>(latency.count()), 1);
  }

  // After those that came back at `now` have been added. False when the load should end.
  bool GoOn(Clock::time_point now) {
    if (state_ == State::kLeadIn && now >= until_) {
      state_ = State::kTimed;
      began_ = now;
      until_ = now + slice_;
    } else if (state_ == State::kTimed && now >= until_ && times_.total() >= least_) {
      state_ = State::kOver;
      elapsed_ = now - began_;
    }
    return state_ != State::kOver;
  }

  const Histogram& times() const { return times_; }
  double elapsed_seconds() const { return elapsed_.count(); }

 private:
  enum class State { kLeadIn, kTimed, kOver };

  static Clock::duration Seconds(double seconds) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }

  Clock::duration slice_;
  uint64_t least_;
  State state_ = State::kLeadIn;
  // When the lead-in ends, then when the slice does.
  Clock::time_point until_;
  Clock::time_point began_;
  std::chrono::duration<double> elapsed_{};
  Histogram times_;
};

// The client's side: keeps a window of messages in flight.
template <class Link>
class Client {
 public:
  Client(Link& link, size_t bytes, size_t in_flight)
      : link_(link), bytes_(bytes), in_flight_(in_flight), started_(in_flight + 1) {
    // Many messages in a row, for streams, which send more than one at a time.
    message_.resize(bytes * std::max<size_t>(1, std::min(in_flight, kBufferBytes / bytes)));
    for (size_t at = 0; at < message_.size(); ++at) message_[at] = Expected(at % bytes);
  }

  // Sends messages until `meter` has what it needs, then awaits the answers that are missing. Compares them if `check`.
  void Run(Meter& meter, bool check) {
    const uint64_t window = uint64_t{in_flight_} * bytes_;
    uint64_t sent = 0;
    uint64_t received = 0;
    Clock::time_point now = Clock::now();
    bool sending = true;
    while (sending || received < sent) {
      bool full = false;
      // Messages already begun are finished.
      while (!full && (sending || sent % bytes_ != 0) && sent - received < window) {
        const size_t at = sent % message_.size();
        size_t size = std::min<uint64_t>(message_.size() - at, received + window - sent);
        if (!sending) size = std::min(size, bytes_ - sent % bytes_);
        if (Link::kMessages) size = std::min({size, bytes_ - sent % bytes_, link_.max_message()});
        const size_t taken = link_.Send(Bytes(message_).subspan(at, size));
        for (uint64_t first = (sent + bytes_ - 1) / bytes_; first * bytes_ < sent + taken; ++first) {
          started_[first % started_.size()] = now;
        }
        sent += taken;
        full = taken < size;
      }
      bool any = false;
      for (Bytes bytes; !(bytes = link_.Receive()).empty();) {
        if (!any) now = Clock::now();
        any = true;
        if (check) Compare(bytes, received);
        const uint64_t first = received / bytes_;
        received += bytes.size();
        for (uint64_t index = first; index < received / bytes_; ++index) {
          meter.Add(now - started_[index % started_.size()]);
        }
      }
      if (any) {
        sending = meter.GoOn(now);
      } else {
        link_.Wait(full);
      }
    }
  }

 private:
  static uint8_t Expected(size_t at) { return static_cast<uint8_t>(at * 131 + (at >> 8) * 7 + 1); }

  void Compare(Bytes bytes, uint64_t received) const {
    for (size_t at = 0; at < bytes.size(); ++at) {
      if (bytes[at] == Expected((received + at) % bytes_)) continue;
      throw std::runtime_error("byte " + std::to_string(received + at) + " has come back changed");
    }
  }

  Link& link_;
  size_t bytes_;
  size_t in_flight_;
  std::vector<uint8_t> message_;
  // By message: those in flight, and one of which a part has come back.
  std::vector<Clock::time_point> started_;
};

template <class Link>
void Measure(Link& link, const Options& options) {
  Client<Link> client(link, options.bytes, options.in_flight);
  Meter unused(0, 0, options.in_flight);
  client.Run(unused, true);
  // Of memory that is kept, all has to have been read into by the kernel; of many rings, all should have been written to.
  const bool large = options.transport.ends_with("-kept") || options.transport.ends_with("-each");
  const double lead_in = std::max(options.seconds / 10, large ? 0.5 : 0);
  Meter meter(lead_in, options.seconds, kGenerationsPerSlice * options.in_flight);
  client.Run(meter, false);
  const Histogram& times = meter.times();
  const bool ring = options.transport.starts_with("ring");
  const std::string capacity = ring ? ",\"capacity\":" + std::to_string(options.capacity) : "";
  printf(
      "{\"implementation\":\"c++\",\"transport\":\"%s\",\"kind\":\"echo\",\"bytes\":%zu,\"inFlight\":%zu,\"calls\":%llu,"
      "\"callsPerSecond\":%.1f,\"p50Us\":%.3f,\"p90Us\":%.3f,\"p99Us\":%.3f,\"p999Us\":%.3f%s}\n",
      options.transport.c_str(), options.bytes, options.in_flight, static_cast<unsigned long long>(times.total()),
      static_cast<double>(times.total()) / meter.elapsed_seconds(), times.Quantile(0.5) / 1000,
      times.Quantile(0.9) / 1000, times.Quantile(0.99) / 1000, times.Quantile(0.999) / 1000, capacity.c_str());
}

// `Links` makes the client's end and the server's; each process keeps its own.
template <class Links>
void MeasureBetweenProcesses(const Options& options, Links links) {
  auto ends = links();
  using Link = decltype(ends.first);
  std::optional<Link> near(std::move(ends.first)), far(std::move(ends.second));
  const Child child([&] {
    near.reset();
    PinTo(options.server_cpu);
    Echo(*far);
  });
  far.reset();
  PinTo(options.client_cpu);
  Measure(*near, options);
}

// `count` segments with a doorbell each, all made before the fork. `make_link` makes an end of them, in its process.
template <class MakeLink>
void MeasureRings(const Options& options, size_t count, MakeLink make_link) {
  auto [near, far] = SocketPairs(count, 1);
  std::vector<os::Segment> segments;
  for (size_t index = 0; index < count; ++index) {
    segments.push_back(os::Segment::Create(os::SegmentKind::kMemfd, options.capacity));
  }
  const Child child([&] {
    near.clear();
    PinTo(options.server_cpu);
    auto link = make_link(segments, os::RingEndpoint::kServer, std::move(far));
    Echo(link);
  });
  far.clear();
  PinTo(options.client_cpu);
  auto link = make_link(segments, os::RingEndpoint::kClient, std::move(near));
  Measure(link, options);
}

template <bool kPolled>
void MeasureRing(const Options& options) {
  MeasureRings(options, 1, [](const auto& segments, os::RingEndpoint::Side side, auto doorbells) {
    return RingLink<kPolled>(segments[0], side, std::move(doorbells[0]));
  });
}

void MeasureEachRing(const Options& options) {
  MeasureRings(options, options.in_flight, [](const auto& segments, os::RingEndpoint::Side side, auto doorbells) {
    return EachRingLink(segments, side, std::move(doorbells));
  });
}

void Run(const Options& options) {
  const std::string& transport = options.transport;
  if (transport == "ring-polled") return MeasureRing<true>(options);
  if (transport == "ring-each") return MeasureEachRing(options);
  if (transport == "ring-sleeping") return MeasureRing<false>(options);
  if (transport == "unix") return MeasureBetweenProcesses(options, UnixLinks);
  if (transport == "pipe") return MeasureBetweenProcesses(options, PipeLinks);
  if (transport == "unix-polled") return MeasureBetweenProcesses(options, [] { return Polling(UnixLinks()); });
  if (transport == "pipe-polled") return MeasureBetweenProcesses(options, [] { return Polling(PipeLinks()); });
  if (transport == "unix-kept") return MeasureBetweenProcesses(options, [] { return Keeping(UnixLinks()); });
  if (transport == "pipe-kept") return MeasureBetweenProcesses(options, [] { return Keeping(PipeLinks()); });
  if (transport == "unix-each") {
    return MeasureBetweenProcesses(options, [&] { return EachLinks(options.bytes, options.in_flight); });
  }
  if (transport == "fifo") return MeasureBetweenProcesses(options, FifoLinks);
  if (transport == "mq") return MeasureBetweenProcesses(options, PosixQueueLinks);
  if (transport == "sysvmq") return MeasureBetweenProcesses(options, SysvLinks);
  if (transport == "tcp") return MeasureBetweenProcesses(options, TcpLinks);
  if (transport == "udp") {
    if (options.bytes > 65507) throw os::ArgumentError("udp: a datagram has at most 65507 bytes");
    return MeasureBetweenProcesses(options, [&] { return UdpLinks(options.bytes, options.in_flight); });
  }
  if (transport == "memcpy") {
    CopyLink link(options.capacity);
    PinTo(options.client_cpu);
    return Measure(link, options);
  }
  throw os::ArgumentError("there is no transport \"" + transport + "\"\n" + kUsage);
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  try {
    Run(Parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    fprintf(stderr, "limits: %s\n", error.what());
    return 1;
  }
}
