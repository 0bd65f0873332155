// For how long it pays to poll before sleeping.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice::os {

// Adapts as the Linux kernel's KVM adapts its polling for a halted guest (Documentation/virt/kvm/halt-polling.rst): the window
// after an action doubles when something has come within it, and is halved when it was in vain. Times are in nanoseconds.
class PollWindow {
 public:
  // By somebody for whom to poll for up to `max_ns`; 0 for not at all.
  void NoteSent(uint64_t now, uint64_t max_ns) {
    if (max_ns == 0) return;
    // Nothing came until this side went on by itself: polling for as long was in vain.
    if (Since(now) > max_ns) Learn(Since(now), max_ns);
    Note(kSent, now, max_ns);
  }

  void NoteReceived(uint64_t now, uint64_t max_ns) {
    if (max_ns == 0) return;
    Learn(Since(now), max_ns);
    Note(kReceived, now, max_ns);
  }

  // The last action has lasted until now.
  void Prolong(uint64_t now) { last_active_ = std::max(last_active_, now); }

  // How long it is after an action like the last one.
  uint64_t length() const {
    const Experience& after = after_[last_action_];
    if (after.patient) return std::max(max_ns_, kWakingNs);
    return after.halvings < kMaxHalvings ? max_ns_ >> after.halvings : 0;
  }

  bool IsOpen(uint64_t now) const { return now < last_active_ + length(); }

 private:
  // What was done last: other answers are to be expected after each.
  enum Action { kSent, kReceived, kActions };

  // A window that is halved this often is none: not worth a look.
  static constexpr int kMaxHalvings = 3;
  // Where both ends sleep, an answer takes as long as waking both of them: 0.1 ms, on virtual machines several times as long. So a
  // wait of up to this may become one that a window covers, as soon as both ends poll.
  static constexpr uint64_t kWakingNs = 800'000;
  // But not if the peer does not poll, or is far away. So many waits are hoped for in vain before each counts as what it was, and
  // then so many are taken as they come before there is hope again.
  static constexpr int kMaxHopes = 64;
  // The first of them, and then one of so many, is patient: it polls for as long as waking takes. Where that is longer than a
  // window, the ends would go on to find each other asleep: each falls asleep before the other, which it has woken, answers.
  static constexpr int kHopesPerPatientOne = 8;
  static constexpr int kHopelessWaits = 1024;

  struct Experience {
    int halvings = 0;
    int hopes = kMaxHopes;
    int hopeless_waits = 0;
    bool patient = false;
  };

  // How long ago the last action was: 0 if there was none, or if `now` was read before it.
  uint64_t Since(uint64_t now) const { return max_ns_ != 0 && now > last_active_ ? now - last_active_ : 0; }

  void Note(Action action, uint64_t now, uint64_t max_ns) {
    last_action_ = action;
    last_active_ = std::max(last_active_, now);
    max_ns_ = max_ns;
  }

  // Something has come `waited` after the last action.
  void Learn(uint64_t waited, uint64_t max_ns) {
    Experience& after = after_[last_action_];
    bool pays = waited <= max_ns;
    after.patient = false;
    if (pays) {
      after.hopes = kMaxHopes;
    } else if (waited <= kWakingNs) {
      if (after.hopes > 0) {
        pays = true;
        after.patient = after.hopes % kHopesPerPatientOne == 0;
        --after.hopes;
      } else if (++after.hopeless_waits == kHopelessWaits) {
        after.hopeless_waits = 0;
        after.hopes = kMaxHopes;
      }
    }
    after.halvings = pays ? std::max(after.halvings - 1, 0) : std::min(after.halvings + 1, kMaxHalvings);
  }

  Experience after_[kActions];
  Action last_action_ = kReceived;
  uint64_t last_active_ = 0;
  uint64_t max_ns_ = 0;
};

}  // namespace sluice::os
