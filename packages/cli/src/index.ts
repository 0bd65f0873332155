export { generate, type GenerateOptions, type GenerateResult } from "./generate.js";
export { GenerateError } from "./error.js";
