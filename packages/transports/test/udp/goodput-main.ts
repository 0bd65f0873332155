/** `npm run udp:goodput -w packages/transports`: what a link of 100 Mbit/s and 20 ms carries, whatever it loses each way. */
import { measureCalls, measureGoodput } from "./goodput.js";

for (const loss of [0, 0.001, 0.01, 0.02, 0.05, 0.1]) {
  const { megabitsPerSecond, boundMegabitsPerSecond } = await measureGoodput(loss, 60, 1);
  const calls = await measureCalls(loss, 5000, 1);
  const at = (share: number): string => calls[Math.ceil(share * calls.length) - 1]!.toFixed(2);
  console.log(
    `loss ${(100 * loss).toFixed(1)} %: ${megabitsPerSecond.toFixed(2)} Mbit/s, ` +
      `${((100 * megabitsPerSecond) / boundMegabitsPerSecond).toFixed(0)} % of the bound of ` +
      `${boundMegabitsPerSecond.toFixed(2)}; a small call p50 ${at(0.5)}, p99 ${at(0.99)}, p99.9 ${at(0.999)} round trips`,
  );
}
