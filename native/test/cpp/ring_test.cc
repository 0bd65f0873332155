#include "../../src/os/ring.h"

#include <atomic>
#include <cstdio>
#include <deque>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "../../src/os/fault_guard.h"
#include "../../src/os/socket.h"
#include "check.h"
#include "program.h"

using namespace sluice::os;
using namespace std::chrono_literals;

using Random = std::minstd_rand;
using Frame = std::vector<uint8_t>;

// No test ends by this, unless it fails.
static Deadline Soon() { return std::chrono::steady_clock::now() + 60s; }

// Both ends, on one mapping: that is where the thread sanitizer sees them meet.
struct Pair {
  explicit Pair(uint32_t capacity, uint32_t start = 0) : segment(Segment::Create(SegmentKind::kMemfd, capacity)) {
    for (SegmentHeader::Ring& ring : segment.header().rings) ring.head = ring.tail = start;
    server.emplace(segment, RingEndpoint::kServer, sockets.first.get(), start);
    client.emplace(segment, RingEndpoint::kClient, sockets.second.get(), start);
  }

  SegmentHeader::Endpoint& words(RingEndpoint::Side side) { return segment.header().endpoints[side]; }

  Segment segment;
  std::pair<UniqueFd, UniqueFd> sockets = SocketPair();
  std::optional<RingEndpoint> server, client;
};

// The frame that is number `index` of those with `seed`: anyone can tell what it has to be.
static Frame MakeFrame(uint32_t seed, uint32_t index, uint32_t max_bytes) {
  Random random(seed ^ (index * 2654435761u));
  // Most are small, some fill a small ring.
  const uint32_t limit = random() % 8 == 0 ? std::min(max_bytes, 8192u) : std::min(max_bytes, 200u);
  Frame frame(kFrameHeaderBytes + random() % (limit - kFrameHeaderBytes + 1));
  uint8_t next = static_cast<uint8_t>(random());
  for (uint8_t& byte : frame) byte = next += 7;
  const uint32_t payload = static_cast<uint32_t>(frame.size()) - kFrameHeaderBytes;
  memcpy(frame.data(), &payload, sizeof payload);
  memcpy(frame.data() + 4, &index, sizeof index);
  return frame;
}

static bool Send(RingEndpoint& endpoint, const Frame& frame) {
  const uint32_t bytes = static_cast<uint32_t>(frame.size());
  uint8_t* const place = endpoint.Reserve(bytes);
  if (place == nullptr) return false;
  memcpy(place + 4, frame.data() + 4, bytes - 4);
  endpoint.Commit(bytes);
  return true;
}

static Frame Taken(RingEndpoint& endpoint) {
  const auto frame = endpoint.Take();
  return Frame(frame.begin(), frame.end());
}

// Each end in a thread of its own. What either throws, this throws.
static void Together(const std::function<void()>& left, const std::function<void()>& right) {
  std::exception_ptr failures[2];
  const auto run = [](const std::function<void()>& body, std::exception_ptr& failure) {
    try {
      body();
    } catch (...) {
      failure = std::current_exception();
    }
  };
  std::thread other([&] { run(right, failures[1]); });
  run(left, failures[0]);
  other.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

// What is ready only when the deadline ends the wait has been missed before: a lost wake-up.
static void MustWake(const std::function<Woken(const Deadline&)>& wait) {
  const Deadline deadline = Soon();
  CHECK(wait(deadline) == Woken::kReady);
  CHECK(std::chrono::steady_clock::now() < *deadline);
}

static void MustWake(RingEndpoint& endpoint, Sleeping how) {
  MustWake([&](const Deadline& deadline) { return endpoint.Wait(how, deadline); });
}

// Sends `count` frames and receives as many, sleeping when it can do neither.
static void SendAndReceive(RingEndpoint& endpoint, Sleeping how, uint32_t send_seed, uint32_t receive_seed,
                           uint32_t count, uint32_t capacity) {
  Random random(send_seed);
  uint32_t sent = 0;
  uint32_t received = 0;
  Frame next = MakeFrame(send_seed, 0, capacity);
  while (sent < count || received < count) {
    bool progress = false;
    for (uint32_t burst = random() % 20; burst > 0 && sent < count && Send(endpoint, next); --burst) {
      progress = true;
      next = MakeFrame(send_seed, ++sent, capacity);
    }
    for (uint32_t burst = random() % 20; burst > 0 && received < count; --burst) {
      const Frame frame = Taken(endpoint);
      if (frame.empty()) break;
      progress = true;
      CHECK(frame == MakeFrame(receive_seed, received, capacity));
      ++received;
    }
    // Neither may have been tried; and when all is sent, a frame may be expected still.
    if (!progress && received == count && (sent == count || Send(endpoint, next))) {
      if (sent < count) next = MakeFrame(send_seed, ++sent, capacity);
      continue;
    }
    if (!progress) {
      if (sent < count && endpoint.Reserve(static_cast<uint32_t>(next.size())) != nullptr) continue;
      MustWake(endpoint, how);
    }
  }
  CHECK(Taken(endpoint).empty());
}

static void Traffic(uint32_t capacity, Sleeping server, Sleeping client, uint32_t count, uint32_t seed) {
  Pair pair(capacity, 0u - 8 * (seed % 5000));
  Together([&] { SendAndReceive(*pair.server, server, seed, seed + 1, count, capacity); },
           [&] { SendAndReceive(*pair.client, client, seed + 1, seed, count, capacity); });
}

// One frame to and fro: with each of them one end goes to sleep just as the other wakes it.
static void PingPong(Sleeping server, Sleeping client, uint32_t rounds, uint32_t seed) {
  Pair pair(4096, 0u - 8 * (seed % 5000));
  const auto play = [&](RingEndpoint& endpoint, Sleeping how, bool begins) {
    Random random(seed + begins);
    for (uint32_t round = 0; round < rounds; ++round) {
      if (begins) CHECK(Send(endpoint, MakeFrame(seed, round, 100)));
      // Between polling not at all and long enough to be served without sleeping.
      for (uint32_t polls = random() % 4 == 0 ? random() % 2000 : 0; polls > 0 && !endpoint.Readable(); --polls) continue;
      Frame frame;
      while ((frame = Taken(endpoint)).empty()) MustWake(endpoint, how);
      CHECK(frame == MakeFrame(seed, round, 100));
      if (!begins) CHECK(Send(endpoint, frame));
    }
  };
  Together([&] { play(*pair.server, server, false); }, [&] { play(*pair.client, client, true); });
}

TEST("The ring carries frames of all sizes in order, also when its counters wrap") {
  for (const uint32_t start : {0u, 0xfffff000u, 0xfffffff8u, 0x7ffffff8u}) {
    Pair pair(4096, start);
    Random random(start + 1);
    uint32_t sent = 0;
    uint32_t received = 0;
    while (received < 2000) {
      for (uint32_t burst = random() % 10; burst > 0; --burst) {
        if (!Send(*pair.server, MakeFrame(1, sent, 4096))) break;
        ++sent;
      }
      for (uint32_t burst = random() % 10; burst > 0; --burst) {
        const Frame frame = Taken(*pair.client);
        if (frame.empty()) break;
        CHECK(frame == MakeFrame(1, received, 4096));
        ++received;
      }
      CHECK(received <= sent);
    }
    CHECK(Taken(*pair.server).empty());  // nothing in the other direction
  }
}

TEST("A full ring asks for room, and is told when there is enough") {
  Pair pair(4096);
  SegmentHeader::Endpoint& words = pair.words(RingEndpoint::kServer);
  RingEndpoint& server = *pair.server;
  for (int index = 0; index < 4; ++index) CHECK(Send(server, Frame(1024)));
  CHECK(server.Reserve(kFrameHeaderBytes) == nullptr);
  CHECK_EQUAL(words.waiting, 16u);
  CHECK(server.Reserve(2000) == nullptr);
  CHECK_EQUAL(words.waiting, 2000u);
  words.sleeping = kAsleepOnSocket;
  char byte;
  CHECK_EQUAL(Taken(*pair.client).size(), 1024u);
  CHECK_EQUAL(recv(pair.sockets.first.get(), &byte, 1, MSG_DONTWAIT), -1);  // 1024 bytes are not enough
  CHECK(!server.Writable());
  CHECK_EQUAL(Taken(*pair.client).size(), 1024u);
  CHECK_EQUAL(recv(pair.sockets.first.get(), &byte, 1, MSG_DONTWAIT), 1);
  CHECK_EQUAL(words.sleeping, 0u);
  CHECK(server.Writable());
  MustWake([&](const Deadline& deadline) { return server.WaitForRoom(kAsleepOnSocket, deadline); });
  CHECK(server.Reserve(2000) != nullptr);
  CHECK_EQUAL(words.waiting, 0u);
  CHECK(!server.Writable());
  // One frame can be as large as the ring.
  while (!Taken(*pair.client).empty()) continue;
  CHECK(server.Reserve(4096) != nullptr);
  server.Commit(4096);
  CHECK_EQUAL(Taken(*pair.client).size(), 4096u);
  for (const uint32_t bytes : {0u, 11u, 4097u, 0xffffffffu}) THROWN(ArgumentError, server.Reserve(bytes));
}

TEST("A sleeper is woken once, by what it sleeps on") {
  Pair pair(4096);
  SegmentHeader::Endpoint& words = pair.words(RingEndpoint::kClient);
  char bytes[10];
  for (const Sleeping how : {kAwake, kAsleepOnSocket, kAsleepOnSemaphore}) {
    words.sleeping = how;
    for (int index = 0; index < 3; ++index) CHECK(Send(*pair.server, Frame(20)));
    CHECK_EQUAL(words.sleeping, 0u);
    CHECK_EQUAL(recv(pair.sockets.second.get(), bytes, sizeof bytes, MSG_DONTWAIT), how == kAsleepOnSocket ? 1 : -1);
    CHECK_EQUAL(AwaitPost(words.semaphore, 0ns), how == kAsleepOnSemaphore);
  }
}

TEST("What comes right after the last look before sleep ends it") {
  for (const Sleeping how : {kAsleepOnSocket, kAsleepOnSemaphore}) {
    Pair pair(4096);
    const auto sleep = [&](const std::function<void()>& meanwhile) {
      bool first = true;
      const auto look = [&] {
        const bool ready = pair.server->Readable() || pair.server->Writable();
        if (std::exchange(first, false)) meanwhile();
        return ready;
      };
      MustWake([&](const Deadline& deadline) {
        return Sleep(pair.words(RingEndpoint::kServer), how, pair.sockets.first.get(), deadline, look);
      });
    };
    sleep([&] { Send(*pair.client, Frame(20)); });
    CHECK_EQUAL(Taken(*pair.server).size(), 20u);
    while (Send(*pair.server, Frame(1000))) continue;
    sleep([&] { Taken(*pair.client); });
    CHECK(Send(*pair.server, Frame(1000)));
  }
}

TEST("A doorbell that is full, or has nobody behind it, stops nobody") {
  Pair pair(65536);
  SegmentHeader::Endpoint& words = pair.words(RingEndpoint::kClient);
  const std::vector<char> block(65536);
  while (send(pair.sockets.first.get(), block.data(), block.size(), MSG_DONTWAIT) > 0) continue;
  words.sleeping = kAsleepOnSocket;
  CHECK(Send(*pair.server, Frame(20)));
  CHECK(pair.client->Wait(kAsleepOnSocket, Soon()) == Woken::kReady);
  pair.sockets.second.Reset();
  words.sleeping = kAsleepOnSocket;
  CHECK(Send(*pair.server, Frame(20)));
}

TEST("Waiting ends at the deadline, also when the peer rings all the time") {
  for (const Sleeping how : {kAsleepOnSocket, kAsleepOnSemaphore}) {
    Pair pair(4096);
    const auto start = std::chrono::steady_clock::now();
    CHECK(pair.client->Wait(how, start + 120ms) == Woken::kTimedOut);
    CHECK(std::chrono::steady_clock::now() - start >= 120ms);
    CHECK(pair.client->Wait(how, start) == Woken::kTimedOut);
    CHECK_EQUAL(pair.words(RingEndpoint::kClient).sleeping, 0u);
    std::atomic<bool> done = false;
    Together(
        [&] {
          CHECK(pair.client->Wait(how, std::chrono::steady_clock::now() + 100ms) == Woken::kTimedOut);
          done = true;
        },
        [&] {
          while (!done) Wake(pair.words(RingEndpoint::kClient), how, pair.sockets.first.get());
        });
  }
}

TEST("What a peer has sent comes before its end") {
  for (const Sleeping how : {kAsleepOnSocket, kAsleepOnSemaphore}) {
    Pair pair(4096);
    CHECK(Send(*pair.server, Frame(20)));
    pair.sockets.first.Reset();
    CHECK(pair.client->Wait(how, Soon()) == Woken::kReady);
    CHECK_EQUAL(Taken(*pair.client).size(), 20u);
    CHECK(pair.client->Wait(how, Soon()) == Woken::kPeerGone);
    CHECK(pair.client->Wait(how, Soon()) == Woken::kPeerGone);
    CHECK_EQUAL(pair.words(RingEndpoint::kClient).sleeping, 0u);
  }
}

// The other end of a socket and a segment whose descriptors it inherits: answers one frame, and then no more.
PROGRAM("ring peer") {
  const int socket = std::stoi(arguments.at(0).substr(0, arguments[0].find(',')));
  const int memory = std::stoi(arguments.at(0).substr(arguments[0].find(',') + 1));
  const Segment segment = Segment::Open(SegmentKind::kMemfd, 4096, 0, memory);
  RingEndpoint endpoint(segment, RingEndpoint::kClient, socket);
  MustWake(endpoint, kAsleepOnSemaphore);
  if (!Send(endpoint, Taken(endpoint))) return 1;
  return endpoint.Wait(kAsleepOnSemaphore, Soon()) == Woken::kPeerGone ? 0 : 1;
}

TEST("A waiter learns of the death of another process, whatever it waits on") {
  for (const Sleeping how : {kAsleepOnSocket, kAsleepOnSemaphore}) {
    for (const bool killed : {true, false}) {
      Segment segment = Segment::Create(SegmentKind::kMemfd, 4096);
      auto [socket, remote] = SocketPair();
      Check(fcntl(remote.get(), F_SETFD, 0), "fcntl");
      Check(fcntl(segment.handle(), F_SETFD, 0), "fcntl");
      Process peer("ring peer", std::to_string(remote.get()) + "," + std::to_string(segment.handle()));
      remote.Reset();
      segment.CloseHandle();
      RingEndpoint endpoint(segment, RingEndpoint::kServer, socket.get());
      CHECK(Send(endpoint, MakeFrame(1, 1, 100)));
      MustWake(endpoint, how);
      CHECK(Taken(endpoint) == MakeFrame(1, 1, 100));
      if (killed) {
        Together([&] { CHECK(endpoint.Wait(how, Soon()) == Woken::kPeerGone); }, [&] { peer.Kill(); });
        CHECK_EQUAL(WTERMSIG(peer.Await()), SIGKILL);
      } else {
        socket.Reset();
        CHECK_EQUAL(peer.Await(), 0);
      }
    }
  }
}

TEST("Traffic in both directions, with sleep on sockets and semaphores, loses and doubles nothing") {
  uint32_t seed = 1;
  for (const uint32_t capacity : {4096u, 65536u}) {
    for (const Sleeping server : {kAsleepOnSocket, kAsleepOnSemaphore}) {
      for (const Sleeping client : {kAsleepOnSocket, kAsleepOnSemaphore}) {
        Traffic(capacity, server, client, 2000, seed += 1234);
      }
    }
  }
}

TEST("No wake-up is lost between two ends that sleep after every frame") {
  for (const Sleeping server : {kAsleepOnSocket, kAsleepOnSemaphore}) {
    for (const Sleeping client : {kAsleepOnSocket, kAsleepOnSemaphore}) PingPong(server, client, 3000, 77);
  }
}

// `npm run stress`: the same for as long as the argument, in seconds, says.
PROGRAM("stress") {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::stol(arguments.at(0)));
  std::random_device device;
  uint64_t rounds = 0;
  for (; std::chrono::steady_clock::now() < end; ++rounds) {
    const uint32_t seed = device();
    Random random(seed);
    const uint32_t capacity = 4096u << random() % 5;
    const auto how = [&] { return random() % 2 == 0 ? kAsleepOnSocket : kAsleepOnSemaphore; };
    try {
      Traffic(capacity, how(), how(), 5000, seed);
      PingPong(how(), how(), 5000, seed);
    } catch (const std::exception& error) {
      printf("FAILED  seed %u: %s\n", seed, error.what());
      return 1;
    }
  }
  printf("%llu rounds of 20000 frames passed\n", static_cast<unsigned long long>(rounds));
  return 0;
}

// What `corrupt` does to the words of the client's peer is noticed by `act`, and named.
static void CheckNoticed(const char* named, const std::function<void(Pair&)>& corrupt,
                         const std::function<void(RingEndpoint&)>& act) {
  Pair pair(4096, 800);
  CHECK(Send(*pair.server, Frame(100)));
  corrupt(pair);
  const std::string text = THROWN(CorruptRing, act(*pair.client)).what();
  if (text.find(named) == std::string::npos) FailAt(__FILE__, __LINE__, "\"" + text + "\" does not say " + named);
}

TEST("Words that a peer may not write are noticed") {
  const auto take = [](RingEndpoint& endpoint) { endpoint.Take(); };
  const auto send = [](RingEndpoint& endpoint) {
    while (Send(endpoint, Frame(1000))) continue;
  };
  const auto wait = [](RingEndpoint& endpoint) { endpoint.Wait(kAsleepOnSocket, Soon()); };
  for (const uint32_t head : {792u, 801u, 804u, 800u + 4096 + 8, 0xffffffffu, 0u, 0x80000000u}) {
    const auto corrupt = [=](Pair& pair) { pair.segment.header().rings[0].head = head; };
    CheckNoticed("head", corrupt, take);
    CheckNoticed("head", corrupt, wait);
  }
  for (const uint32_t tail : {808u + 4096, 799u, 801u, 0x80000000u}) {
    CheckNoticed("tail", [=](Pair& pair) { pair.segment.header().rings[1].tail = tail; }, send);
  }
  // The record takes 104 bytes.
  for (const uint32_t payload : {93u, 4084u, 4085u, 0x7fffffffu, 0xfffffff0u, 0xffffffffu}) {
    const auto corrupt = [=](Pair& pair) { memcpy(pair.segment.data() + 4096 + 800, &payload, sizeof payload); };
    CheckNoticed("a frame of", corrupt, take);
  }
  for (const uint32_t word : {3u, 0xffffffffu}) {
    CheckNoticed("sleeping", [=](Pair& pair) { pair.words(RingEndpoint::kServer).sleeping = word; }, send);
  }
  for (const uint32_t word : {4097u, 0xffffffffu}) {
    CheckNoticed("waits for", [=](Pair& pair) { pair.words(RingEndpoint::kServer).waiting = word; }, take);
  }
}

TEST("Random writes all over the segment harm nobody but their connection") {
  std::atomic<bool> done = false;
  std::atomic<uint8_t*> target = nullptr;
  std::atomic<uint32_t> corruptions = 0;
  constexpr size_t kBytes = 4096 + 4 * 4096;
  std::thread hostile([&] {
    Random random(1);
    while (!done) {
      uint8_t* const data = target;
      if (data == nullptr) continue;
      for (int writes = 0; writes < 20; ++writes) {
        // Half of them in the header's words, with values that are nearly right.
        const size_t at = random() % 2 == 0 ? (random() % 28 + 4) * 128 : random() % kBytes & ~3u;
        const uint32_t value = random() % 2 == 0 ? random() : random() % 64 * 8;
        reinterpret_cast<SharedWord*>(data + at)->store(value, std::memory_order_relaxed);
        ++corruptions;
      }
      target = nullptr;
    }
  });
  uint32_t noticed = 0;
  while (corruptions < 20'000) {
    const Segment segment = Segment::Create(SegmentKind::kMemfd, 4096);
    // Mapped once more, so that the sanitizer takes the hostile thread for the other process that it plays.
    const Segment mapped = Segment::Open(SegmentKind::kMemfd, 4096, 0, segment.handle());
    const auto [near, far] = SocketPair();
    RingEndpoint endpoint(mapped, RingEndpoint::kServer, near.get());
    try {
      for (int round = 0; round < 20; ++round) {
        target = segment.data();
        // Some of these turns meet the writes, as the scheduler has it; those of the last time come after them.
        bool written;
        do {
          written = target == nullptr;
          for (int turn = 0; turn < 50; ++turn) {
            Send(endpoint, MakeFrame(1, 2, 100));
            endpoint.Take();
            endpoint.Wait(turn % 2 == 0 ? kAsleepOnSocket : kAsleepOnSemaphore, std::chrono::steady_clock::now());
          }
          std::this_thread::yield();  // the two may share one CPU
        } while (!written);
      }
    } catch (const CorruptRing&) {
      ++noticed;
    }
    while (target != nullptr) std::this_thread::yield();  // the hostile thread is at work there
  }
  done = true;
  hostile.join();
  CHECK(noticed > 0);
}
