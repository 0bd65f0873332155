#include "../../src/os/poll_window.h"

#include "check.h"

using sluice::os::PollWindow;

namespace {

constexpr uint64_t kMax = 50'000;
constexpr uint64_t kInTime = 20'000;
constexpr uint64_t kHopeful = 150'000;
constexpr uint64_t kLate = 1'000'000;
// For how long one polls who hopes that the other does, too.
constexpr uint64_t kPatient = 800'000;

// One end of a conversation, and the time there.
struct End {
  PollWindow window;
  uint64_t now = 1'000'000'000;

  // Sends, and has the answer after so long.
  void Call(uint64_t answered_after) {
    window.NoteSent(now, kMax);
    now += answered_after;
    window.NoteReceived(now, kMax);
  }

  uint64_t AfterSending() {
    window.NoteSent(now, kMax);
    return window.length();
  }
};

}  // namespace

TEST("PollWindow is open from an action on for as long as it is") {
  PollWindow window;
  CHECK(!window.IsOpen(1'000));
  window.NoteSent(1'000'000, kMax);
  CHECK_EQUAL(window.length(), kMax);
  CHECK(window.IsOpen(1'000'000 + kMax - 1));
  CHECK(!window.IsOpen(1'000'000 + kMax));
  window.Prolong(1'040'000);
  CHECK(window.IsOpen(1'040'000 + kMax - 1));
  window.Prolong(1'000'000);
  CHECK(window.IsOpen(1'040'000 + kMax - 1));
}

TEST("PollWindow shrinks to nothing where polling does not pay, and grows where it does") {
  End end;
  end.Call(kInTime);
  CHECK_EQUAL(end.AfterSending(), kMax);
  end.Call(kLate);
  CHECK_EQUAL(end.AfterSending(), kMax / 2);
  end.Call(kLate);
  CHECK_EQUAL(end.AfterSending(), kMax / 4);
  end.Call(kLate);
  CHECK_EQUAL(end.AfterSending(), 0u);
  for (int i = 0; i < 100; ++i) end.Call(kLate);
  end.Call(kInTime);
  CHECK_EQUAL(end.AfterSending(), kMax / 4);
  end.Call(kInTime);
  end.Call(kInTime);
  CHECK_EQUAL(end.AfterSending(), kMax);
}

TEST("PollWindow learns apart what comes after sending and after receiving") {
  PollWindow window;
  uint64_t now = 1'000'000'000;
  // A server: the answer is at once, the next request is late.
  for (int i = 0; i < 10; ++i) {
    window.NoteReceived(now, kMax);
    window.NoteSent(now + kInTime, kMax);
    now += kLate;
  }
  CHECK_EQUAL(window.length(), 0u);
  window.NoteReceived(now, kMax);
  CHECK_EQUAL(window.length(), kMax);
}

TEST("PollWindow takes what this side does late by itself for polling in vain") {
  PollWindow window;
  uint64_t now = 1'000'000'000;
  // A client that pauses after each answer.
  for (int i = 0; i < 10; ++i) {
    window.NoteSent(now, kMax);
    window.NoteReceived(now + kInTime, kMax);
    now += kLate;
  }
  CHECK_EQUAL(window.length(), 0u);
  window.NoteSent(now, kMax);
  CHECK_EQUAL(window.length(), kMax);
  // One that sends what needs no answer.
  for (int i = 0; i < 10; ++i) window.NoteSent(now += kLate, kMax);
  CHECK_EQUAL(window.length(), 0u);
}

TEST("PollWindow does not poll for ever for answers that never come, however often something is sent") {
  for (const uint64_t gap : {kMax + 1, kHopeful, 4 * kMax}) {
    End end;
    int polled = 0;
    for (int i = 0; i < 11'000; ++i) {
      end.now += gap;
      if (end.AfterSending() > 0) ++polled;
    }
    CHECK(polled < 1'100);
  }
}

TEST("PollWindow hopes for a peer that may begin to poll, but not for ever") {
  End end;
  for (int i = 0; i < 3; ++i) end.Call(kLate);
  CHECK_EQUAL(end.AfterSending(), 0u);
  // Both ends slept: polling would have been enough.
  for (int i = 0; i < 10; ++i) end.Call(kHopeful);
  CHECK_EQUAL(end.AfterSending(), kMax);
  // Or polling for longer, once in a while.
  int patient = 0;
  for (int i = 0; i < 16; ++i) {
    end.Call(kHopeful);
    if (end.AfterSending() == kPatient) ++patient;
  }
  CHECK_EQUAL(patient, 2);
  // It never is.
  for (int i = 0; i < 100; ++i) end.Call(kHopeful);
  CHECK_EQUAL(end.AfterSending(), 0u);
  // From time to time it is tried again: for so many calls of so many.
  int polled = 0;
  for (int i = 0; i < 11'000; ++i) {
    end.Call(kHopeful);
    if (end.AfterSending() > 0) ++polled;
  }
  CHECK(polled > 300);
  CHECK(polled < 1'100);
  // Until it was right.
  for (int i = 0; i < 3; ++i) end.Call(kInTime);
  for (int i = 0; i < 10; ++i) end.Call(kHopeful);
  CHECK_EQUAL(end.AfterSending(), kMax);
}

// Two ends, of which one answers what the other sends.
struct Conversation {
  End client;
  End server;
  uint64_t waking;

  // An action of `to`, that of `from` having been at `sent`: at once if it polls until then, else when it has been woken.
  void Deliver(End& to, uint64_t sent) {
    constexpr uint64_t kTransit = 1'000;
    to.now = sent + (to.window.IsOpen(sent) ? kTransit : waking);
    to.window.NoteReceived(to.now, kMax);
  }

  void Send(End& from) {
    from.now += 2'000;
    from.window.NoteSent(from.now, kMax);
  }

  // How long a call takes whose handler takes so long.
  uint64_t Call(uint64_t handling = 0) {
    Send(client);
    const uint64_t sent = client.now;
    Deliver(server, sent);
    server.now += handling;
    Send(server);
    Deliver(client, server.now);
    return client.now - sent;
  }
};

TEST("PollWindow gets two ends that sleep in turns to be awake together, however long waking takes") {
  for (const uint64_t waking : {20'000, 60'000, 200'000, 390'000}) {
    Conversation two{.client = {}, .server = {}, .waking = waking};
    for (int i = 0; i < 50; ++i) two.Call();
    CHECK(two.Call() <= kInTime);
    // A pause in one of them, such as for collecting garbage, after which both are asleep.
    for (int pause = 0; pause < 100; ++pause) {
      two.Call(kLate);
      for (int i = 0; i < 5; ++i) two.Call();
      CHECK(two.Call() <= kInTime);
    }
  }
}

TEST("PollWindow leaves those out that do not poll") {
  PollWindow window;
  window.NoteSent(1'000'000, kMax);
  window.NoteReceived(5'000'000, 0);
  window.NoteSent(6'000'000, 0);
  CHECK_EQUAL(window.length(), kMax);
  CHECK(!window.IsOpen(6'000'000));
}

TEST("PollWindow takes a time that was read before the last action for that of the action") {
  PollWindow window;
  window.NoteSent(1'000'000, kMax);
  window.NoteReceived(999'000, kMax);
  window.NoteSent(1'000'500, kMax);
  CHECK_EQUAL(window.length(), kMax);
  CHECK(window.IsOpen(1'000'500 + kMax - 1));
}
