// main.mjs CLIENT takes calls from standard input, a line of JSON each, makes them with one of the
// clients, and prints what came of each as a line of JSON.
//
// A call has an action, and what the action needs: baseURL, key, model, prompt, timeout in
// milliseconds, retries of clients that do not obey X-Should-Retry. A line {"abort":true} aborts the
// call that is under way.

import { createInterface } from 'node:readline';
import { errorOf } from './result.mjs';

const { actions } = await import(`./${process.argv[2]}.mjs`);
let controller;

async function run(call) {
  controller = new AbortController();
  const result = { pieces: 0 };
  try {
    const action = actions[call.action];
    if (!action) throw new Error(`no action ${call.action}`);
    // Each piece of a stream is counted as it comes, so that what came before an error shows.
    await action({ ...call, signal: controller.signal, result, abort: () => controller.abort() });
  } catch (e) {
    result.error = errorOf(e);
  }
  return result;
}

for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line);
  if (call.abort) {
    controller.abort();
    continue;
  }
  run(call).then((result) => process.stdout.write(JSON.stringify(result) + '\n'));
}
