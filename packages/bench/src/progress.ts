/**
 * Says on standard error what is being done: rewriting one line on a terminal, otherwise a line each time the part before
 * the first ": " changes. Written only when told, never on a timer, so it takes no time from what is measured.
 */
export function startProgress(stream: NodeJS.WriteStream = process.stderr): {
  show(text: string): void;
  /** Leave the line empty. */
  end(): void;
} {
  let stage = "";
  return {
    show(text) {
      if (stream.isTTY) {
        stream.write(`\r\x1b[2K${text}`);
      } else if (text.split(": ")[0] !== stage) {
        stage = text.split(": ")[0]!;
        stream.write(`${stage}\n`);
      }
    },
    end() {
      if (stream.isTTY) stream.write("\r\x1b[2K");
    },
  };
}
