/** Prints whether the addon was loaded, and why not. */
import { native, nativeUnavailable } from "@sluice/native";

console.log(JSON.stringify({ available: native !== undefined, why: nativeUnavailable }));
