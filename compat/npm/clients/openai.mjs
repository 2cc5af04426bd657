import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { plain, weather } from './result.mjs';

const client = (o) => new OpenAI({ baseURL: o.baseURL, apiKey: o.key, ...(o.timeout && { timeout: o.timeout }) });
const user = (o) => [{ role: 'user', content: o.prompt }];
const tools = [{ type: 'function', function: weather }];

function message(o, completion) {
  const choice = completion.choices[0];
  Object.assign(o.result, {
    content: choice.message.content, reasoning: choice.message.reasoning_content, finish: choice.finish_reason,
    tools: choice.message.tool_calls?.map((t) => ({ name: t.function.name, arguments: t.function.arguments })), usage: completion.usage, raw: plain(completion),
  });
}

async function stream(o, more) {
  const chunks = await client(o).chat.completions.create(
    { model: o.model, messages: user(o), stream: true, stream_options: { include_usage: true }, ...more }, { signal: o.signal });
  const r = o.result;
  Object.assign(r, { content: '', reasoning: '', raw: [] });
  for await (const chunk of chunks) {
    r.raw.push(plain(chunk));
    const delta = chunk.choices[0]?.delta;
    r.content += delta?.content ?? '';
    r.reasoning += delta?.reasoning_content ?? '';
    for (const t of delta?.tool_calls ?? []) {
      r.tools ??= [];
      r.tools[t.index] ??= { name: '', arguments: '' };
      r.tools[t.index].name += t.function?.name ?? '';
      r.tools[t.index].arguments += t.function?.arguments ?? '';
    }
    r.finish = chunk.choices[0]?.finish_reason ?? r.finish;
    r.usage = chunk.usage ?? r.usage;
    if (delta?.content && ++r.pieces === o.abortAfter) o.abort();
  }
  // The SDK ends an aborted stream without an error.
  r.aborted = o.signal.aborted;
}

const json = async (o, more) => message(o, await client(o).chat.completions.create({ model: o.model, messages: user(o), ...more }, { signal: o.signal }));

export const actions = {
  json,
  stream,
  'json without thinking': (o) => json(o, { thinking: { type: 'disabled' } }),
  'stream without thinking': (o) => stream(o, { thinking: { type: 'disabled' } }),
  tools: (o) => json(o, { tools }),
  'tools in a stream': (o) => stream(o, { tools }),
  async 'result of a tool'(o) {
    const c = client(o);
    const first = await c.chat.completions.create({ model: o.model, messages: user(o), tools });
    const asked = first.choices[0].message;
    message(o, await c.chat.completions.create({
      model: o.model, tools, messages: [...user(o), asked, { role: 'tool', tool_call_id: asked.tool_calls[0].id, content: '21 °C' }],
    }));
  },
  async 'runs tools'(o) {
    const runner = client(o).chat.completions.runTools({
      model: o.model, messages: user(o),
      tools: [{ type: 'function', function: { ...weather, parse: JSON.parse, function: (args) => `21 °C, ${Object.keys(args).length} arguments` } }],
    });
    o.result.content = await runner.finalContent();
    o.result.raw = plain(runner.messages);
  },
  async structured(o) {
    const completion = await client(o).chat.completions.parse({
      model: o.model, messages: user(o), response_format: zodResponseFormat(z.object({ city: z.string(), degrees: z.number() }), 'weather'),
    });
    message(o, completion);
    o.result.parsed = completion.choices[0].message.parsed;
  },
  async 'several choices'(o) {
    await json(o, { n: 2 });
  },
  async response(o) {
    const r = await client(o).responses.create({ model: o.model, input: o.prompt }, { signal: o.signal });
    Object.assign(o.result, { content: r.output_text, finish: r.status, usage: r.usage, raw: plain(r) });
  },
  async 'response in a stream'(o) {
    const events = await client(o).responses.create({ model: o.model, input: o.prompt, stream: true }, { signal: o.signal });
    const r = o.result;
    Object.assign(r, { content: '', raw: [] });
    for await (const event of events) {
      r.raw.push(plain(event));
      if (event.type === 'response.output_text.delta') {
        r.content += event.delta;
        if (++r.pieces === o.abortAfter) o.abort();
      }
      if (event.response?.usage) Object.assign(r, { usage: event.response.usage, finish: event.response.status });
    }
    r.aborted = o.signal.aborted;
  },
  async 'tools in a response'(o) {
    const r = await client(o).responses.create({ model: o.model, input: o.prompt, tools: [{ type: 'function', strict: false, ...weather }] });
    Object.assign(o.result, {
      content: r.output_text, finish: r.status, usage: r.usage, raw: plain(r),
      tools: r.output.filter((i) => i.type === 'function_call').map((i) => ({ name: i.name, arguments: i.arguments })),
    });
  },
  async completion(o) {
    const c = await client(o).completions.create({ model: o.model, prompt: o.prompt, suffix: 'the end', max_tokens: 100 });
    Object.assign(o.result, { content: c.choices[0].text, finish: c.choices[0].finish_reason, usage: c.usage, raw: plain(c) });
  },
  async models(o) {
    o.result.models = [];
    for await (const m of client(o).models.list()) o.result.models.push(m.id);
  },
  async embedding(o) {
    const e = await client(o).embeddings.create({ model: o.model, input: [o.prompt, 'b'], dimensions: 8 });
    Object.assign(o.result, { usage: e.usage, raw: plain(e) });
  },
};
