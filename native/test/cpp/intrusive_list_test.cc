#include "../../src/os/intrusive_list.h"

#include <string>

#include "check.h"

using sluice::os::IntrusiveList;
using sluice::os::ListLink;

struct Element {
  explicit Element(char name) : name(name) {}
  char name;
  ListLink<Element> link{this};
};

static std::string Drain(IntrusiveList<Element>& list) {
  std::string names;
  while (!list.empty()) names += list.PopFront()->name;
  return names;
}

TEST("IntrusiveList keeps order, and elements may leave from anywhere") {
  IntrusiveList<Element> list;
  Element a('a'), b('b'), c('c');
  CHECK(list.empty());
  CHECK(list.front() == nullptr);
  for (Element* element : {&a, &b, &c}) list.PushBack(element->link);
  CHECK(list.front() == &a);
  list.PushBack(a.link);
  b.link.Unlink();
  b.link.Unlink();
  CHECK(!b.link.linked());
  CHECK(c.link.linked());
  CHECK_EQUAL(Drain(list), "ca");
  CHECK(!a.link.linked());
  CHECK(list.PopFront() == nullptr);
}

TEST("IntrusiveList forgets an element that goes away") {
  IntrusiveList<Element> list;
  Element a('a');
  list.PushBack(a.link);
  {
    Element b('b');
    list.PushBack(b.link);
  }
  CHECK_EQUAL(Drain(list), "a");
}

TEST("IntrusiveList moves as a whole, and its elements can still leave and join another") {
  IntrusiveList<Element> first;
  Element a('a'), b('b'), c('c');
  for (Element* element : {&a, &b, &c}) first.PushBack(element->link);
  IntrusiveList<Element> second(std::move(first));
  CHECK(first.empty());
  b.link.Unlink();
  first.PushBack(c.link);
  CHECK_EQUAL(Drain(first), "c");
  CHECK_EQUAL(Drain(second), "a");
  const IntrusiveList<Element> third(std::move(second));
  CHECK(third.empty());
}

TEST("IntrusiveList leaves its elements on no list when it goes away") {
  Element a('a');
  {
    IntrusiveList<Element> list;
    list.PushBack(a.link);
  }
  CHECK(!a.link.linked());
}
