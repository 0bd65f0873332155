/**
 * The whole suite with the addon compiled for the address and undefined behaviour sanitizers, which are preloaded into
 * Node, its workers and the programs that the tests start. Run by `npm run test:asan`; takes about two minutes.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const compiler = process.env.CXX ?? "g++";
const library = join(root, "build/asan");
mkdirSync(join(library, "build/Release"), { recursive: true });

const sources = join(root, "src/addon");
const files = readdirSync(sources).filter((file) => file.endsWith(".cc"));
const includes = [
  require("node-addon-api").include_dir,
  join(dirname(dirname(process.execPath)), "include/node"),
];
execFileSync(
  compiler,
  [
    ...["-std=c++20", "-O1", "-g", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"],
    ...["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
    ...["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"].map(
      (define) => `-D${define}`,
    ),
    ...["-DNODE_GYP_MODULE_NAME=sluice", ...includes.map((path) => `-I${path}`)],
    ...files.map((file) => join(sources, file)),
    ...["-o", join(library, "build/Release/sluice.node")],
  ],
  { stdio: "inherit" },
);

const preload = ["libasan.so", "libubsan.so"].map((name) =>
  execFileSync(compiler, [`-print-file-name=${name}`], { encoding: "utf8" }).trim(),
);
const { status } = spawnSync(
  process.execPath,
  [
    require.resolve("mocha/bin/mocha.js"),
    join(root, "test/dist/*.test.js"),
    "--timeout",
    "300000",
    ...["--ignore", "**/cpp.test.js", "--ignore", "**/limits.test.js", "--ignore", "**/model.test.js"],
  ],
  {
    stdio: "inherit",
    timeout: 900_000,
    env: {
      ...process.env,
      LD_PRELOAD: preload.join(":"),
      // Node itself leaves much to the end of the process; and it is not built with the sanitizer, whose checks of
      // containers would misread memory that Node's own code has written.
      ASAN_OPTIONS: "detect_leaks=0:detect_container_overflow=0",
      // Where node-gyp-build looks first.
      "@SLUICE/NATIVE_PREBUILD": library,
    },
  },
);
process.exit(status ?? 1);
