/** Tells of the first of the errors that come with no connection accepted between them, since they have one cause. */
export class Shortage {
  readonly #tell: (error: Error) => void;
  #lasts = false;

  constructor(tell: (error: Error) => void) {
    this.#tell = tell;
  }

  onError(error: Error): void {
    if (this.#lasts) return;
    this.#lasts = true;
    this.#tell(error);
  }

  onAccepted(): void {
    this.#lasts = false;
  }
}
