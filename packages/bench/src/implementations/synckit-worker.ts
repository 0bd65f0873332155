/** What synckit runs in its worker thread. */
import { runAsWorker } from "synckit";
import { takePlace } from "../placement.js";

takePlace("server");
runAsWorker(async (body: Uint8Array) => ({ body }));
