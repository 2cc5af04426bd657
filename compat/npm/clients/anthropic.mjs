import Anthropic from '@anthropic-ai/sdk';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';
import { plain, weather } from './result.mjs';

const client = (o) => new Anthropic({ baseURL: o.baseURL, apiKey: o.key, ...(o.timeout && { timeout: o.timeout }) });
const tools = [{ name: weather.name, description: weather.description, input_schema: weather.parameters }];
const request = (o, more) => ({ model: o.model, max_tokens: 1000, messages: [{ role: 'user', content: o.prompt }], ...more });

function message(o, m) {
  const of = (type) => m.content.filter((b) => b.type === type);
  Object.assign(o.result, {
    content: of('text').map((b) => b.text).join(''), reasoning: of('thinking').map((b) => b.thinking).join(''), finish: m.stop_reason,
    tools: of('tool_use').map((b) => ({ name: b.name, arguments: JSON.stringify(b.input) })), usage: m.usage, raw: plain(m),
  });
}

const json = async (o, more) => message(o, await client(o).messages.create(request(o, more), { signal: o.signal }));

async function stream(o, more) {
  const events = client(o).messages.stream(request(o, more), { signal: o.signal });
  const r = o.result;
  Object.assign(r, { content: '', events: [] });
  for await (const event of events) {
    r.events.push(plain(event));
    if (event.delta?.type === 'text_delta') {
      r.content += event.delta.text;
      if (++r.pieces === o.abortAfter) o.abort();
    }
  }
  message(o, await events.finalMessage());
}

export const actions = {
  json,
  stream,
  'json without thinking': (o) => json(o, { thinking: { type: 'disabled' } }),
  'stream without thinking': (o) => stream(o, { thinking: { type: 'disabled' } }),
  tools: (o) => json(o, { tools }),
  'tools in a stream': (o) => stream(o, { tools }),
  async 'result of a tool'(o) {
    const c = client(o);
    const first = await c.messages.create(request(o, { tools }));
    const use = first.content.find((b) => b.type === 'tool_use');
    message(o, await c.messages.create(request(o, {
      tools, messages: [...request(o).messages, { role: 'assistant', content: first.content },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: use.id, content: '21 °C' }] }],
    })));
  },
  async structured(o) {
    const m = await client(o).messages.parse(request(o, { output_config: { format: zodOutputFormat(z.object({ city: z.string(), degrees: z.number() })) } }));
    message(o, m);
    o.result.parsed = m.parsed_output;
  },
  async models(o) {
    o.result.models = [];
    for await (const m of client(o).models.list()) o.result.models.push(m.id);
  },
};
