/*
 * Two endpoints, the two rings between them, and how they sleep and wake each other: the protocol of
 * docs/shared-memory.md, as src/os/ring.h and packages/transports/src/ring carry it out. SYNC POINT n is the step of
 * that number there.
 *
 * Spin looks at every order in which the steps of both can happen, and shows that
 * - every frame arrives once, in order and whole: the assertions in Take;
 * - no wake-up is lost: were one, there would be a state in which nothing can happen and yet not all has been said,
 *   which Spin reports as an invalid end state;
 * - nobody is busy for ever without a frame getting further: the label `progress`, in the search for non-progress
 *   cycles.
 *
 * A step that touches shared memory is a statement of its own; they take effect in one order for both sides, which is
 * what seq_cst means. (That the bytes of a record are ordered by the head and tail alone is for the thread sanitizer.)
 * Time is not modelled: nobody is woken by a deadline or by the end of the peer.
 *
 * check.mjs runs it, also with each of the steps removed or misplaced (#ifdef): Spin has to find out.
 */

#define CAPACITY 2 /* of a ring, in units of 8 bytes; frames have 1 or 2 of them */
#define WRAP 4     /* the counters are modulo this, where those of a segment are modulo 2^32 */
#ifndef FRAMES_0
#define FRAMES_0 3 /* that side 0 sends */
#define FRAMES_1 2 /* that side 1 sends */
#endif

#define AWAKE 0
#define ON_SOCKET 1
#define ON_SEMAPHORE 2

typedef Ring {
  byte head;
  byte tail;
  byte data[CAPACITY];
};

typedef Endpoint {
  byte sleeping;
  byte waiting;
  bit semaphore;
  bit bells; /* in the socket: none, or as many as it holds */
};

/* Ring k carries from endpoint k to the other. */
Ring ring[2];
Endpoint endpoint[2];

#define DISTANCE(from, to) ((to + WRAP - from) % WRAP)
#define ROOM(tail) (CAPACITY - DISTANCE(tail, published))

/* What the units of frame `index` hold. The first says how long it is. */
#define FIRST(index, size) (1 + 2 * (index) + (size) - 1)
#define SECOND(index) (100 + (index))

inline Wake() {
  value = endpoint[peer].sleeping; /* SYNC POINT 3 and 4: after the store of head or tail */
  if
  :: value != AWAKE ->
#ifdef WAKE_AS_LOADED
     endpoint[peer].sleeping = AWAKE;
#else
     atomic { value = endpoint[peer].sleeping; endpoint[peer].sleeping = AWAKE }; /* SYNC POINT 5 */
#endif
     if
     :: value == ON_SOCKET -> endpoint[peer].bells = 1
     :: value == ON_SEMAPHORE -> endpoint[peer].semaphore = 1 /* SYNC POINT 6 */
     :: else
     fi
  :: else
  fi;
  value = 0
}

inline FindRoom() {
  value = ring[me].tail; /* SYNC POINT 2 */
  assert(DISTANCE(value, published) <= CAPACITY);
  if
  :: ROOM(value) < size ->
#ifndef NO_WAITING
     endpoint[me].waiting = size; /* SYNC POINT 4: the wish before the look */
#endif
     waiting = size;
     value = ring[me].tail
  :: else
  fi;
  blocked = (ROOM(value) < size);
  value = 0
}

inline Send() {
  if
  :: size == 0 -> if :: size = 1 :: size = 2 fi
  :: else
  fi;
  FindRoom();
  if
  :: blocked
  :: else ->
     if
     :: waiting != 0 -> waiting = 0; endpoint[me].waiting = 0
     :: else
     fi;
#ifdef HEAD_BEFORE_RECORD
     ring[me].head = (published + size) % WRAP;
#endif
     ring[me].data[published % CAPACITY] = FIRST(sent, size);
     if
     :: size == 2 -> ring[me].data[(published + 1) % CAPACITY] = SECOND(sent)
     :: else
     fi;
     published = (published + size) % WRAP;
#ifdef FLAG_BEFORE_HEAD
     Wake();
#endif
     ring[me].head = published; /* SYNC POINT 1: after the record; 3: before the look at the flag */
     size = 0;
     sent++;
     drained = false;
#ifndef FLAG_BEFORE_HEAD
     Wake()
#endif
  fi
}

inline WakeProducer() {
  value = endpoint[peer].waiting;
  if
  :: value != 0 && CAPACITY - DISTANCE(taken, known) >= value -> Wake()
  :: else -> value = 0
  fi
}

inline Take() {
  if
  :: known == taken -> known = ring[peer].head /* SYNC POINT 1 */
  :: else
  fi;
  assert(DISTANCE(taken, known) <= CAPACITY);
  if
  :: known == taken -> drained = true
  :: else ->
     unit = ring[peer].data[taken % CAPACITY];
#ifdef TAIL_BEFORE_COPY
     ring[peer].tail = (taken + 1 + (unit - 1) % 2) % WRAP;
#endif
     assert(unit == FIRST(received, 1) || unit == FIRST(received, 2));
     if
     :: unit == FIRST(received, 2) -> assert(ring[peer].data[(taken + 1) % CAPACITY] == SECOND(received))
     :: else
     fi;
     taken = (taken + 1 + (unit - 1) % 2) % WRAP;
     unit = 0;
#ifdef WAITING_BEFORE_TAIL
     WakeProducer();
#endif
     ring[peer].tail = taken; /* SYNC POINT 2: after the copy; 4: before the looks at the wish and the flag */
progress:
     received++;
#if !defined(WAITING_BEFORE_TAIL) && !defined(NO_WAKE_FOR_ROOM)
     WakeProducer()
#endif
  fi
}

inline Look() {
  ready = (ring[peer].head != taken); /* SYNC POINT 3: after the flag */
#ifndef NO_LOOK_FOR_ROOM
  if
  :: !ready && waiting != 0 -> ready = (ROOM(ring[me].tail) >= waiting) /* SYNC POINT 4: after the flag */
  :: else
  fi
#endif
}

inline Sleep() {
#ifdef LOOK_BEFORE_FLAG
  Look();
#endif
  if
  :: endpoint[me].sleeping = ON_SOCKET; on = ON_SOCKET /* SYNC POINT 3 and 4: before the look */
  :: endpoint[me].sleeping = ON_SEMAPHORE; on = ON_SEMAPHORE
  fi;
#ifdef HEAR_AFTER_FLAG
  endpoint[me].bells = 0;
#endif
#ifdef NO_LOOK
  ready = false;
#elif !defined(LOOK_BEFORE_FLAG)
  Look();
#endif
  if
  :: ready
  :: !ready && !roused -> roused = true /* by itself, with its bells unheard; once, or it would need no waking */
  :: !ready && on == ON_SOCKET -> atomic { endpoint[me].bells -> endpoint[me].bells = 0 }
  :: !ready && on == ON_SEMAPHORE -> atomic { endpoint[me].semaphore -> endpoint[me].semaphore = 0 } /* SYNC POINT 6 */
  fi;
  endpoint[me].sleeping = AWAKE;
  ready = false;
  on = 0;
  blocked = false;
  drained = false
}

#define TO_SEND (me == 0 -> FRAMES_0 : FRAMES_1)
#define TO_RECEIVE (me == 0 -> FRAMES_1 : FRAMES_0)

proctype Side(byte me) {
  byte peer = 1 - me;
  byte sent, received;     /* frames */
  byte published, taken;   /* what only this side decides: head of its ring, tail of the other */
  byte known;              /* the other's head as last read */
  byte waiting;            /* what was last written to endpoint[me].waiting */
  byte size;               /* of the frame to be sent next; 0: not chosen yet */
  byte value, unit, on;
  bool blocked, drained;     /* whether the last Send found no room, the last Take no frame */
  bool ready, roused;

  do
  :: sent < TO_SEND && !blocked -> Send()
  :: received < TO_RECEIVE && !drained -> Take()
  :: (sent == TO_SEND || blocked) && (received == TO_RECEIVE || drained) && (sent < TO_SEND || received < TO_RECEIVE) ->
     Sleep()
  :: sent == TO_SEND && received == TO_RECEIVE -> break
  od
}

init {
  atomic { run Side(0); run Side(1) }
}
