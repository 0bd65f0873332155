import { readFile } from "node:fs/promises";
import { createServer } from "@sluice/node";
import { CoordinatorDefinition, CounterDefinition } from "./gen/pipeline.js";

const WORD = /\p{Letter}+/gu;

const server = createServer();
server.add(CounterDefinition, {
  async count({ child }, context) {
    // The way back: the parent serves too, on the connection that this call came by.
    const parent = context.channel.client(CoordinatorDefinition);
    const counts = new Map<string, number>();
    for (;;) {
      const { path } = await parent.nextFile({}, { parent: context });
      if (path === undefined) break;
      const words = (await readFile(path, "utf8")).toLowerCase().match(WORD) ?? [];
      for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
      await parent.report({ child, path, words: words.length }, { parent: context });
    }
    return { words: counts };
  },
});
await server.listen("pipe:");
