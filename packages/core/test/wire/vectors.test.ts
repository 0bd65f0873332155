import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { checkFrames, play, SIDES, type Conversation } from "./conversation.js";

const folder = fileURLToPath(new URL("../../../../../proto/vectors/", import.meta.url));

describe("the wire's test vectors", () => {
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".json"))) {
    describe(file, () => {
      const conversations = JSON.parse(readFileSync(folder + file, "utf8")) as Conversation[];
      for (const conversation of conversations) {
        it(`${conversation.name}: the bytes say what is described`, () => checkFrames(conversation));
        for (const side of conversation.sides ?? SIDES) {
          it(`${conversation.name}: the ${side} side says and sees it`, () => play(conversation, side));
        }
      }
    });
  }
});
