/** Prints what it was started with open. */
import { openDescriptors } from "../support.js";

console.log(JSON.stringify([...openDescriptors().values()]));
