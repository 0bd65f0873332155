import { connect as refuse } from "../pipe/connect.js";

/** Always refuses: see `spawn` with `over: "stdio:"`. */
export function connect(address: string): Promise<never> {
  return refuse(address, "stdio");
}
