/*
 * The blocks that one side of a segment writes and the other reads: docs/shared-memory.md, "Blocks", as
 * packages/transports/src/ring/blocks.ts carries it out. The ring between the two, which ring.pml is about, is a channel here:
 * what it carries comes in order, and what was written before comes before it.
 *
 * Spin looks at every order of their steps, and shows that
 * - a frame is whole when its reader is told of it, and unchanged for as long as the reader keeps it, while it takes others;
 * - a writer never waits for a block, and every block is free again in the end.
 *
 * check.mjs runs it, also with each of the steps removed or misplaced (#ifdef): Spin has to find out.
 */

#define BLOCKS 2
#define FRAMES 5
#define NO_BLOCK BLOCKS

#define FREE 0
#define USED 1

bit state[BLOCKS];
/* What a block holds: two parts, that can be seen one without the other. */
byte first[BLOCKS];
byte second[BLOCKS];
byte ended; /* sides */
/* The block, and the number of the frame. */
chan ring = [2] of { byte, byte };

inline Find(number) {
  if
  :: block == NO_BLOCK ->
     if
     :: !used[number] -> block = number
     :: else ->
#ifdef NO_LOOK_AT_STATE
        block = number
#else
        if
        :: state[number] == FREE -> block = number /* SYNC POINT 8: the state, then what is written to the block */
        :: else
        fi
#endif
     fi
  :: else
  fi
}

active proctype Writer() {
  bool used[BLOCKS]; /* it was published, and not seen free since */
  byte block = NO_BLOCK;
  byte sent;

  do
  :: sent < FRAMES ->
     Find(0);
     Find(1);
     if
     :: block == NO_BLOCK
     :: else ->
        used[block] = true;
#ifdef RECORD_BEFORE_BLOCK
        ring ! block, sent;
#endif
        first[block] = sent;
        second[block] = sent;
#ifndef STATE_AFTER_RECORD
        state[block] = USED
#endif
     fi;
#ifndef RECORD_BEFORE_BLOCK
     ring ! block, sent; /* SYNC POINT 1 */
#else
     if :: block == NO_BLOCK -> ring ! block, sent :: else fi;
#endif
#ifdef STATE_AFTER_RECORD
     if :: block != NO_BLOCK -> state[block] = USED :: else fi;
#endif
     block = NO_BLOCK;
     sent++
  :: sent == FRAMES -> ended++; break
  od
}

inline CheckKept(number) {
  assert(first[number] == kept[number] - 1);
  assert(second[number] == kept[number] - 1)
}

inline Release(number) {
#ifdef FREE_BEFORE_LAST_LOOK
  state[number] = FREE;
#endif
  CheckKept(number);
  kept[number] = 0;
#ifndef FREE_BEFORE_LAST_LOOK
  state[number] = FREE /* SYNC POINT 8: the last look at the block, then its state */
#endif
}

active proctype Reader() {
  byte kept[BLOCKS]; /* the number of the frame that is kept there, and 1; 0 for none */
  byte block, number;
  byte received;

  do
  :: received < FRAMES ->
     ring ? block, number;
     assert(number == received);
     received++;
     if
     :: block == NO_BLOCK
     :: else ->
        assert(kept[block] == 0);
        kept[block] = number + 1;
        CheckKept(block)
     fi;
     block = 0;
     number = 0
  :: kept[0] > 0 -> Release(0)
  :: kept[1] > 0 -> Release(1)
  :: received == FRAMES && kept[0] == 0 && kept[1] == 0 -> ended++; break
  od
}

active proctype Afterwards() {
  ended == 2;
  assert(state[0] == FREE && state[1] == FREE)
}
