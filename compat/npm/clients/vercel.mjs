import { createDeepSeek } from '@ai-sdk/deepseek';
import { generateText, isStepCount, jsonSchema, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { plain, weather } from './result.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;

const thinks = (type) => ({ providerOptions: { deepseek: { thinking: { type } } } });
const request = (o, more) => ({
  model: createDeepSeek({ baseURL: o.baseURL, apiKey: o.key })(o.model), prompt: o.prompt, abortSignal: o.signal, ...(o.timeout && { timeout: o.timeout }), ...(o.retries != null && { maxRetries: o.retries }), ...more,
});
const tools = (execute) => ({ tools: { [weather.name]: tool({ description: weather.description, inputSchema: jsonSchema(weather.parameters), execute }) } });
const called = (calls) => calls.map((t) => ({ name: t.toolName, arguments: JSON.stringify(t.input) }));

function answer(o, a) {
  Object.assign(o.result, {
    content: a.text, reasoning: a.reasoningText, finish: a.finishReason, tools: called(a.toolCalls), usage: a.usage,
    raw: plain({ steps: a.steps.map((s) => ({ content: s.content, finishReason: s.finishReason, usage: s.usage, model: s.response.modelId, metadata: s.providerMetadata })) }),
  });
}

const json = async (o, more) => answer(o, await generateText(request(o, more)));

async function stream(o, more) {
  let failed;
  const s = streamText(request(o, { onError: ({ error }) => (failed ??= error), ...more }));
  const r = o.result;
  Object.assign(r, { content: '', reasoning: '', tools: [], parts: [] });
  for await (const part of s.fullStream) {
    if (!part.type.endsWith('-step') && part.type !== 'error') r.parts.push(plain({ type: part.type, text: part.text, toolName: part.toolName, finish: part.finishReason }));
    if (part.type === 'text-delta') {
      r.content += part.text;
      if (++r.pieces === o.abortAfter) o.abort();
    }
    if (part.type === 'reasoning-delta') r.reasoning += part.text;
    if (part.type === 'tool-call') r.tools.push(...called([part]));
    if (part.type === 'finish') Object.assign(r, { finish: part.finishReason, usage: part.totalUsage });
    if (part.type === 'abort') r.aborted = true;
    if (part.type === 'error') failed ??= part.error;
  }
  if (failed) throw failed;
}

export const actions = {
  json,
  stream,
  'json without thinking': (o) => json(o, thinks('disabled')),
  'stream without thinking': (o) => stream(o, thinks('disabled')),
  tools: (o) => json(o, tools()),
  'tools in a stream': (o) => stream(o, tools()),
  'runs tools': (o) => json(o, { ...tools(async () => '21 °C'), stopWhen: (isStepCount ?? stepCountIs)(3) }),
  async structured(o) {
    const a = await generateText(request(o, { output: Output.object({ schema: z.object({ city: z.string(), degrees: z.number() }) }) }));
    answer(o, a);
    o.result.parsed = a.output;
  },
};
