/** Keeps standard output for itself, and points everybody's printing at standard error. */
import { execFileSync } from "node:child_process";
import { writeSync } from "node:fs";
import { native } from "../support.js";

const output = native.dup(1);
native.dup2(2, 1);
writeSync(1, "a print of the program\n");
execFileSync("/bin/echo", ["a print of its child"], { stdio: ["ignore", "inherit", "inherit"] });
writeSync(output, "the saved standard output");
