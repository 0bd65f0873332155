// A doubly linked list through its elements: joining, leaving and moving whole lists allocate nothing, and an element
// that goes away leaves whichever list it is on.
#pragma once

namespace sluice::os {

template <class T>
class IntrusiveList;

// A place on one list at a time. Declare one as a member of T for each list that T can be on.
template <class T>
class ListLink {
 public:
  explicit ListLink(T* owner) : owner_(owner) {}
  ListLink(const ListLink&) = delete;
  ListLink& operator=(const ListLink&) = delete;
  ~ListLink() { Unlink(); }

  bool linked() const { return next_ != this; }

  void Unlink() {
    previous_->next_ = next_;
    next_->previous_ = previous_;
    previous_ = next_ = this;
  }

 private:
  friend class IntrusiveList<T>;

  T* owner_;
  ListLink* previous_ = this;
  ListLink* next_ = this;
};

// Owns nothing.
template <class T>
class IntrusiveList {
 public:
  IntrusiveList() = default;
  // Takes all of `other`'s elements.
  IntrusiveList(IntrusiveList&& other) noexcept {
    if (other.empty()) return;
    head_.next_ = other.head_.next_;
    head_.previous_ = other.head_.previous_;
    head_.next_->previous_ = head_.previous_->next_ = &head_;
    other.head_.next_ = other.head_.previous_ = &other.head_;
  }
  ~IntrusiveList() {
    while (PopFront() != nullptr) continue;
  }

  bool empty() const { return !head_.linked(); }

  // `link` may be on a list already, which it leaves.
  void PushBack(ListLink<T>& link) {
    link.Unlink();
    link.previous_ = head_.previous_;
    link.next_ = &head_;
    head_.previous_->next_ = &link;
    head_.previous_ = &link;
  }

  // The first element; null when there is none.
  T* front() const { return head_.next_->owner_; }

  // The same, and it leaves the list.
  T* PopFront() {
    ListLink<T>* first = head_.next_;
    first->Unlink();
    return first->owner_;
  }

 private:
  ListLink<T> head_{nullptr};
};

}  // namespace sluice::os
